// SPDX-License-Identifier: MIT
// What every public call asks of its arguments, one list of rules for each direction, and the
// errors; never a number of a matrix is read here.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <stdexcept>

#include "../types.hpp"
#include "config.hpp"
#include "overlap.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// What is asked of eps, and of the one scale of quantized(q, scale).
ROWNORM_INLINE bool is_eps(epsilon e) {
  return e.value >= 0 && e.value <= (std::numeric_limits<double>::max)();
}
ROWNORM_INLINE bool is_scale(double one) {
  return one > 0 && one <= (std::numeric_limits<double>::max)();
}

/// The rules of one argument and of two, walked with care: each names the function, the argument
/// and both figures in its error, and none returns false.
class checks {
 public:
  explicit checks(const char* function) : function_(function) {}

  /// The argument by itself: its memory is there, its rows do not run into each other.
  bool memory(const argument& a) const {
    if (!a.as_its_type())
      miss("the rows of %s have %zu number%s, those of its type have %zu", a.name, a.length,
           s(a.length), a.fixed);
    if (a.stride == scattered)
      miss("the numbers of a row of %s do not lie side by side: its inner stride must be 1",
           a.name);
    if (a.stride > most_bytes && a.blocks > 1)
      miss("%s has a negative stride, %td numbers: its rows must follow each other in memory",
           a.name, static_cast<std::ptrdiff_t>(a.stride));
    if (a.stride < a.width)
      miss("%s has a stride of %zu number%s, its rows take %zu", a.name, a.stride, s(a.stride),
           a.width);
    if (a.blocks != 0 && a.width_bytes() == most_bytes)
      miss("the rows of %s have %zu numbers, more than memory can hold", a.name, a.length);
    if (a.blocks > 1 && a.stride != 0 && a.blocks > (most_bytes - 1) / a.stride_bytes())
      miss("%s has %zu row%s and a stride of %zu bytes, more than memory can hold", a.name,
           a.blocks, s(a.blocks), a.stride_bytes());
    if (a.data == nullptr && !a.empty())
      miss("%s is null, it should hold %zu row%s of %zu number%s", a.name, a.count, s(a.count),
           a.length, s(a.length));
    return true;
  }

  bool same_count(const argument& a, const argument& b) const {
    if (a.count != b.count && !a.absent() && !b.absent())
      miss("%s has %zu row%s, %s has %zu", a.name, a.count, s(a.count), b.name, b.count);
    return true;
  }

  /// A matrix of x's shape, where it is.
  bool matrix(const argument& a, const argument& x) const {
    if (a.absent()) return true;
    memory(a);
    same_count(a, x);
    if (a.length != x.length)
      miss("the rows of %s have %zu number%s, the rows of %s have %zu", a.name, a.length,
           s(a.length), x.name, x.length);
    return true;
  }

  /// gamma or beta: a number for each of a row's, once or for each of `heads`.
  bool parameter(const argument& a, const argument& x) const {
    if (a.absent()) return true;
    if (a.length != x.length)
      miss("%s has %zu number%s, the rows of %s have %zu", a.name, a.length, s(a.length), x.name,
           x.length);
    if (a.count != 1 && x.heads == 1)
      miss("%s has %zu row%s, it should have 1", a.name, a.count, s(a.count));
    if (a.count != 1 && a.count != x.heads)
      miss("%s has %zu row%s, it should have 1 or one for each of %zu head%s", a.name, a.count,
           s(a.count), x.heads, s(x.heads));
    return memory(a);
  }

  /// mean, rstd or scales: a number for each row; a matrix of one column is such a column too.
  bool column(const argument& a, const argument& x) const {
    if (a.absent()) return true;
    const bool one_row = a.count == 1, one_column = a.length == 1 && a.stride == 1;
    if (!(one_row && a.length == x.count) && !(one_column && a.count == x.count))
      miss("%s has %zu number%s, %s has %zu row%s", a.name, a.count * a.length,
           s(a.count * a.length), x.name, x.count, s(x.count));
    return memory(a);
  }

  bool eps(epsilon e) const {
    if (!is_eps(e)) miss("eps is %g, it must be finite and at least 0", e.value);
    return true;
  }
  bool scale(double one) const {
    if (!is_scale(one)) miss("scale is %g, it must be finite and above 0", one);
    return true;
  }

  /// k, which may have been negative before it became a size.
  void statistic_length(std::size_t k, const argument& x) const {
    if ((k < 1 || k > x.length) && x.length != 0)
      miss("k is %td, it must be from 1 to %zu, the length of the rows of %s",
           static_cast<std::ptrdiff_t>(k), x.length, x.name);
  }

