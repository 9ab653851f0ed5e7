// SPDX-License-Identifier: MIT
// One LLaMA-shaped transformer block with random weights, as an engine calls it: pre-norm in float
// and in int8, post-norm, and a call each in the shape of Gemma, T5 and Mamba-2. It checks itself.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <random>
#include <rownorm/rownorm.hpp>
#include <vector>

namespace rn = rownorm;
using Eigen::Index;
template <class T>
using matrix_of = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using matrix = matrix_of<float>;
using row_vector = Eigen::RowVectorXf;

constexpr Index tokens = 64, width = 512, head_count = 8, head_width = width / head_count,
                hidden = 1408;
constexpr double eps = 1e-5;         // LLaMA 2 and 3
constexpr double int8_bound = 0.02;  // of the relative error of what the block adds

std::mt19937 generator(1);

matrix random(Index rows, Index cols, float mean = 0, float deviation = 1) {
  std::normal_distribution<float> normal(mean, deviation);
  return matrix::NullaryExpr(rows, cols, [&] { return normal(generator); });
}
row_vector random_gain(Index size, float mean = 1) {
  return random(1, size, mean, 0.2f);
}

/// Rows of int8, each with its scale: what a norm writes through quantized(q, scales).
struct int8_rows {
  matrix_of<std::int8_t> q;
  row_vector scales;
};

/// Where a norm writes what the next product reads: float rows, or int8 rows.
matrix& output_of(matrix& y) {
  return y;
}
auto output_of(int8_rows& y) {
  return rn::quantized(y.q, y.scales);
}

/// y = x W^T, one row of weights per output, in float and as int8 with one scale per row.
struct linear {
  matrix weights;
  int8_rows weights8;

  linear(Index inputs, Index outputs)
      : weights(random(outputs, inputs, 0, 1 / std::sqrt(static_cast<float>(inputs)))) {
    weights8.scales = weights.cwiseAbs().rowwise().maxCoeff().transpose() / 127;
    weights8.q =
        (weights8.scales.cwiseInverse().asDiagonal() * weights).array().rint().cast<std::int8_t>();
  }
  matrix operator()(const matrix& x) const { return x * weights.transpose(); }
  matrix operator()(const int8_rows& x) const {
    matrix_of<std::int32_t> sums(x.q.rows(), weights.rows());
    for (Index i = 0; i < sums.rows(); ++i)
      for (Index j = 0; j < sums.cols(); ++j) {
        const std::int8_t *row = &x.q(i, 0), *column = &weights8.q(j, 0);
        sums(i, j) = std::inner_product(row, row + weights.cols(), column, 0);
      }
    return x.scales.asDiagonal() * sums.cast<float>() * weights8.scales.asDiagonal();
  }
};

using seconds = std::chrono::duration<double>;

/// Adds up the time of what it is given to run.
struct stopwatch {
  seconds total{};
  template <class F>
  void operator()(F run) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    total += std::chrono::steady_clock::now() - begin;
  }
};

/// Causal attention over packed rows [Q K V]. Positions (RoPE) are left out: no norm depends on
/// them.
matrix attention(const matrix& qkv) {
  matrix y(tokens, width);
  for (Index h = 0; h < width; h += head_width) {
    const auto q = qkv.middleCols(h, head_width), k = qkv.middleCols(width + h, head_width),
               v = qkv.middleCols(2 * width + h, head_width);
    matrix weights = q * k.transpose() / std::sqrt(static_cast<float>(head_width));
    for (Index t = 0; t < tokens; ++t) {
      auto past = weights.row(t).head(t + 1);
      past = (past.array() - past.maxCoeff()).exp();
      past /= past.sum();
      weights.row(t).tail(tokens - t - 1).setZero();
    }
    y.middleCols(h, head_width) = weights * v;
  }
  return y;
}

