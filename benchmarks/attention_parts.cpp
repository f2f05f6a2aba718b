// The parts of fused attention alone, on one thread and in its caches: the two products and the softmax of a block of
// 48 queries and 512 keys of 64 channels. The fastest of many calls counts, which a busy machine disturbs little.
//
//     g++ -Ofast -march=native -mno-recip -fopenmp -std=c++17 -I jseg/ops benchmarks/attention_parts.cpp -o attention_parts
//     ./attention_parts
#include <time.h>
#include <cstdio>

#include "simd.h"
#include "dropout/dropout_cpu.h"
#include "attention/attention_cpu.h"

using namespace jseg_attention;

constexpr long kBlockRows = 48, kBlockKeys = 512, kChannels = 64, kLd = kBlockKeys + 16;

static double cpu_seconds() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

int main() {
    alignas(64) static float queries[kBlockRows * kChannels], panels[kBlockKeys * kChannels], scores[kBlockRows * kLd],
        values[kBlockKeys * kChannels], output[kBlockRows * kChannels];
    for (long i = 0; i < kBlockRows * kChannels; i++) queries[i] = std::sin(i);
    for (long i = 0; i < kBlockKeys * kChannels; i++) {
        panels[i] = std::sin(i * 0.3f);
        values[i] = std::sin(i * 0.7f);
    }
    double best[3] = {1e9, 1e9, 1e9};
    for (int run = 0; run < 3000; run++) {
        const double start = cpu_seconds();
        panel_product(kBlockRows, kBlockKeys / kPanel, kChannels, queries, kChannels, panels, scores, kLd);
        const double product = cpu_seconds();
        for (long i = 0; i < kBlockRows; i++) {
            float highest = kLowest, total = 0;
            softmax_step(scores + i * kLd, kBlockKeys, highest, total);
        }
        const double softmax = cpu_seconds();
        add_product(kBlockRows, kBlockKeys, kChannels, scores, kLd, 1, values, output);
        const double end = cpu_seconds();
        best[0] = std::min(best[0], product - start);
        best[1] = std::min(best[1], softmax - product);
        best[2] = std::min(best[2], end - softmax);
    }
    const double operations = 2.0 * kBlockRows * kBlockKeys * kChannels * 1e-9;
    std::printf("queries x keys %.0f GFLOP/s, softmax %.2f ns a score, scores x values %.0f GFLOP/s\n"
                "together %.0f GFLOP/s, without the softmax %.0f\n",
                operations / best[0], best[1] / kBlockRows / kBlockKeys * 1e9, operations / best[2],
                2 * operations / (best[0] + best[1] + best[2]), 2 * operations / (best[0] + best[2]));
}
