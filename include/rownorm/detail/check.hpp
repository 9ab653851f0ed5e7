// SPDX-License-Identifier: MIT
// What every public call asks of its arguments, in constant time, and the errors; never a number of
// a matrix is read here.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <limits>
#include <stdexcept>

#include "../types.hpp"
#include "config.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// The product, or the most that there can be: it must not wrap around.
ROWNORM_INLINE std::size_t product(std::size_t a, std::size_t b) {
  constexpr auto most = static_cast<std::size_t>(PTRDIFF_MAX);
  return b == 0 ? 0 : a > most / b ? most : a * b;
}

/// An argument as the checks see it: `count` rows of `length` numbers, in memory `blocks` blocks of
/// `width` numbers that begin `stride` numbers apart.
struct argument {
  const char* name;
  const void* data;
  std::size_t count, length;
  std::size_t blocks, width, stride;
  std::size_t number;           // bytes of one number, 0 where the argument was left out
  std::size_t heads = 1;        // rows that gamma may tell apart
  std::size_t fixed = dynamic;  // the length that the type says

  ROWNORM_INLINE bool absent() const { return number == 0; }
  ROWNORM_INLINE bool as_its_type() const { return fixed == dynamic || length == fixed; }
  ROWNORM_INLINE bool empty() const { return blocks == 0 || width == 0; }
  std::size_t width_bytes() const { return product(width, number); }
  std::size_t stride_bytes() const { return product(stride, number); }
  ROWNORM_INLINE std::uintptr_t begin() const { return reinterpret_cast<std::uintptr_t>(data); }
  std::uintptr_t end() const { return begin() + (blocks - 1) * stride_bytes() + width_bytes(); }
};

template <class T, std::size_t Length>
ROWNORM_INLINE argument seen(const char* name, const rows<T, Length>& m) {
  return {name, m.data, m.count, m.length, m.count, m.length, m.stride, sizeof(T), 1, Length};
}
template <class T>
ROWNORM_INLINE argument seen(const char* name, const heads<T>& m) {
  return {name,           m.data,    m.count,
          m.length,       m.tokens,  product(m.length, m.heads_per_token),
          m.token_stride, sizeof(T), m.heads_per_token};
}
/// An argument that was left out (none): every check passes over it.
ROWNORM_INLINE argument seen(const char* name, none_t) {
  return {name, nullptr, 0, 0, 0, 0, 0, 0};
}

/// The checks of one call. Each names the function, the argument and both figures in its error.
class checks {
 public:
  explicit checks(const char* function) : function_(function) {}

  /// The argument by itself: its memory is there, its rows do not run into each other.
  void memory(const argument& a) const {
    if (!a.as_its_type())
      miss("the rows of %s have %zu number%s, those of its type have %zu", a.name, a.length,
           s(a.length), a.fixed);
    if (a.stride < a.width)
      miss("%s has a stride of %zu number%s, its rows take %zu", a.name, a.stride, s(a.stride),
           a.width);
    if (a.blocks != 0 && a.width_bytes() == static_cast<std::size_t>(PTRDIFF_MAX))
      miss("the rows of %s have %zu numbers, more than memory can hold", a.name, a.length);
    if (a.blocks > 1 && a.stride != 0 &&
        a.blocks > static_cast<std::size_t>(PTRDIFF_MAX - 1) / a.stride_bytes())
      miss("%s has %zu row%s and a stride of %zu bytes, more than memory can hold", a.name,
           a.blocks, s(a.blocks), a.stride_bytes());
    if (a.data == nullptr && !a.empty())
      miss("%s is null, it should hold %zu row%s of %zu number%s", a.name, a.count, s(a.count),
           a.length, s(a.length));
  }

  void same_count(const argument& a, const argument& b) const {
    if (a.count != b.count)
      miss("%s has %zu row%s, %s has %zu", a.name, a.count, s(a.count), b.name, b.count);
  }

  /// A matrix of x's shape, where it is.
  void matrix(const argument& a, const argument& x) const {
    if (a.absent()) return;
    memory(a);
    same_count(a, x);
    if (a.length != x.length)
      miss("the rows of %s have %zu number%s, the rows of %s have %zu", a.name, a.length,
           s(a.length), x.name, x.length);
  }