struct block {
  linear to_qkv{width, 3 * width}, from_heads{width, width};
  linear to_hidden{width, 2 * hidden}, from_hidden{hidden, width};
  row_vector attention_gain = random_gain(width), mlp_gain = random_gain(width);
  row_vector q_gain = random_gain(head_width), k_gain = random_gain(head_width);

  /// Each head of Q and of K is a row, normalized where it lies: no copy, V is not touched.
  void qk_norm(matrix& qkv) const {
    const rn::heads q(qkv.data(), tokens, head_count, head_width, 3 * width);
    const rn::heads k(qkv.data() + width, tokens, head_count, head_width, 3 * width);
    rn::rms_norm(q, q_gain, q, eps);
    rn::rms_norm(k, k_gain, k, eps);
  }

  template <class X>
  matrix mlp(const X& x) const {
    const matrix y = to_hidden(x);
    const auto gate = y.leftCols(hidden).array(), up = y.rightCols(hidden).array();
    return from_hidden(matrix(gate / (1 + (-gate).exp()) * up));
  }

  /// h is the residual stream, delta what is still to be added to it: first from the block before,
  /// at the end from this one. Where `normed` is int8, the products after the norms are int8.
  template <class Normed>
  void pre_norm(matrix& h, matrix& delta, Normed& normed, stopwatch& norms) const {
    norms([&] { rn::add_rms_norm(delta, h, attention_gain, output_of(normed), eps); });
    matrix qkv = to_qkv(normed);
    norms([&] { qk_norm(qkv); });
    delta = from_heads(attention(qkv));
    norms([&] { rn::add_rms_norm(delta, h, mlp_gain, output_of(normed), eps); });
    delta = mlp(normed);
  }

  /// The norm of the sum is the next input and the next residual, so it stays in float. It is
  /// written over delta, and the two change places.
  void post_norm(matrix& h, matrix& delta, stopwatch& norms) const {
    matrix qkv = to_qkv(h);
    norms([&] { qk_norm(qkv); });
    delta = from_heads(attention(qkv));
    norms([&] { rn::add_rms_norm(delta, h, attention_gain, delta, eps); });
    h.swap(delta);
    delta = mlp(h);
    norms([&] { rn::add_rms_norm(delta, h, mlp_gain, delta, eps); });
    h.swap(delta);
  }
};

/// The block's times over the repeats, and their medians in a line.
struct times {
  std::vector<double> block, norms, share;

  template <class Block>
  void add(Block run) {
    stopwatch all, in_norms;
    all([&] { run(in_norms); });
    block.push_back(all.total.count());
    norms.push_back(in_norms.total.count());
    share.push_back(in_norms.total / all.total);
  }
  static double median(std::vector<double> v) {
    const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
    std::nth_element(v.begin(), middle, v.end());
    return *middle;
  }
  void print(const char* name) const {
    std::printf("%-18s %8.2f ms %8.1f us %7.2f %%\n", name, 1e3 * median(block),
                1e6 * median(norms), 100 * median(share));
  }
};

double relative_error(const matrix& a, const matrix& exact) {
  return static_cast<double>((a - exact).norm() / exact.norm());
}

bool check(const char* what, double figure, double bound) {
  const bool holds = figure <= bound;
  std::printf("%-60s %.2g (at most %.2g)%s\n", what, figure, bound, holds ? "" : "  FAILED");
  return holds;
}

/// The three blocks in turn; then how far int8 is from float in what the block adds to the
/// residual.
bool run_blocks(const block& b, const matrix& h0, const matrix& delta0) {
  matrix h, delta, normed(tokens, width), h8, delta8, h_post = h0, delta_post(tokens, width);
  int8_rows normed8{matrix_of<std::int8_t>(tokens, width), row_vector(tokens)};
  times pre, pre8, post;
  for (int repeat = 0; repeat < 11; ++repeat) {
    h = h8 = h0, delta = delta8 = delta0;
    pre.add([&](stopwatch& norms) { b.pre_norm(h, delta, normed, norms); });
    pre8.add([&](stopwatch& norms) { b.pre_norm(h8, delta8, normed8, norms); });
    post.add([&](stopwatch& norms) { b.post_norm(h_post, delta_post, norms); });
  }
  std::printf("%-18s %11s %11s %9s\n", "", "block", "norms", "share");
  pre.print("pre-norm, float");
  pre8.print("pre-norm, int8");
  post.print("post-norm, float");

  const matrix before = h0 + delta0;
  return check("int8 block against the float one, relative error",
               relative_error(h8 + delta8 - before, h + delta - before), int8_bound);
}

