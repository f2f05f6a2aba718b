// Multi-head attention on the CPU: tiles of scores, an online softmax between the two products, no row kept.
// Keys and values are packed so that each tile reads straight lines; a block of queries meets a block of keys in the
// second-level cache. Backwards the scores are computed again from the log-sum-exp of each row. Needs simd.h and
// dropout/dropout_cpu.h before it.
#pragma once
#include <algorithm>
#include <cmath>
#include <omp.h>

namespace jseg_attention {
using namespace jseg_simd;
using jseg_dropout::Dropout;  // of probabilities: rows count over images, heads and queries

constexpr long kQueries = 48, kForwardKeys = 512, kBackwardKeys = 256;  // of a block; multiples of the tiles' sizes
constexpr long kGroupFloats = 64 * kQueries * 64;  // of packed queries at a time, backwards: 3072 of 64 channels
constexpr long kPackedFloats = 4l << 20;  // of packed keys and values at a time, if that gives each thread a head

// The score of what a row does not see, whatever its other scores are: its exponential is 0. The largest score of a row
// so far starts at kLowest: below all scores, but finite, so that the difference of the two is no NaN.
constexpr float kUnseen = -__builtin_inff(), kLowest = -__FLT_MAX__;

// Rows of a (batch, rows, heads * channels) tensor, or of a part of wider rows.
template <class T>
struct Rows {
    T* data;
    long row, batch;  // strides
    Rows shifted(long columns) const { return {data + columns, row, batch}; }
    Rows from(long first) const { return {data + first * row, row, batch}; }
    Rows head(long b, long h, long channels) const { return {data + b * batch + h * channels, row, batch}; }
    T* operator[](long i) const { return data + i * row; }
};
typedef Rows<const float> Input;
typedef Rows<float> Output;

struct Problem {
    long batch;
    int heads;
    long channels;       // of one head
    long queries, keys;  // rows that see all keys (or those up to their own, if causal)
    bool causal;
    long first_skipped, skipped;  // rows that are no queries: query i is row i, or i + skipped from first_skipped on
    long rows;                    // of the log-sum-exp, all tokens