  /// gamma or beta: a number for each of a row's, once or for each of `heads`.
  void parameter(const argument& a, const argument& x) const {
    if (a.absent()) return;
    if (a.length != x.length)
      miss("%s has %zu number%s, the rows of %s have %zu", a.name, a.length, s(a.length), x.name,
           x.length);
    if (a.count != 1 && x.heads == 1)
      miss("%s has %zu row%s, it should have 1", a.name, a.count, s(a.count));
    if (a.count != 1 && a.count != x.heads)
      miss("%s has %zu row%s, it should have 1 or one for each of %zu head%s", a.name, a.count,
           s(a.count), x.heads, s(x.heads));
    memory(a);
  }

  /// mean, rstd or scales: a number for each row; a matrix of one column is such a column too.
  void column(const argument& a, const argument& x) const {
    if (a.absent()) return;
    const bool one_row = a.count == 1, one_column = a.length == 1 && a.stride == 1;
    if (!(one_row && a.length == x.count) && !(one_column && a.count == x.count))
      miss("%s has %zu number%s, %s has %zu row%s", a.name, a.count * a.length,
           s(a.count * a.length), x.name, x.count, s(x.count));
    memory(a);
  }

  void eps(epsilon e) const {
    if (!(e.value >= 0 && e.value <= std::numeric_limits<double>::max()))
      miss("eps is %g, it must be finite and at least 0", e.value);
  }

  /// The scale of all rows of quantized(q, scale).
  void scale(double one) const {
    if (!(one > 0 && one <= std::numeric_limits<double>::max()))
      miss("scale is %g, it must be finite and above 0", one);
  }

  void statistic_length(std::size_t k, const argument& x) const {
    if ((k < 1 || k > x.length) && x.length != 0)
      miss("k is %zu, it must be from 1 to %zu, the length of the rows of %s", k, x.length, x.name);
  }

  /// What is written lies apart from each of `others`.
  template <class... Others>
  ROWNORM_INLINE void apart(const argument& out, const Others&... others) const {
    if (!out.empty()) apart_from(out, {&others...});
  }
  void apart_from(const argument& out, std::initializer_list<const argument*> others) const {
    for (const argument* a : others)
      if (!spans_apart(out, *a) && blocks_meet(out, *a)) overlap(out, *a, "they must lie apart");
  }
  /// What is written is `a` itself (the same start, stride and size of numbers), or lies apart.
  void same_or_apart(const argument& out, const argument& a) const {
    if (!spans_apart(out, a) && !same(out, a) && blocks_meet(out, a))
      overlap(out, a, "it must be the same rows or lie apart");
  }

  static bool spans_apart(const argument& a, const argument& b) {
    return a.empty() || b.empty() || a.end() <= b.begin() || b.end() <= a.begin();
  }
  static bool same(const argument& a, const argument& b) {
    return a.data == b.data && a.number == b.number && a.width == b.width &&
           (a.stride == b.stride || a.blocks == 1);
  }

  [[noreturn]]
#if defined(__GNUC__) || defined(__clang__)
  __attribute__((format(printf, 2, 3)))
#endif
  ROWNORM_COLD void
  miss(const char* format, ...) const {
    char text[400];
    const int n = std::snprintf(text, sizeof text, "%s: ", function_);
    std::va_list figures;
    va_start(figures, format);
    std::vsnprintf(text + n, sizeof text - static_cast<std::size_t>(n), format, figures);
    va_end(figures);
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
    throw std::invalid_argument(text);
#else
    std::fprintf(stderr, "%s\n", text);
    std::abort();
#endif
  }

 private:
  const char* function_;

  static const char* s(std::size_t n) {
    return n == 1 ? "" : "s";
  }

