// SPDX-License-Identifier: MIT
// The plain loop that a textbook has. Compiled twice: at -O3, and at -O3 -ffast-math with
// BENCH_FAST_MATH; what it needs of others' headers is kept out of the loops, so that no inline
// function is shared between the two.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "contender.hpp"

#if defined(BENCH_FAST_MATH)
#define BENCH_PLAIN plain_fast_math_peers
#else
#define BENCH_PLAIN plain_peers
#endif

namespace bench {

namespace {

/// bfloat16 by its bits.
struct bf16 {
  std::uint16_t bits;

  operator float() const {
    const std::uint32_t wide = std::uint32_t{bits} << 16;
    float v;
    std::memcpy(&v, &wide, sizeof v);
    return v;
  }
  bf16& operator=(float v) {
    std::uint32_t wide;
    std::memcpy(&wide, &v, sizeof wide);
    bits = static_cast<std::uint16_t>((wide + 0x7fff + ((wide >> 16) & 1)) >> 16);
    return *this;
  }
};

template <class A, class S>
void rms_norm(std::size_t rows, std::size_t n, const S* x, const S* gamma, S* y, A eps) {
  for (std::size_t i = 0; i < rows; ++i, x += n, y += n) {
    A squares = 0;
    for (std::size_t j = 0; j < n; ++j) squares += A(x[j]) * A(x[j]);
    const A r = 1 / std::sqrt(squares / static_cast<A>(n) + eps);
    for (std::size_t j = 0; j < n; ++j) y[j] = A(x[j]) * r * A(gamma[j]);
  }
}

template <class A, class S>
void layer_norm(std::size_t rows, std::size_t n, const S* x, const S* gamma, const S* beta, S* y,
                A eps) {
  for (std::size_t i = 0; i < rows; ++i, x += n, y += n) {
    A mean = 0, squares = 0;
    for (std::size_t j = 0; j < n; ++j) mean += A(x[j]);
    mean /= static_cast<A>(n);
    for (std::size_t j = 0; j < n; ++j) squares += (A(x[j]) - mean) * (A(x[j]) - mean);
    const A r = 1 / std::sqrt(squares / static_cast<A>(n) + eps);
    for (std::size_t j = 0; j < n; ++j) y[j] = (A(x[j]) - mean) * r * A(gamma[j]) + A(beta[j]);
  }
}

template <class A, class S>
std::vector<contender> plain_of(const problem& p, op what) {
#if defined(BENCH_FAST_MATH)
  const char* called = "plain -ffast-math";
#else
  const char* called = "plain -O3";
#endif
  const A eps = static_cast<A>(epsilon(what));
  const std::size_t rows = p.rows, n = p.length;
  const S *x = p.x<S>(), *gamma = p.gamma<S>(), *beta = p.beta<S>();
  S* y = p.y<S>();
  if (what == op::rms_norm)
    return {peer(called, p, what, [=] { rms_norm<A>(rows, n, x, gamma, y, eps); })};
  return {peer(called, p, what, [=] { layer_norm<A>(rows, n, x, gamma, beta, y, eps); })};
}

}  // namespace

std::vector<contender> BENCH_PLAIN(const problem& p, op what) {
  switch (p.numbers) {
    case type::f32:
      return plain_of<float, float>(p, what);
    case type::f64:
      return plain_of<double, double>(p, what);
    case type::bf16:
      return plain_of<float, bf16>(p, what);
    default:
      return {};  // the compilers have no plain type for it
  }
}

}  // namespace bench
