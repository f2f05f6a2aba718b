// Self-attention with the mask of the region-level bridge: the plain kernel over prefix and patches, where a patch
// takes one key more into its softmax, and short loops for the rows of the region tokens. Needs attention_cpu.h before
// it.
#pragma once
#include <vector>

namespace jseg_attention {

// Token order [prefix | patches | regions]; the last `skipped` tokens of the prefix are keys only.
struct Regions {
    long grid_h, grid_w, regions_h, regions_w, prefix, skipped;
    long patches() const { return grid_h * grid_w; }
    long count() const { return regions_h * regions_w; }
    long base() const { return prefix + patches(); }
    long of_patch(long patch) const {
        return patch / grid_w * regions_h / grid_h * regions_w + patch % grid_w * regions_w / grid_w;
    }
    // The region token that row `token` sees besides prefix and patches, or -1.
    long operator()(long token) const { return token < prefix || !count() ? -1 : base() + of_patch(token - prefix); }
    Problem problem(long batch, int heads, long channels) const {
        return {batch, heads, channels, base() - skipped, base(), false, prefix - skipped, skipped, base() + count()};
    }
    // Patches of region r: entries offsets[r] ... offsets[r + 1] of `members`, which are tokens.
    void group(std::vector<long>& offsets, std::vector<long>& members) const {
        offsets.assign(count() + 1, 0);
        members.resize(patches());
        for (long i = 0; i < patches(); i++) offsets[of_patch(i) + 1]++;
        for (long r = 0; r < count(); r++) offsets[r + 1] += offsets[r];
        std::vector<long> next(offsets.begin(), offsets.end() - 1);
        for (long i = 0; i < patches(); i++) members[next[of_patch(i)]++] = prefix + i;
    }
};

// Tokens of which those of [first, end) and from `last` on are the same for all images and lie elsewhere, in order.
struct PartlyShared {
    Input own, shared;  // the batch stride of `shared` is 0
    long first, end, last;
    PartlyShared shifted(long columns) const {
        return {own.shifted(columns), shared.shifted(columns), first, end, last};
    }
    PartlyShared head(long b, long h, long channels) const {
        return {own.head(b, h, channels), shared.head(b, h, channels), first, end, last};
    }
    const float* operator[](long token) const {
        if (token < first) return own[token];
        if (token < end) return shared[token - first];
        return token < last ? own[token - (end - first)] : shared[token - first - (last - end)];
    }
};

// Tokens without those of [first, end), which are never written.
struct Shortened {
    Output rows;
    long first, end;
    Shortened head(long b, long h, long channels) const { return {rows.head(b, h, channels), first, end}; }
    float* operator[](long token) const { return rows[token < first ? token : token - (end - first)]; }
};

// Row of one region token over `n` patches and itself.
template <class Source>
inline void region_row(const Problem& p, long token, const long* members, long n, const Source& q, const Source& k,
                       const Source& v, float* out, float* log_sum) {
    const float* query = q[token];
    float highest = kLowest, total = 0.f;
    std::fill(out, out + p.channels, 0.f);
    for (long x = 0; x <= n; x++) {
        long key = x < n ? members[x] : token;
        float score = p.scale() * dot(query, k[key], p.channels), now = std::max(highest, score);
        float shrink = std::exp(highest - now), weight = std::exp(score - now);
        if (shrink != 1.f) scale_row(out, shrink, p.channels);
        add_scaled(out, weight, v[key], p.channels);
        total = total * shrink + weight;
        highest = now;
    }
    scale_row(out, 1.f / total, p.channels);
    *log_sum = highest + std::log(total);
}

inline void clear_skipped(const Problem& p, Output rows, float* log_sum = nullptr) {
    for (long pair = 0; pair < p.pairs(); pair++)
        for (long row = p.first_skipped; row < p.first_skipped + p.skipped; row++) {
            float* out = rows.head(pair / p.heads, pair % p.heads, p.channels)[row];
            std::fill(out, out + p.channels, 0.f);
            if (log_sum) log_sum[pair * p.rows + row] = 0.f;
        }
}

template <class Source, class Target>
inline void region_forward(const Problem& p, const Regions& regions, const Source& q, const Source& k, const Source& v,
                           const Target& o, float* log_sum) {
    forward(p, Dropout(), q, k, v, o, log_sum, regions);
    if (!regions.count()) return;
    std::vector<long> offsets, members;
    regions.group(offsets, members);
    #pragma omp parallel for collapse(2) schedule(static)
    for (long pair = 0; pair < p.pairs(); pair++)
        for (long r = 0; r < regions.count(); r++) {
            long b = pair / p.heads, h = pair % p.heads, token = regions.base() + r;
            region_row(p, token, members.data() + offsets[r], offsets[r + 1] - offsets[r], q.head(b, h, p.channels),
                       k.head(b, h, p.channels), v.head(b, h, p.channels), o.head(b, h, p.channels)[token],
                       log_sum + pair * p.rows + token);
        }
}

// Gradients of one pair of query row and key row, added to the three outputs.
struct PairGradient {
    const Problem& p;
    Input q, k, v, grad;
    Output dq, dk, dv;
    const float* log_sum;  // of this head
    void operator()(long query, long key, float delta) const {
        float share = std::exp(p.scale() * dot(q[query], k[key], p.channels) - log_sum[query]);
        float slope = share * p.scale() * (dot(grad[query], v[key], p.channels) - delta);
        add_scaled(dv[key], share, grad[query], p.channels);
        add_scaled(dk[key], slope, q[query], p.channels);
        add_scaled(dq[query], slope, k[key], p.channels);
    }
};

// The gradients of keys and values of skipped tokens alone; all others are 0.
inline void skipped_backward(const Problem& p, Input q, Input k, Input v, Input o, Input grad, const float* log_sum,
                             Output dq, Output dk, Output dv) {
    const long first = p.first_skipped, end = first + p.skipped, c = p.channels;
    Problem skipped = p;
    skipped.keys = p.skipped;
    backward(skipped, Dropout(), q, k.from(first), v.from(first), o, grad, log_sum, dq, dk.from(first), dv.from(first));
    #pragma omp parallel for collapse(2) schedule(static)
    for (long b = 0; b < p.batch; b++)
        for (long token = 0; token < p.rows; token++)
            for (Output rows : {dq, dk, dv}) {
                if (rows.data != dq.data && token >= first && token < end) continue;
                float* row = rows.head(b, 0, c)[token];
                std::fill(row, row + p.heads * c, 0.f);
            }
}

inline void region_backward(const Problem& p, const Regions& regions, Input q, Input k, Input v, Input o, Input grad,
                            const float* log_sum, Output dq, Output dk, Output dv) {
    backward(p, Dropout(), q, k, v, o, grad, log_sum, dq, dk, dv);
    clear_skipped(p, dq);
    if (!regions.count()) return;
    const long c = p.channels;
    #pragma omp parallel for schedule(static)
    for (long pair = 0; pair < p.pairs(); pair++) {
        long b = pair / p.heads, h = pair % p.heads;
        PairGradient add{p, q.head(b, h, c), k.head(b, h, c), v.head(b, h, c), grad.head(b, h, c), dq.head(b, h, c),
                         dk.head(b, h, c), dv.head(b, h, c), log_sum + pair * p.rows};
        Input out = o.head(b, h, c);
        auto delta = [&](long token) { return dot(add.grad[token], out[token], c); };
        for (long token = regions.base(); token < p.rows; token++) {
            for (Output rows : {add.dq, add.dk, add.dv}) std::fill(rows[token], rows[token] + c, 0.f);
            add(token, token, delta(token));
        }
        for (long token = regions.prefix; token < regions.base(); token++) {
            add(token, regions(token), delta(token));
            add(regions(token), token, delta(regions(token)));
        }
    }
}

}  // namespace jseg_attention