  /// What is written lies apart from each of `others`.
  template <class... Others>
  bool apart(const argument& out, const Others&... others) const {
    for (const argument* a : {&others...})
      if (meet(out, *a)) overlap(out, *a, "they must lie apart");
    return true;
  }
  /// What is written is `a` itself (the same start, stride and size of numbers), or lies apart.
  bool same_or_apart(const argument& out, const argument& a) const {
    if (meet(out, a) && !out.same(a)) overlap(out, a, "it must be the same rows or lie apart");
    return true;
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
};

/// The same rules, looked at: what passes passes the checks too, what does not may still. It passes
/// rows that hold something, and sizes so small that no product of them wraps around. Inlined, so
/// that nothing is asked of what is absent.
struct glance {
  ROWNORM_INLINE static bool memory(const argument& a) {
    return a.as_its_type() && a.data != nullptr && a.stride >= a.width && !a.empty() &&
           moderate(a.blocks, a.stride);
  }
  ROWNORM_INLINE static bool same_count(const argument& a, const argument& b) {
    return a.absent() || b.absent() || a.count == b.count;
  }
  ROWNORM_INLINE static bool matrix(const argument& a, const argument& x) {
    return a.absent() || (a.count == x.count && a.length == x.length && memory(a));
  }
  ROWNORM_INLINE static bool parameter(const argument& a, const argument& x) {
    return a.absent() ||
           ((a.count == 1 || a.count == x.heads) && a.length == x.length && memory(a));
  }
  ROWNORM_INLINE static bool column(const argument& a, const argument& x) {
    return a.absent() || (a.count == 1 && a.length == x.count && memory(a));
  }
  ROWNORM_INLINE static bool eps(epsilon e) { return is_eps(e); }
  ROWNORM_INLINE static bool scale(double one) { return is_scale(one); }
  template <class... Others>
  ROWNORM_INLINE static bool apart(const argument& out, const Others&... others) {
    return out.absent() ||
           ((others.absent() || end(out) <= others.begin() || end(others) <= out.begin()) && ...);
  }
  ROWNORM_INLINE static bool same_or_apart(const argument& out, const argument& a) {
    return out.absent() || out.same(a) || apart(out, a);
  }

 private:
  ROWNORM_INLINE static std::uintptr_t end(const argument& a) {
    return a.begin() + ((a.blocks - 1) * a.stride + a.width) * a.number;
  }
};

/// The arguments of a forward call; what a call does not have is left out.
struct forward_arguments {
  argument x, residual, z, gamma, beta, y, scales, mean, rstd;
};

/// What a forward call asks, in the order in which a miss is told. Rules is checks or glance.
template <class Rules>
ROWNORM_INLINE bool obeys(const Rules& rule, const forward_arguments& a, epsilon eps,
                          double scale) {
  return rule.memory(a.x) && rule.matrix(a.residual, a.x) && rule.matrix(a.z, a.x) &&
         rule.parameter(a.gamma, a.x) && rule.parameter(a.beta, a.x) && rule.matrix(a.y, a.x) &&
         rule.column(a.scales, a.x) && rule.scale(scale) && rule.eps(eps) &&
         rule.column(a.mean, a.x) && rule.column(a.rstd, a.x) &&
         rule.apart(a.residual, a.x, a.gamma, a.beta) && rule.same_or_apart(a.y, a.x) &&
         rule.same_or_apart(a.y, a.z) && rule.apart(a.y, a.residual, a.gamma, a.beta) &&
         rule.apart(a.scales, a.x, a.residual, a.gamma, a.beta, a.y) &&
         rule.apart(a.mean, a.x, a.residual, a.gamma, a.beta, a.y, a.scales) &&
         rule.apart(a.rstd, a.x, a.residual, a.gamma, a.beta, a.y, a.scales, a.mean);
}

/// Every argument of a forward call as rows, or none where a call has no such argument. Values,
/// here and below: what a cold function has a reference to, the compiler keeps in memory for the
/// rows that follow too.
template <class X, class Residual, class Z, class Gamma, class Beta, class Y, class Scales,
          class Mean, class Rstd>
struct forward_rows {
  X x;
  Residual residual;
  Z z;
  Gamma gamma;
  Beta beta;
  Y y;
  Scales scales;
  Mean mean;
  Rstd rstd;

  ROWNORM_INLINE forward_arguments arguments() const {
    return {seen("x", x),           seen("residual", residual), seen("z", z),
            seen("gamma", gamma),   seen("beta", beta),         seen("y", y),
            seen("scales", scales), seen("mean", mean),         seen("rstd", rstd)};
  }
};
template <class... A>
forward_rows(A...) -> forward_rows<A...>;

template <class Rows>
ROWNORM_COLD void check_forward_rows(const char* function, Rows rows, epsilon eps, double scale) {
  obeys(checks(function), rows.arguments(), eps, scale);
}
template <class Rows>
ROWNORM_INLINE void check_forward(const char* function, const Rows& rows, epsilon eps,
                                  double scale) {
  if (!ROWNORM_LIKELY(obeys(glance{}, rows.arguments(), eps, scale)))
    check_forward_rows(function, rows, eps, scale);
}

/// The arguments of a backward call; mean and rstd are saved ones, which are read.
struct backward_arguments {
  argument dy, x, gamma, dx, dgamma, dbeta, mean, rstd;
};

template <class Rules>
ROWNORM_INLINE bool obeys(const Rules& rule, const backward_arguments& a, epsilon eps) {
  return rule.memory(a.x) && rule.matrix(a.dy, a.x) && rule.parameter(a.gamma, a.x) &&
         rule.matrix(a.dx, a.x) && rule.parameter(a.dgamma, a.x) && rule.parameter(a.dbeta, a.x) &&
         rule.same_count(a.dgamma, a.gamma) && rule.eps(eps) && rule.column(a.mean, a.x) &&
         rule.column(a.rstd, a.x) && rule.same_or_apart(a.dx, a.dy) &&
         rule.same_or_apart(a.dx, a.x) && rule.apart(a.dx, a.gamma, a.mean, a.rstd) &&
         rule.apart(a.dgamma, a.dy, a.x, a.gamma, a.dx, a.mean, a.rstd) &&
         rule.apart(a.dbeta, a.dy, a.x, a.gamma, a.dx, a.mean, a.rstd, a.dgamma);
}

ROWNORM_COLD inline void check_backward_fully(const char* function, backward_arguments a,
                                              epsilon eps) {
  obeys(checks(function), a, eps);
}
ROWNORM_INLINE void check_backward(const char* function, const backward_arguments& a, epsilon eps) {
  if (!ROWNORM_LIKELY(obeys(glance{}, a, eps))) check_backward_fully(function, a, eps);
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
