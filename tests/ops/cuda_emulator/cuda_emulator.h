// Runs CUDA kernels on the CPU, so that their logic is tested without a GPU.
//
// Every CUDA thread is a fiber with a stack of its own; one operating-system thread runs them all. A fiber runs until
// it must wait: at __syncthreads for its block, or at a warp operation (shuffle, ldmatrix, mma) for the 31 other
// lanes, whose last arrival performs the operation for all of them. Between two waits the order is free on a GPU;
// here the schedule chooses it, so that a kernel that needs a barrier and lacks it reads what is not there yet under
// some schedule. Shared memory starts as NaN. What this does not show: the memory model of the GPU, its speed,
// registers and limits.
#pragma once
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace emulator {

enum class Order { kInStep, kDepthFirst, kReversed, kRandom };

struct Schedule {
    Order order = Order::kInStep;
    unsigned seed = 0;
    bool early_copies = false;  // cp.async copies when issued, otherwise at the wait: both may happen on a GPU
    std::string skipped;        // "file.cuh:line" of a barrier or wait to leave out: proves that its loss is noticed
};

inline Schedule schedule;
inline long skipped_waits;  // how often `schedule.skipped` took effect

inline bool skips(const char* file, int line) {
    if (schedule.skipped.empty()) return false;
    std::string place = std::string(file) + ":" + std::to_string(line);
    const std::string& wanted = schedule.skipped;
    size_t longer = place.size() - wanted.size();
    bool skip = place.size() >= wanted.size() && place.compare(longer, wanted.size(), wanted) == 0;
    skipped_waits += skip;
    return skip;
}

struct Copy { void* target; const void* source; unsigned bytes; };

enum class State { kReady, kBlockWait, kWarpWait, kDone };

struct Fiber {
    jmp_buf position;
    ucontext_t start;
    dim3 thread;
    unsigned lane, warp;
    State state;
    bool started;
    std::vector<Copy> open_copies;
    std::vector<std::vector<Copy>> copy_groups;
};

struct Warp {
    void* operands[32];
    unsigned arrived;
    const void* operation;  // which warp operation the lanes have met in
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    unsigned live, waiting;
    int barrier_line;
    dim3 index, size, grid;
    unsigned char* shared;
    const std::function<void()>* body;
    jmp_buf scheduler;
    const char* failure;
};

inline Block block;
inline Fiber* current;

constexpr size_t kStack = 128 << 10;

// _setjmp and _longjmp only: swapcontext would enter the operating system twice for every switch.
__attribute__((noinline)) inline void pause() {
    if (!_setjmp(current->position)) _longjmp(block.scheduler, 1);
}

[[noreturn]] inline void fail(const char* what) {
    block.failure = what;
    _longjmp(block.scheduler, 1);
}

inline void enter_fiber() {
    (*block.body)();
    current->state = State::kDone;
    _longjmp(block.scheduler, 1);
}

inline void resume(Fiber& fiber, char* stack) {
    current = &fiber;
    if (_setjmp(block.scheduler)) return;
    if (fiber.started) _longjmp(fiber.position, 1);
    fiber.started = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = stack;
    fiber.start.uc_stack.ss_size = kStack;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, enter_fiber, 0);
    setcontext(&fiber.start);
}

inline void release_block() {
    for (Fiber& fiber : block.fibers)
        if (fiber.state == State::kBlockWait) fiber.state = State::kReady;
    block.waiting = 0;
}

inline void block_barrier(const char* file, int line) {
    if (skips(file, line)) return;
    if (block.waiting && block.barrier_line != line) fail("threads of one block wait at different barriers");
    block.barrier_line = line;
    current->state = State::kBlockWait;
    if (++block.waiting == block.live) release_block();
    else pause();
}

// A warp operation: `all` gets the operands of the 32 lanes once the last of them has come.
template <class T, class Operation>
void warp_operation(T& operand, Operation all) {
    static const char identity = 0;  // one address for each operation
    Warp& warp = block.warps[current->warp];
    if (warp.arrived && warp.operation != &identity) fail("lanes of one warp are at different warp operations");
    warp.operation = &identity;
    warp.operands[current->lane] = &operand;
    if (++warp.arrived < 32) {
        current->state = State::kWarpWait;
        pause();
        return;
    }
    T* operands[32];
    for (int i = 0; i < 32; i++) operands[i] = static_cast<T*>(warp.operands[i]);
    all(operands);
    warp.arrived = 0;
    for (unsigned i = current->warp * 32; i < current->warp * 32 + 32; i++)
        if (block.fibers[i].state == State::kWarpWait) block.fibers[i].state = State::kReady;
}

template <class T, class Source>
T shuffle(T value, Source source_lane) {
    struct Operand { T in, out; } operand{value, value};
    warp_operation(operand, [&](Operand** lanes) {
        for (int i = 0; i < 32; i++) lanes[i]->out = lanes[source_lane(i) & 31]->in;
    });
    return operand.out;
}