/// QK-norm inside the packed rows gives the bits of the norm of dense copies, and leaves V alone.
bool run_qk_norm(const block& b, const matrix& x) {
  const matrix qkv = b.to_qkv(x);
  matrix in_place = qkv, dense = qkv;
  b.qk_norm(in_place);
  for (Index part = 0; part < 2; ++part) {
    matrix copy = qkv.middleCols(part * width, width);
    Eigen::Map<matrix> rows(copy.data(), tokens * head_count, head_width);
    rn::rms_norm(rows, part == 0 ? b.q_gain : b.k_gain, rows, eps);
    dense.middleCols(part * width, width) = copy;
  }
  return check("QK-norm in place against dense, numbers that differ",
               static_cast<double>((in_place.array() != dense.array()).count()), 0);
}

/// Gemma keeps gamma - 1; T5 rounds to the weights' type before the gain; Mamba-2 has a gate.
bool run_other_models(const matrix& x, const matrix& z) {
  matrix y(tokens, width), expected(tokens, width);

  const row_vector gamma = random_gain(width, 0);
  rn::rms_norm(x, rn::one_plus(gamma), y, 1e-6);
  rn::rms_norm(x, (1 + gamma.array()).matrix().eval(), expected, 1e-6);
  bool holds = check("Gemma: one_plus(gamma), numbers unlike those of 1 + gamma",
                     static_cast<double>((y.array() != expected.array()).count()), 0);

  using Eigen::bfloat16;
  const matrix_of<bfloat16> x16 = x.cast<bfloat16>();
  const Eigen::Matrix<bfloat16, 1, Eigen::Dynamic> gamma16 = random_gain(width).cast<bfloat16>();
  matrix_of<bfloat16> once(tokens, width), twice(tokens, width), steps(tokens, width);
  rn::rms_norm(x16, gamma16, once, 1e-6);
  rn::rms_norm(x16, rn::after_rounding(gamma16), twice, 1e-6);
  rn::rms_norm(x16, rn::none, steps, 1e-6);
  steps.array().rowwise() *= gamma16.array();  // rounds each product to bf16
  holds &= check("T5: after_rounding(gamma) in bf16, numbers unlike two steps",
                 static_cast<double>((twice.array() != steps.array()).count()), 0);
  std::printf("    one rounding instead changes %.1f %% of the numbers\n",
              100. * static_cast<double>((once.array() != twice.array()).count()) /
                  static_cast<double>(x.size()));

  const row_vector gain = random_gain(width);
  rn::gated_rms_norm(x, z, gain, y, eps, rn::gate_first);
  const matrix gated = x.array() * z.array() / (1 + (-z.array()).exp());
  rn::rms_norm(gated, gain, expected, eps);
  return check("Mamba-2: gated_rms_norm against two steps, relative error",
               relative_error(y, expected), 1e-6) &&
         holds;
}

int main() {
  std::printf("%d tokens, width %d, %d heads of %d, hidden %d, one thread\n\n",
              static_cast<int>(tokens), static_cast<int>(width), static_cast<int>(head_count),
              static_cast<int>(head_width), static_cast<int>(hidden));
  const block b;
  const matrix h = random(tokens, width), delta = random(tokens, width);
  const bool blocks = run_blocks(b, h, delta), qk_norm = run_qk_norm(b, h),
             others = run_other_models(h, delta);
  const bool printed = std::fflush(stdout) == 0 && !std::ferror(stdout);
  return blocks && qk_norm && others && printed ? 0 : 1;
}
