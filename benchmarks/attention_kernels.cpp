// Times the attention kernels of the CPU alone, without Jittor, beside the parts that they consist of and the peak of
// the machine: how far they are from what it can do.
//
//     g++ -std=c++17 -Ofast -march=native -fopenmp -I jseg/ops benchmarks/attention_kernels.cpp -o attention_kernels
//     ./attention_kernels [ROUNDS]
//
// One thread, seconds of its own CPU time, best of 5 calls; each of the ROUNDS (5) measures everything in turn, since
// the clock of shared machines varies, and the table has the medians over the rounds. GFLOP/s: 4 H c pairs forward, 10 H
// c pairs backward. "products" are those of a block (48 queries, 512 keys, 64 channels) in the second-level cache.
#include "simd.h"
#include "dropout/dropout_cpu.h"
#include "attention/attention_cpu.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <random>
#include <string>
#include <vector>

using namespace jseg_attention;

namespace {

constexpr long kChannels = 64;

double cpu_seconds() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}

template <class Call>
double best(Call call) {
    double shortest = 1e9;
    for (int i = 0; i < 5; i++) {
        double start = cpu_seconds();
        call();
        shortest = std::min(shortest, cpu_seconds() - start);
    }
    return shortest;
}

std::vector<float> values(size_t count) {
    static std::mt19937 generator(0);
    std::normal_distribution<float> normal;
    std::vector<float> x(count);
    for (float& each : x) each = normal(generator);
    return x;
}

// 12 chains of multiply-adds, as many as hide their latency.
double peak() {
    constexpr long kSteps = 2000000, kChains = 12;
    static volatile float one = 1.f, sink;
    double seconds = best([] {
        Vec sums[kChains], factor = Vec{} + one, added = Vec{} + 0.5f * one;
        for (long i = 0; i < kChains; i++) sums[i] = added * (float)i;
        for (long k = 0; k < kSteps; k++)
            #pragma GCC unroll 12
            for (long i = 0; i < kChains; i++) sums[i] = sums[i] * factor + added;
        for (const Vec& each : sums) sink = each[0];
    });
    return 2e-9 * kSteps * kChains * kLanes / seconds;
}

void parts(std::map<std::string, std::vector<double>>& found) {
    constexpr long kKeys = kForwardKeys, kLd = kKeys + 16;
    auto query = values(kQueries * kChannels), keys = values(kKeys * kChannels), scores = values(kQueries * kLd),
         output = values(kQueries * kChannels);
    double flops = 2e-9 * kQueries * kKeys * kChannels;
    found["product with packed keys"].push_back(flops / best([&] {
        panel_product(kQueries, kKeys / kPanel, kChannels, query.data(), kChannels, keys.data(), scores.data(), kLd);
    }));
    found["product with values"].push_back(flops / best([&] {
        add_product(kQueries, kKeys, kChannels, scores.data(), kLd, 1, keys.data(), output.data());
    }));
    found["softmax, ns per score"].push_back(1e9 / (kQueries * kKeys) * best([&] {
        for (long i = 0; i < kQueries; i++) {
            float highest = kLowest, total = 0.f;
            softmax_step(scores.data() + i * kLd, kKeys, highest, total);
        }
    }));
}

void kernels(const std::string& name, int heads, long queries, long keys,
             std::map<std::string, std::vector<double>>& found) {
    const long width = heads * kChannels;
    auto q = values(queries * width), k = values(keys * width), v = values(keys * width), grad = values(queries * width);
    std::vector<float> o(q.size()), dq(q.size()), dk(k.size()), dv(k.size()), log_sum(heads * queries);
    const Problem p{1, heads, kChannels, queries, keys, false, queries, 0, queries};
    auto input = [&](const std::vector<float>& x) { return Input{x.data(), width, 0}; };
    auto result = [&](std::vector<float>& x) { return Output{x.data(), width, 0}; };
    const double pairs = 1e-9 * heads * queries * keys;
    found[name + ", forward"].push_back(4 * kChannels * pairs / best([&] {
        forward(p, Dropout(), input(q), input(k), input(v), result(o), log_sum.data());
    }));
    found[name + ", backward"].push_back(10 * kChannels * pairs / best([&] {
        backward(p, Dropout(), input(q), input(k), input(v), input(o), input(grad), log_sum.data(), result(dq),
                 result(dk), result(dv));
    }));
}

}  // namespace

int main(int count, char** words) {
    omp_set_num_threads(1);
    std::map<std::string, std::vector<double>> found;
    for (int round = 0; round < (count > 1 ? std::atoi(words[1]) : 5); round++) {
        found["peak"].push_back(peak());
        parts(found);
        kernels("1041 over 1041, 12 heads", 12, 1041, 1041, found);
        kernels("320 over 1024, 8 heads", 8, 320, 1024, found);
        kernels("1024 over 320, 8 heads", 8, 1024, 320, found);
    }
    std::printf("| part | GFLOP/s, or as named |\n|---|---:|\n");
    for (auto& [name, rates] : found) {
        std::nth_element(rates.begin(), rates.begin() + rates.size() / 2, rates.end());
        std::printf("| %s | %.1f |\n", name.c_str(), rates[rates.size() / 2]);
    }
}