    long row(long query) const { return query < first_skipped ? query : query + skipped; }
    float scale() const { return 1.f / std::sqrt((float)channels); }
    long padded() const { return round_up(channels, kLanes); }
    long pairs() const { return batch * heads; }  // of image and head
};

// What a patch sees beyond the keys that all see; none in plain attention.
struct NoExtraKey {
    long operator()(long) const { return -1; }
};

inline float dot(const float* a, const float* b, long n) {
    float total = 0.f;
    for (long i = 0; i < n; i++) total += a[i] * b[i];
    return total;
}

inline void add_scaled(float* __restrict__ y, float factor, const float* __restrict__ x, long n) {
    for (long i = 0; i < n; i++) y[i] += factor * x[i];
}

inline void scale_row(float* y, float factor, long n) {
    for (long i = 0; i < n; i++) y[i] *= factor;
}

// Rows, scaled, each padded with zeros to `width`; their number is padded to a multiple of kQueries.
template <class Source>
inline void gather(const Problem& p, const Source& source, long first, long count, float factor, long width, float* block) {
    std::memset(block, 0, round_up(count, kQueries) * width * sizeof(float));
    for (long i = 0; i < count; i++) {
        const float* row = source[p.row(first + i)];
        for (long c = 0; c < p.channels; c++) block[i * width + c] = factor * row[c];
    }
}

// One row of the online softmax over `n` more scores: they become exponentials below the new largest score.
// Returns the factor that what was summed so far shrinks by.
inline float softmax_step(float* score, long n, float& highest, float& total) {
    long padded = round_up(n, kPanel);
    for (long j = n; j < padded; j++) score[j] = kUnseen;
    Vec top = load(score);
    for (long j = kLanes; j < padded; j += kLanes) top = maximum(top, load(score + j));
    float now = std::max(highest, largest(top)), shrink = std::exp(highest - now);
    Vec sums[2] = {};
    for (long j = 0; j < padded; j += kPanel) {
        Vec a = exp_nonpositive(load(score + j) - now), b = exp_nonpositive(load(score + j + kLanes) - now);
        store(score + j, a);
        store(score + j + kLanes, b);
        sums[0] += a;
        sums[1] += b;
    }
    total = total * shrink + sum(sums[0] + sums[1]);
    highest = now;
    return shrink;
}

inline void drop(float* row, long n, const Dropout& dropout, uint32_t key, uint32_t first) {
    for (long j = 0; j < n; j += kLanes) store(row + j, load(row + j) * dropout.factors(key, first + j));
}

struct ForwardBlock {
    float score[kQueries * (kForwardKeys + 16)], highest[kQueries], total[kQueries];
    float* query;   // kQueries x padded
    float* output;  // the same
    static constexpr long kLd = kForwardKeys + 16;  // off powers of two
};

// Rows `first` ... of one head against packed keys and values.
template <class ExtraKey, class Source, class Target>
inline void forward_block(const Problem& p, const Dropout& dropout, ExtraKey extra, long pair, long first,
                          const Source& q, const Source& k, const Source& v, const float* panels, const float* values,
                          const Target& o, float* log_sum, ForwardBlock& w) {
    const long count = std::min(kQueries, p.queries - first), width = p.padded(), ld = ForwardBlock::kLd;
    const long rows = round_up(count, kTallRows), last = p.causal ? first + count : p.keys;
    gather(p, q, first, count, p.scale(), width, w.query);
    std::memset(w.output, 0, kQueries * width * sizeof(float));
    std::fill(w.highest, w.highest + kQueries, kLowest);
    std::fill(w.total, w.total + kQueries, 0.f);
    for (long start = 0; start < last; start += kForwardKeys) {
        long keys = std::min(kForwardKeys, last - start);
        panel_product(rows, round_up(keys, kPanel) / kPanel, p.channels, w.query, width, panels + start * p.channels,
                      w.score, ld);
        for (long i = 0; i < count; i++) {
            float* score = w.score + i * ld;
            if (p.causal)
                for (long j = std::max(0l, first + i + 1 - start); j < keys; j++) score[j] = kUnseen;
            float shrink = softmax_step(score, keys, w.highest[i], w.total[i]);
            if (start && shrink != 1.f) scale_row(w.output + i * width, shrink, width);
            if (dropout.active()) drop(score, keys, dropout, dropout.row_key(pair * p.queries + first + i), start);
        }
        add_product(rows, keys, width, w.score, ld, 1, values + start * width, w.output);
    }
    for (long i = 0; i < count; i++) {
        long row = p.row(first + i), key = extra(row);
        float* out = w.output + i * width;
        if (key >= 0) {
            float score = dot(w.query + i * width, k[key], p.channels), now = std::max(w.highest[i], score);
            float shrink = std::exp(w.highest[i] - now), weight = std::exp(score - now);
            scale_row(out, shrink, p.channels);
            add_scaled(out, weight, v[key], p.channels);
            w.total[i] = w.total[i] * shrink + weight;
            w.highest[i] = now;
        }
        for (long c = 0; c < p.channels; c++) o[row][c] = out[c] / w.total[i];
        log_sum[pair * p.rows + row] = w.highest[i] + std::log(w.total[i]);
    }
}

// log_sum: (batch, heads, rows), logarithm of the sum of exponentials of each row's scores.
template <class Source, class Target, class ExtraKey = NoExtraKey>
inline void forward(const Problem& p, const Dropout& dropout, const Source& q, const Source& k, const Source& v,
                    const Target& o, float* log_sum, ExtraKey extra = {}) {
    const long width = p.padded(), panels = (p.keys + kPanel - 1) / kPanel,
               packed = panels * kPanel * (p.channels + width);
    const long blocks = (p.queries + kQueries - 1) / kQueries, threads = omp_get_max_threads();
    const long group = std::min(p.pairs(), std::max(kPackedFloats / packed, threads));
    const long block_floats = round_up(sizeof(ForwardBlock) / sizeof(float) + 16, 16) + 2 * kQueries * width;
    float *store_of_keys = scratch(0, group * packed), *work = scratch(1, threads * block_floats);
    for (long begin = 0; begin < p.pairs(); begin += group) {
        const long end = std::min(p.pairs(), begin + group);
        #pragma omp parallel
        {
            #pragma omp for collapse(2) schedule(static)
            for (long pair = begin; pair < end; pair++)
                for (long panel = 0; panel < panels; panel++) {
                    Source kh = k.head(pair / p.heads, pair % p.heads, p.channels),
                           vh = v.head(pair / p.heads, pair % p.heads, p.channels);
                    float *to = store_of_keys + (pair - begin) * packed, *values = to + panels * kPanel * p.channels;
                    long start = panel * kPanel, count = std::min((long)kPanel, p.keys - start);
                    pack_panel(kh, start, count, p.channels, to + start * p.channels);
                    for (long x = start; x < start + count; x++) {
                        const float* row = vh[x];
                        std::copy(row, row + p.channels, values + x * width);
                        std::fill(values + x * width + p.channels, values + (x + 1) * width, 0.f);
                    }
                }
            float* mine = work + omp_get_thread_num() * block_floats;
            ForwardBlock& block = *(ForwardBlock*)mine;
            block.query = mine + block_floats - 2 * kQueries * width;
            block.output = block.query + kQueries * width;
            #pragma omp for collapse(2) schedule(dynamic, 1)
            for (long pair = begin; pair < end; pair++)
                for (long index = 0; index < blocks; index++) {
                    long b = pair / p.heads, h = pair % p.heads;
                    const float* from = store_of_keys + (pair - begin) * packed;
                    forward_block(p, dropout, extra, pair, index * kQueries, q.head(b, h, p.channels),
                                  k.head(b, h, p.channels), v.head(b, h, p.channels), from,
                                  from + panels * kPanel * p.channels, o.head(b, h, p.channels), log_sum, block);
                }
        }
    }
}

struct BackwardBlock {
    static constexpr long kLd = kBackwardKeys + 16, kKeyRows = kBackwardKeys + 8;  // room for rows rounded up to a tile
    float *share, *slope;                      // kQueries x kLd: probabilities, gradients of the scores
    float *key_panels, *value_panels;          // packed for products with queries
    float *keys, *dkeys, *dvalues;             // kKeyRows x padded
    float *query, *grad_output, *dquery;       // group x padded
    static long group(const Problem& p) {
        const long most = std::max(1l, kGroupFloats / p.padded() / kQueries) * kQueries;
        return std::min(most, round_up(std::max(p.queries, 1l), kQueries));
    }
    static long floats(const Problem& p) {
        return 2 * kQueries * kLd + 2 * kBackwardKeys * p.channels + 3 * (kKeyRows + group(p)) * p.padded() + 64;
    }
    BackwardBlock(const Problem& p, float* memory) {
        auto take = [&](long count) { float* start = memory; memory += round_up(count, 4); return start; };
        share = take(kQueries * kLd); slope = take(kQueries * kLd);
        key_panels = take(kBackwardKeys * p.channels); value_panels = take(kBackwardKeys * p.channels);
        keys = take(kKeyRows * p.padded()); dkeys = take(kKeyRows * p.padded()); dvalues = take(kKeyRows * p.padded());
        query = take(group(p) * p.padded());
        grad_output = take(group(p) * p.padded());
        dquery = take(group(p) * p.padded());
    }
};

// In one row, scores become probabilities (with the factor of dropout) and gradients of those become gradients of
// scores.
inline void backward_row(float* score, float* slope, long n, float log_sum, float delta, const Dropout& dropout,
                         uint32_t key, uint32_t first) {
    if (!dropout.active()) {
        for (long j = 0; j < n; j += kLanes) {
            Vec share = exp_nonpositive(load(score + j) - log_sum);
            store(score + j, share);
            store(slope + j, share * (load(slope + j) - delta));
        }
        return;
    }
    for (long j = 0; j < n; j += kLanes) {
        Vec share = exp_nonpositive(load(score + j) - log_sum), factor = dropout.factors(key, first + j);
        store(score + j, share * factor);
        store(slope + j, share * (load(slope + j) * factor - delta));
    }
}

// One block of queries, `offset` rows into the group in `w`, against the keys `start` ... packed there: adds to dquery,
// dkeys and dvalues.
inline void backward_block(const Problem& p, const Dropout& dropout, long pair, long first, long offset, long start,
                           long keys, const float* log_sum, const float* delta, BackwardBlock& w) {
    const long count = std::min(kQueries, p.queries - first), width = p.padded(), ld = BackwardBlock::kLd;
    const long rows = round_up(count, kTallRows), panels = round_up(keys, kPanel) / kPanel;
    const float *query = w.query + offset * width, *grad_output = w.grad_output + offset * width;
    panel_product(rows, panels, p.channels, query, width, w.key_panels, w.share, ld);
    panel_product(rows, panels, p.channels, grad_output, width, w.value_panels, w.slope, ld);
    for (long i = 0; i < count; i++) {
        long row = pair * p.rows + p.row(first + i);
        float* score = w.share + i * ld;
        if (p.causal)
            for (long j = std::max(0l, first + i + 1 - start); j < keys; j++) score[j] = kUnseen;
        backward_row(score, w.slope + i * ld, panels * kPanel, log_sum[row], delta[row], dropout,
                     dropout.row_key(pair * p.queries + first + i), start);
    }
    add_product(keys, count, width, w.share, 1, ld, grad_output, w.dvalues);
    add_product(keys, count, width, w.slope, 1, ld, query, w.dkeys);
    add_product(rows, keys, width, w.slope, ld, 1, w.keys, w.dquery + offset * width);
}

inline void pack_keys(const Problem& p, Input k, Input v, long start, long keys, BackwardBlock& w) {
    const long width = p.padded();
    for (long x = 0; x < keys; x += kPanel) {
        long count = std::min((long)kPanel, keys - x);
        pack_panel(k, start + x, count, p.channels, w.key_panels + x * p.channels);
        pack_panel(v, start + x, count, p.channels, w.value_panels + x * p.channels);
    }
    std::memset(w.keys, 0, keys * width * sizeof(float));
    for (long x = 0; x < keys; x++) std::copy(k[start + x], k[start + x] + p.channels, w.keys + x * width);
    std::memset(w.dkeys, 0, BackwardBlock::kKeyRows * width * sizeof(float));
    std::memset(w.dvalues, 0, BackwardBlock::kKeyRows * width * sizeof(float));
}

// The keys of blocks `from` ... `to` of one head against all its queries; q ... dv point at that head. Rows of q, grad
// and dq lie far apart, so they are read and written once for each group, and not for each block of keys.
inline void backward_keys(const Problem& p, const Dropout& dropout, long pair, long from, long to, Input q, Input k,
                          Input v, Input grad, const float* log_sum, const float* delta, Output dq, Output dk,
                          Output dv, BackwardBlock& w) {
    const long width = p.padded(), group = BackwardBlock::group(p);
    long begin = 0;
    do {  // once if there are no queries
        const long count = std::min(group, p.queries - begin), end = begin + count;
        gather(p, q, begin, count, p.scale(), width, w.query);
        gather(p, grad, begin, count, 1.f, width, w.grad_output);
        std::memset(w.dquery, 0, round_up(count, kQueries) * width * sizeof(float));
        for (long block = from; block < to; block++) {
            const long start = block * kBackwardKeys, keys = std::min(kBackwardKeys, p.keys - start);
            pack_keys(p, k, v, start, keys, w);
            const long seen = p.causal ? start / kQueries * kQueries : 0;
            for (long first = std::max(begin, seen); first < end; first += kQueries)
                backward_block(p, dropout, pair, first, first - begin, start, keys, log_sum, delta, w);
            for (long x = 0; x < keys; x++) {
                if (!begin) {
                    std::fill(dk[start + x], dk[start + x] + p.channels, 0.f);
                    std::fill(dv[start + x], dv[start + x] + p.channels, 0.f);
                }
                add_scaled(dk[start + x], 1.f, w.dkeys + x * width, p.channels);
                add_scaled(dv[start + x], 1.f, w.dvalues + x * width, p.channels);
            }
        }
        for (long i = 0; i < count; i++)
            for (long c = 0; c < p.channels; c++) dq[p.row(begin + i)][c] = p.scale() * w.dquery[i * width + c];
        begin = end;
    } while (begin < p.queries);
}

// Into how many parts the keys of a head are split, so that the threads have equal work.
inline long key_parts(const Problem& p, long threads) {
    const long most = std::min(8l, (p.keys + kBackwardKeys - 1) / kBackwardKeys);
    long best = 1;
    double best_share = 0;
    for (long parts = 1; parts <= most; parts++) {
        long units = p.pairs() * parts, rounds = (units + threads - 1) / threads;
        double share = (double)units / (rounds * threads);
        if (share > best_share + 0.1) { best = parts; best_share = share; }
    }
    return best;
}

// Writes dq, dk and dv of the queries and keys of `p`. delta: (batch, heads, rows), filled here with grad . output.
// Sums run in an order that depends on the number of threads alone.
inline void backward(const Problem& p, const Dropout& dropout, Input q, Input k, Input v, Input o, Input grad,
                     const float* log_sum, Output dq, Output dk, Output dv) {
    const long c = p.channels, threads = omp_get_max_threads(), parts = key_parts(p, threads);
    const long blocks = (p.keys + kBackwardKeys - 1) / kBackwardKeys, floats = round_up(BackwardBlock::floats(p), 16);
    float* work = scratch(0, threads * floats);
    float* delta = scratch(1, p.pairs() * p.rows * (1 + (parts - 1) * c));
    float* partial = delta + p.pairs() * p.rows;  // dq of the second part of the keys, of the third, ...
    #pragma omp parallel
    {
        #pragma omp for collapse(2) schedule(static)
        for (long pair = 0; pair < p.pairs(); pair++)
            for (long i = 0; i < p.queries; i++) {
                long row = p.row(i), b = pair / p.heads, h = pair % p.heads;
                delta[pair * p.rows + row] = dot(grad.head(b, h, c)[row], o.head(b, h, c)[row], c);
            }
        BackwardBlock w(p, work + omp_get_thread_num() * floats);
        #pragma omp for collapse(2) schedule(dynamic, 1)
        for (long pair = 0; pair < p.pairs(); pair++)
            for (long part = 0; part < parts; part++) {
                long b = pair / p.heads, h = pair % p.heads;
                Output target = dq.head(b, h, c);
                if (part) target = {partial + (pair * (parts - 1) + part - 1) * p.rows * c, c, 0};
                backward_keys(p, dropout, pair, blocks * part / parts, blocks * (part + 1) / parts, q.head(b, h, c),
                              k.head(b, h, c), v.head(b, h, c), grad.head(b, h, c), log_sum, delta, target,
                              dk.head(b, h, c), dv.head(b, h, c), w);
            }
        #pragma omp for collapse(2) schedule(static)
        for (long pair = 0; pair < p.pairs(); pair++)
            for (long i = 0; i < p.queries; i++)
                for (long part = 1; part < parts; part++)
                    add_scaled(dq.head(pair / p.heads, pair % p.heads, c)[p.row(i)], 1.f,
                               partial + ((pair * (parts - 1) + part - 1) * p.rows + p.row(i)) * c, c);
    }
}

}  // namespace jseg_attention