  [[noreturn]] ROWNORM_COLD void overlap(const argument& out, const argument& a,
                                         const char* rule) const {
    const bool behind = out.begin() >= a.begin();
    const std::size_t bytes = behind ? out.begin() - a.begin() : a.begin() - out.begin();
    miss(
        "%s overlaps %s: it begins %zu byte%s %s %s with a stride of %zu bytes against %zu, and %s",
        out.name, a.name, bytes, s(bytes), behind ? "after" : "before", a.name, out.stride_bytes(),
        a.stride_bytes(), rule);
  }
  /// Whether a block of `a` shares a byte with a block of `b`, their spans being known to meet. Of
  /// blocks with one stride this is exact (two bands of columns of one matrix do not meet); of two
  /// strides the spans decide.
  static bool blocks_meet(const argument& a, const argument& b) {
    if (a.blocks > 1 && b.blocks > 1 && a.stride_bytes() != b.stride_bytes()) return true;
    const auto stride =
        static_cast<std::ptrdiff_t>(a.blocks > 1 ? a.stride_bytes() : b.stride_bytes());
    const auto most_a = static_cast<std::ptrdiff_t>(a.blocks - 1);
    const auto most_b = static_cast<std::ptrdiff_t>(b.blocks - 1);
    const auto wide_a = static_cast<std::ptrdiff_t>(a.width_bytes());
    const auto wide_b = static_cast<std::ptrdiff_t>(b.width_bytes());
    // Block i of a meets block j of b where -wide_a < d + (i - j) * stride < wide_b.
    const auto d = static_cast<std::ptrdiff_t>(a.begin() - b.begin());
    const auto floor_of = [](std::ptrdiff_t p, std::ptrdiff_t q) { return p / q - (p % q < 0); };
    const std::ptrdiff_t least = floor_of(-wide_a - d, stride) + 1;
    const std::ptrdiff_t most = floor_of(wide_b - d - 1, stride);
    return (least > -most_b ? least : -most_b) <= (most < most_a ? most : most_a);
  }
};

/// The arguments of a forward call; what a call does not have is left out.
struct forward_arguments {
  argument x, residual, gamma, beta, y, scales, mean, rstd;
};

inline void check_forward_fully(const char* function, const forward_arguments& a, epsilon eps,
                                double scale) {
  const checks check(function);
  check.memory(a.x);
  check.matrix(a.residual, a.x);
  check.parameter(a.gamma, a.x);
  check.parameter(a.beta, a.x);
  check.matrix(a.y, a.x);
  check.column(a.scales, a.x);
  check.scale(scale);
  check.eps(eps);
  check.column(a.mean, a.x);
  check.column(a.rstd, a.x);
  check.apart(a.residual, a.x, a.gamma, a.beta);
  check.same_or_apart(a.y, a.x);
  check.apart(a.y, a.residual, a.gamma, a.beta);
  check.apart(a.scales, a.x, a.residual, a.gamma, a.beta, a.y);
  check.apart(a.mean, a.x, a.residual, a.gamma, a.beta, a.y, a.scales);
  check.apart(a.rstd, a.x, a.residual, a.gamma, a.beta, a.y, a.scales, a.mean);
}