inline void perform(const std::vector<Copy>& copies) {
    for (const Copy& copy : copies) {
        std::memset(copy.target, 0, 16);
        std::memcpy(copy.target, copy.source, copy.bytes);
    }
}

// One step of a fiber; true if it could run.
inline bool step(unsigned index, char* stacks) {
    Fiber& fiber = block.fibers[index];
    if (fiber.state != State::kReady || block.failure) return false;
    resume(fiber, stacks + kStack * index);
    if (fiber.state == State::kDone) {
        block.live--;
        if (block.live && block.waiting == block.live) release_block();
    }
    return true;
}

inline bool step_warp(unsigned warp, char* stacks) {
    bool ran = false;
    for (unsigned i = 0; i < 32; i++) ran |= step(warp * 32 + i, stacks);
    return ran;
}

inline void run_block(char* stacks, std::mt19937& random) {
    std::vector<unsigned> order(block.warps.size());
    for (unsigned i = 0; i < order.size(); i++) order[i] = i;
    if (schedule.order == Order::kReversed) std::reverse(order.begin(), order.end());
    while (block.live && !block.failure) {
        if (schedule.order == Order::kRandom) std::shuffle(order.begin(), order.end(), random);
        bool progress = false;
        for (unsigned warp : order) {
            bool far = schedule.order == Order::kRandom ? random() % 2 : schedule.order != Order::kInStep;
            while (step_warp(warp, stacks)) {
                progress = true;
                if (!far) break;
            }
        }
        if (!progress && !block.failure) block.failure = "deadlock: some threads wait for others that never come";
    }
}

inline void start_block(unsigned threads, size_t shared_bytes) {
    block.live = threads;
    block.waiting = 0;
    for (Warp& warp : block.warps) warp.arrived = 0;
    for (Fiber& fiber : block.fibers) {
        fiber.state = State::kReady;
        fiber.started = false;
        fiber.open_copies.clear();
        fiber.copy_groups.clear();
    }
    std::memset(block.shared, 0xff, shared_bytes);
}

// Runs `body` for every thread of every block; throws std::runtime_error where a GPU would hang or be undefined.
inline void launch(dim3 grid, dim3 size, size_t shared_bytes, const std::function<void()>& body) {
    unsigned threads = size.x * size.y * size.z;
    if (threads % 32 || threads > 1024) throw std::runtime_error("the emulator runs whole warps, at most 1024 threads");
    if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535)
        throw std::runtime_error("grid out of range");
    static char* stacks = (char*)mmap(nullptr, kStack * 1024, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    std::vector<unsigned char> shared(shared_bytes + 128);
    block.shared = (unsigned char*)(((uintptr_t)shared.data() + 127) / 128 * 128);
    block.body = &body;
    block.size = size;
    block.grid = grid;
    block.failure = nullptr;
    block.fibers = std::vector<Fiber>(threads);
    block.warps = std::vector<Warp>(threads / 32);
    for (unsigned i = 0; i < threads; i++) {
        Fiber& fiber = block.fibers[i];
        fiber.lane = i % 32;
        fiber.warp = i / 32;
        fiber.thread = dim3(i % size.x, i / size.x % size.y, i / (size.x * size.y));
    }
    std::mt19937 random(schedule.seed);
    size_t blocks = (size_t)grid.x * grid.y * grid.z;
    for (size_t i = 0; i < blocks; i++) {
        size_t k = schedule.order == Order::kReversed ? blocks - 1 - i : i;
        block.index = dim3(k % grid.x, k / grid.x % grid.y, k / ((size_t)grid.x * grid.y));
        start_block(threads, shared_bytes);
        run_block(stacks, random);
        if (block.failure) throw std::runtime_error(block.failure);
    }
}

}  // namespace emulator

#define threadIdx (emulator::current->thread)
#define blockIdx (emulator::block.index)
#define blockDim (emulator::block.size)
#define gridDim (emulator::block.grid)
#define __syncthreads() emulator::block_barrier(__FILE__, __LINE__)
#define __syncwarp() emulator::warp_barrier(__FILE__, __LINE__)

namespace emulator {
inline void warp_barrier(const char* file, int line) {
    int nothing = 0;
    if (!skips(file, line)) warp_operation(nothing, [](int**) {});
}
}  // namespace emulator

// Shuffles of a whole warp; the mask is always full in our kernels.
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    return emulator::shuffle(value, [=](int lane) { return lane ^ mask; });
}
template <class T>
T __shfl_sync(unsigned, T value, int source, int width = 32) {
    int lane = emulator::current->lane;
    struct Operand { T in, out; int source; } operand{value, value, (lane & ~(width - 1)) | (source & (width - 1))};
    emulator::warp_operation(operand, [](Operand** lanes) {
        for (int i = 0; i < 32; i++) lanes[i]->out = lanes[lanes[i]->source]->in;
    });
    return operand.out;
}

inline float __expf(float x) { return std::exp(x); }
inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }
using std::max;
using std::min;
