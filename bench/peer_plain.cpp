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

// S: the type of the rows; A: of the arithmetic, and of the sums over rows.

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
void rms_norm_backward(std::size_t rows, std::size_t n, const S* dy, const S* x, const S* gamma,
                       S* dx, A* dgamma, A eps) {
  for (std::size_t i = 0; i < rows; ++i, dy += n, x += n, dx += n) {
    A squares = 0, products = 0;
    for (std::size_t j = 0; j < n; ++j) {
      squares += A(x[j]) * A(x[j]);
      products += A(dy[j]) * A(gamma[j]) * A(x[j]);
    }
    const A r = 1 / std::sqrt(squares / static_cast<A>(n) + eps);
    const A k = r * r * r * products / static_cast<A>(n);
    for (std::size_t j = 0; j < n; ++j) {
      const A d = A(dy[j]), v = A(x[j]);
      dx[j] = r * A(gamma[j]) * d - k * v;
      dgamma[j] += d * v * r;
    }
  }
}

template <class A, class S>
void layer_norm_backward(std::size_t rows, std::size_t n, const S* dy, const S* x, const S* gamma,
                         S* dx, A* dgamma, A* dbeta, A eps) {
  for (std::size_t i = 0; i < rows; ++i, dy += n, x += n, dx += n) {
    const A length = static_cast<A>(n);
    A mean = 0, squares = 0, level = 0, products = 0;
    for (std::size_t j = 0; j < n; ++j) mean += A(x[j]);
    mean /= length;
    for (std::size_t j = 0; j < n; ++j) {
      const A v = A(x[j]) - mean, g = A(dy[j]) * A(gamma[j]);
      squares += v * v;
      level += g;
      products += g * v;
    }
    const A r = 1 / std::sqrt(squares / length + eps);
    const A m = level / length, k = r * r * products / length;
    for (std::size_t j = 0; j < n; ++j) {
      const A d = A(dy[j]), v = A(x[j]) - mean;
      dx[j] = r * (A(gamma[j]) * d - m - v * k);
      dgamma[j] += d * v * r;
      dbeta[j] += d;
    }
  }
}

/// Row by row, so that the norm finds the sum in the caches.
template <class A, class S>
void add_rms_norm(std::size_t rows, std::size_t n, const S* x, S* residual, const S* gamma, S* y,
                  A eps) {
  for (std::size_t i = 0; i < rows; ++i, x += n, residual += n, y += n) {
    for (std::size_t j = 0; j < n; ++j) residual[j] = A(residual[j]) + A(x[j]);
    rms_norm<A>(1, n, residual, gamma, y, eps);
  }
}

template <class A, class S>
void add_layer_norm(std::size_t rows, std::size_t n, const S* x, S* residual, const S* gamma,
                    const S* beta, S* y, A eps) {
  for (std::size_t i = 0; i < rows; ++i, x += n, residual += n, y += n) {
    for (std::size_t j = 0; j < n; ++j) residual[j] = A(residual[j]) + A(x[j]);
    layer_norm<A>(1, n, residual, gamma, beta, y, eps);
  }
}

template <class A, class S>
void rms_norm_int8(std::size_t rows, std::size_t n, const S* x, const S* gamma, std::int8_t* q,
                   A* scales, A eps) {
  for (std::size_t i = 0; i < rows; ++i, x += n, q += n) {
    A squares = 0, peak = 0;
    for (std::size_t j = 0; j < n; ++j) {
      const A v = A(x[j]) * A(gamma[j]), size = v < 0 ? -v : v;
      squares += A(x[j]) * A(x[j]);
      peak = peak < size ? size : peak;
    }
    scales[i] = peak / (127 * std::sqrt(squares / static_cast<A>(n) + eps));
    const A factor = peak > 0 ? 127 / peak : 0;
    for (std::size_t j = 0; j < n; ++j)
      q[j] = static_cast<std::int8_t>(std::nearbyint(A(x[j]) * A(gamma[j]) * factor));
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
  const S *x = p.x<S>(), *dy = p.dy<S>(), *gamma = p.gamma<S>(), *beta = p.beta<S>();
  S *y = p.y<S>(), *residual = p.residual<S>();
  A *dgamma = p.dgamma<A>(), *dbeta = p.dbeta<A>(), *scales = p.scales<A>();
  std::int8_t* q = p.int8();
  switch (what) {
    case op::rms_norm:
      return {peer(called, p, what, [=] { rms_norm<A>(rows, n, x, gamma, y, eps); })};
    case op::layer_norm:
      return {peer(called, p, what, [=] { layer_norm<A>(rows, n, x, gamma, beta, y, eps); })};
    case op::rms_backward:
      return {peer(called, p, what,
                   [=] { rms_norm_backward<A>(rows, n, dy, x, gamma, y, dgamma, eps); })};
    case op::layer_backward:
      return {peer(called, p, what,
                   [=] { layer_norm_backward<A>(rows, n, dy, x, gamma, y, dgamma, dbeta, eps); })};
    case op::add_rms:
      return {peer(called, p, what, [=] { add_rms_norm<A>(rows, n, x, residual, gamma, y, eps); })};
    case op::add_layer:
      return {peer(called, p, what,
                   [=] { add_layer_norm<A>(rows, n, x, residual, gamma, beta, y, eps); })};
    case op::rms_int8:
      return {peer(called, p, what, [=] { rms_norm_int8<A>(rows, n, x, gamma, q, scales, eps); })};
    default:
      return {};
  }
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
