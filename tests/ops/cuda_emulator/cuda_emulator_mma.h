// The number formats and tensor-core operations of the emulator: float16, bfloat16 and TF32 with the rounding of the
// hardware, cp.async, ldmatrix and mma with the lane layouts of the PTX manual.
#pragma once
#include "cuda_emulator.h"

namespace emulator {

inline uint32_t bits(float x) { uint32_t u; std::memcpy(&u, &x, 4); return u; }
inline float from_bits(uint32_t u) { float x; std::memcpy(&x, &u, 4); return x; }

// Round to nearest, ties to even.
inline uint16_t to_bfloat16(float x) {
    uint32_t u = bits(x);
    if (std::isnan(x)) return 0x7fff;
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

inline uint16_t to_float16(float x) {
    uint16_t sign = (uint16_t)(bits(x) >> 16 & 0x8000);
    float size = std::fabs(x);
    if (std::isnan(x)) return 0x7fff;
    if (size >= 65520.f) return sign | 0x7c00;
    if (size < 6.103515625e-05f) return sign | (uint16_t)std::nearbyint(size * 16777216.f);  // multiples of 2^-24
    uint32_t u = bits(size);
    u += 0xfffu + (u >> 13 & 1);
    return sign | (uint16_t)((u - (112u << 23)) >> 13);
}

inline float from_float16(uint16_t h) {
    static const std::vector<float> table = [] {
        std::vector<float> values(65536);
        for (unsigned i = 0; i < 65536; i++) {
            int exponent = i >> 10 & 31, fraction = i & 1023;
            float size = exponent == 0    ? std::ldexp((float)fraction, -24)
                         : exponent == 31 ? (fraction ? NAN : INFINITY)
                                          : std::ldexp((float)(1024 + fraction), exponent - 25);
            values[i] = i & 0x8000 ? -size : size;
        }
        return values;
    }();
    return table[h];
}

}  // namespace emulator

struct __half { uint16_t u; };
struct __nv_bfloat16 { uint16_t u; };
inline float __half2float(__half x) { return emulator::from_float16(x.u); }
inline __half __float2half(float x) { return {emulator::to_float16(x)}; }
inline float __bfloat162float(__nv_bfloat16 x) { return emulator::from_bits((uint32_t)x.u << 16); }
inline __nv_bfloat16 __float2bfloat16(float x) { return {emulator::to_bfloat16(x)}; }

namespace jseg_device {

template <class T> inline unsigned pack(float low, float high);
template <> inline unsigned pack<__half>(float low, float high) {
    return emulator::to_float16(low) | (unsigned)emulator::to_float16(high) << 16;
}
template <> inline unsigned pack<__nv_bfloat16>(float low, float high) {
    return emulator::to_bfloat16(low) | (unsigned)emulator::to_bfloat16(high) << 16;
}

// cvt.rna.tf32.f32: 10 bits of fraction, ties away from zero.
inline unsigned to_tf32(float x) { return (emulator::bits(x) + 0x1000u) & ~0x1fffu; }

inline float as_float(unsigned u) { return emulator::from_bits(u); }
inline unsigned as_bits(float x) { return emulator::bits(x); }
inline float exp2_fast(float x) { return std::exp2(x); }

inline void copy_async(void* target, const void* source, bool valid) {
    if ((uintptr_t)target % 16 || (valid && (uintptr_t)source % 16)) emulator::fail("cp.async needs 16-byte addresses");
    emulator::Copy copy{target, source, valid ? 16u : 0u};
    if (emulator::schedule.early_copies) emulator::perform({copy});
    else emulator::current->open_copies.push_back(copy);
}
inline void copy_commit() {
    emulator::Fiber& fiber = *emulator::current;
    fiber.copy_groups.push_back(std::move(fiber.open_copies));
    fiber.open_copies.clear();
}
template <int kPending>
void copy_wait_at(const char* file, int line) {
    if (emulator::skips(file, line)) return;
    auto& groups = emulator::current->copy_groups;
    while (groups.size() > kPending) {
        emulator::perform(groups.front());
        groups.erase(groups.begin());
    }
}

// Matrix j (8 x 8 of 16 bits) has its rows at the addresses of lanes 8 j .. 8 j + 7.
template <bool kTransposed>
void load_matrices(unsigned (&r)[4], const void* row) {
    struct Operand { const void* row; unsigned* r; } operand{row, r};
    if ((uintptr_t)row % 16) emulator::fail("ldmatrix needs 16-byte addresses");
    emulator::warp_operation(operand, [](Operand** lanes) {
        for (int l = 0; l < 32; l++)
            for (int j = 0; j < 4; j++) {
                auto element = [&](int i) {  // of the pair that lane l gets
                    int y = kTransposed ? l % 4 * 2 + i : l / 4, x = kTransposed ? l / 4 : l % 4 * 2 + i;
                    return (unsigned)static_cast<const uint16_t*>(lanes[8 * j + y]->row)[x];
                };
                lanes[l]->r[j] = element(0) | element(1) << 16;
            }
    });
}

// d (16 x 8) += a (16 x kDepth) b (kDepth x 8): the lanes' registers are gathered, multiplied, and spread again.
struct ProductOperand { float* d; const unsigned *a, *b; };

template <int kDepth, class Put>
void multiply_warp(ProductOperand** lanes, Put put) {
    float a[16][kDepth], b[8][kDepth];
    for (int l = 0; l < 32; l++) put(a, b, *lanes[l], l / 4, l % 4);
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            const float *x = a[l / 4 + i / 2 * 8], *y = b[l % 4 * 2 + i % 2];
            float sum = 0;
            for (int k = 0; k < kDepth; k++) sum += x[k] * y[k];
            lanes[l]->d[i] += sum;
        }
}

template <class T>
void mma_16x8x16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    ProductOperand operand{d, a, b};
    emulator::warp_operation(operand, [](ProductOperand** lanes) {
        multiply_warp<16>(lanes, [](auto& a, auto& b, const ProductOperand& lane, int g, int t) {
            auto value = [](unsigned pair, int i) {
                uint16_t u = (uint16_t)(pair >> 16 * i);
                return std::is_same<T, __half>::value ? emulator::from_float16(u)
                                                      : emulator::from_bits((uint32_t)u << 16);
            };
            for (int r = 0; r < 4; r++)
                for (int i = 0; i < 2; i++) {
                    a[g + r % 2 * 8][t * 2 + i + r / 2 * 8] = value(lane.a[r], i);
                    if (r < 2) b[g][t * 2 + i + r * 8] = value(lane.b[r], i);
                }
        });
    });
}

inline void mma_16x8x8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    ProductOperand operand{d, a, b};
    emulator::warp_operation(operand, [](ProductOperand** lanes) {
        multiply_warp<8>(lanes, [](auto& a, auto& b, const ProductOperand& lane, int g, int t) {
            auto value = [](unsigned u) { return emulator::from_bits(u & ~0x1fffu); };  // the hardware ignores the rest
            for (int r = 0; r < 4; r++) a[g + r % 2 * 8][t + r / 2 * 4] = value(lane.a[r]);
            for (int r = 0; r < 2; r++) b[g][t + r * 4] = value(lane.b[r]);
        });
    });
}

template <class Kernel, class... Arguments>
void launch(Kernel kernel, dim3 grid, int threads, size_t shared_bytes, const char*, const Arguments&... arguments) {
    emulator::launch(grid, dim3(threads), shared_bytes, [&] { kernel(arguments...); });
}

}  // namespace jseg_device

#define JSEG_SHARED_MEMORY(name) unsigned char* name = emulator::block.shared
#define JSEG_COPY_WAIT(pending) jseg_device::copy_wait_at<pending>(__FILE__, __LINE__)
