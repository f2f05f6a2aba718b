// The CPU kernels as a program, so that a test can build them for an instruction set other than the machine's own:
//   kernels OP NUMBER ... <inputs >outputs
// All arrays are float32, one after the other.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "simd.h"
#include "dropout/dropout_cpu.h"
#include "attention/attention_cpu.h"
#include "region_attention/region_attention_cpu.h"
#include "layer_norm/layer_norm_cpu.h"
#include "bias_activation/bias_activation_cpu.h"

using namespace jseg_attention;
typedef std::vector<float> Array;

// Memory for a result, full of NaN, which shows every value that a kernel does not write.
Array unwritten(long count) {
    const uint32_t nan = 0x7fc00000;  // as bits: -Ofast promises the compiler that there is no NaN
    Array x(count);
    for (float& number : x) std::memcpy(&number, &nan, sizeof number);
    return x;
}

Array read(long count) {
    Array x(count);
    if (std::fread(x.data(), sizeof(float), count, stdin) != (size_t)count) std::abort();
    return x;
}

void write(const Array& x) {
    if (std::fwrite(x.data(), sizeof(float), x.size(), stdout) != x.size()) std::abort();
}

// q, k, v, gradient of the output -> output, dq, dk, dv.
void attention(long batch, long heads, long channels, long queries, long keys, bool causal, double rate, long seed) {
    const Problem p{batch, (int)heads, channels, queries, keys, causal, queries, 0, queries};
    const long width = heads * channels, a = queries * width, b = keys * width;
    const Array q = read(batch * a), k = read(batch * b), v = read(batch * b), grad = read(batch * a);
    Array o = unwritten(q.size()), dq = o, dk = unwritten(k.size()), dv = dk,
          log_sum = unwritten(batch * heads * queries);
    const Dropout dropout(rate, (uint32_t)seed, 0);
    const Input qs{q.data(), width, a}, ks{k.data(), width, b}, vs{v.data(), width, b};
    forward(p, dropout, qs, ks, vs, Output{o.data(), width, a}, log_sum.data());
    backward(p, dropout, qs, ks, vs, {o.data(), width, a}, {grad.data(), width, a}, log_sum.data(),
             {dq.data(), width, a}, {dk.data(), width, b}, {dv.data(), width, b});
    for (const Array& x : {o, dq, dk, dv}) write(x);
}

// qkv, gradient of the output -> output, dqkv.
void region_attention(long batch, long heads, long channels, const Regions& regions) {
    const Problem p = regions.problem(batch, (int)heads, channels);
    const long width = heads * channels, size = p.rows * width;
    const Array qkv = read(batch * 3 * size), grad = read(batch * size);
    Array o = unwritten(grad.size()), d = unwritten(qkv.size()), log_sum = unwritten(batch * heads * p.rows);
    const Input q{qkv.data(), 3 * width, 3 * size}, k = q.shifted(width), v = q.shifted(2 * width);
    const Output dq{d.data(), 3 * width, 3 * size};
    const Output out{o.data(), width, size};
    region_forward(p, regions, q, k, v, out, log_sum.data());
    clear_skipped(p, out, log_sum.data());
    region_backward(p, regions, q, k, v, {o.data(), width, size}, {grad.data(), width, size}, log_sum.data(), dq,
                    dq.shifted(width), dq.shifted(2 * width));
    write(o);
    write(d);
}

// x, weight, bias, gradient of the output -> output, dx, dweight, dbias.
void layer_norm(long rows, long width, float eps) {
    const Array x = read(rows * width), weight = read(width), bias = read(width), grad = read(rows * width);
    Array y = unwritten(x.size()), dx = y, dweight = unwritten(width), dbias = dweight,
          statistics = unwritten(2 * rows);
    jseg_layer_norm::forward(rows, width, x.data(), weight.data(), bias.data(), eps, y.data(), statistics.data());
    jseg_layer_norm::backward_input(rows, width, x.data(), weight.data(), statistics.data(), grad.data(), dx.data());
    jseg_layer_norm::backward_weight(rows, width, x.data(), statistics.data(), grad.data(), dweight.data(),
                                     dbias.data());
    for (const Array& a : {y, dx, dweight, dbias}) write(a);
}

// x, bias, gradient of the output -> output, dx.
template <class Activation>
void bias_activation(long rows, long width) {
    const Array x = read(rows * width), bias = read(width), grad = read(rows * width);
    Array y = unwritten(x.size()), dx = y;
    jseg_bias_activation::forward<Activation>(rows, width, x.data(), bias.data(), y.data());
    jseg_bias_activation::backward<Activation>(rows, width, x.data(), bias.data(), grad.data(), dx.data());
    write(y);
    write(dx);
}

// x, bias, gradient -> output, dx.
void bias_relu(long rows, long width) {
    const Array x = read(rows * width), bias = read(width), grad = read(rows * width);
    Array y = unwritten(x.size()), dx = y;
    jseg_bias_activation::forward<jseg_bias_activation::Relu>(rows, width, x.data(), bias.data(), y.data());
    jseg_bias_activation::relu_backward(rows, width, y.data(), 1.f, grad.data(), dx.data());
    write(y);
    write(dx);
}

// x -> output.
void dropout(long rows, long width, double rate, long seed) {
    const Array x = read(rows * width);
    Array y = unwritten(x.size());
    jseg_dropout::apply(Dropout(rate, (uint32_t)seed, 0), rows, width, x.data(), y.data());
    write(y);
}

int main(int count, char** words) {
    const std::string op = words[1];
    std::vector<double> n;
    for (int i = 2; i < count; i++) n.push_back(std::atof(words[i]));
    auto whole = [&](int i) { return (long)n[i]; };
    if (op == "lanes") std::printf("%d\n", kLanes);
    else if (op == "attention")
        attention(whole(0), whole(1), whole(2), whole(3), whole(4), n[5] > 0, n[6], whole(7));
    else if (op == "region_attention")
        region_attention(whole(0), whole(1), whole(2), {whole(3), whole(4), whole(5), whole(6), whole(7), whole(8)});
    else if (op == "layer_norm") layer_norm(whole(0), whole(1), (float)n[2]);
    else if (op == "dropout") dropout(whole(0), whole(1), n[2], whole(3));
    else if (op == "bias_quick_gelu") bias_activation<jseg_bias_activation::QuickGelu>(whole(0), whole(1));
    else if (op == "bias_relu") bias_relu(whole(0), whole(1));
    else return 2;
    return 0;
}