/// A look that costs less than the checks: what passes it passes them all, what does not may still.
/// It passes rows that hold something, and sizes so small that no product of them wraps around.
/// Inlined, so that nothing is asked of what is absent.
ROWNORM_INLINE bool plainly_right(const forward_arguments& a, epsilon eps, double scale) {
  const auto there = [](const argument& m) ROWNORM_LAMBDA {
    return m.as_its_type() && m.data != nullptr && m.stride >= m.width;
  };
  const auto matrix = [&](const argument& m) ROWNORM_LAMBDA {
    return m.absent() || (m.count == a.x.count && m.length == a.x.length && there(m));
  };
  const auto one_row = [&](const argument& m, std::size_t length) ROWNORM_LAMBDA {
    return m.absent() || (m.count == 1 && m.length == length && there(m));
  };
  constexpr int half_of_bits = std::numeric_limits<std::size_t>::digits / 2;
  const auto small = [](const auto&... m) ROWNORM_LAMBDA {
    return ((m.blocks | m.stride) | ...) >> (half_of_bits - 4) == 0;
  };
  const auto end = [](const argument& m) ROWNORM_LAMBDA {
    return m.begin() + ((m.blocks - 1) * m.stride + m.width) * m.number;
  };
  const auto apart = [&](const argument& out, const auto&... others) ROWNORM_LAMBDA {
    return out.absent() ||
           ((others.absent() || end(out) <= others.begin() || end(others) <= out.begin()) && ...);
  };
  return there(a.x) && !a.x.empty() && matrix(a.residual) && matrix(a.y) &&
         one_row(a.gamma, a.x.length) && one_row(a.beta, a.x.length) &&
         one_row(a.scales, a.x.count) && one_row(a.mean, a.x.count) && one_row(a.rstd, a.x.count) &&
         small(a.x, a.residual, a.gamma, a.beta, a.y, a.scales, a.mean, a.rstd) && scale > 0 &&
         scale <= std::numeric_limits<double>::max() && eps.value >= 0 &&
         eps.value <= std::numeric_limits<double>::max() &&
         apart(a.residual, a.x, a.gamma, a.beta) &&
         ((a.y.data == a.x.data && a.y.stride == a.x.stride && a.y.width == a.x.width &&
           a.y.number == a.x.number) ||
          apart(a.y, a.x)) &&
         apart(a.y, a.residual, a.gamma, a.beta) &&
         apart(a.scales, a.x, a.residual, a.gamma, a.beta, a.y) &&
         apart(a.mean, a.x, a.residual, a.gamma, a.beta, a.y, a.scales) &&
         apart(a.rstd, a.x, a.residual, a.gamma, a.beta, a.y, a.scales, a.mean);
}

/// Every argument of a forward call as rows, or none where a call has no such argument. Values,
/// here and below: what a cold function has a reference to, the compiler keeps in memory for the
/// rows that follow too.
template <class X, class Residual, class Gamma, class Beta, class Y, class Scales, class Mean,
          class Rstd>
struct forward_rows {
  X x;
  Residual residual;
  Gamma gamma;
  Beta beta;
  Y y;
  Scales scales;
  Mean mean;
  Rstd rstd;

  ROWNORM_INLINE forward_arguments arguments() const {
    return {seen("x", x), seen("residual", residual), seen("gamma", gamma), seen("beta", beta),
            seen("y", y), seen("scales", scales),     seen("mean", mean),   seen("rstd", rstd)};
  }
};
template <class... A>
forward_rows(A...) -> forward_rows<A...>;

template <class Rows>
ROWNORM_COLD void check_forward_rows(const char* function, Rows rows, epsilon eps, double scale) {
  check_forward_fully(function, rows.arguments(), eps, scale);
}
template <class Rows>
ROWNORM_INLINE void check_forward(const char* function, const Rows& rows, epsilon eps,
                                  double scale) {
  if (!ROWNORM_LIKELY(plainly_right(rows.arguments(), eps, scale)))
    check_forward_rows(function, rows, eps, scale);
}

/// The arguments of a backward call; mean and rstd are saved ones, which are read.
struct backward_arguments {
  argument dy, x, gamma, dx, dgamma, dbeta, mean, rstd;
};

ROWNORM_APART inline void check_backward(const char* function, const backward_arguments& a,
                                         epsilon eps) {
  const checks check(function);
  check.memory(a.x);
  check.matrix(a.dy, a.x);
  check.parameter(a.gamma, a.x);
  check.matrix(a.dx, a.x);
  check.parameter(a.dgamma, a.x);
  check.parameter(a.dbeta, a.x);
  if (!a.gamma.absent() && !a.dgamma.absent()) check.same_count(a.dgamma, a.gamma);
  check.eps(eps);
  check.column(a.mean, a.x);
  check.column(a.rstd, a.x);
  check.same_or_apart(a.dx, a.dy);
  check.same_or_apart(a.dx, a.x);
  check.apart(a.dx, a.gamma, a.mean, a.rstd);
  check.apart(a.dgamma, a.dy, a.x, a.gamma, a.dx, a.mean, a.rstd);
  check.apart(a.dbeta, a.dy, a.x, a.gamma, a.dx, a.mean, a.rstd, a.dgamma);
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
