// SPDX-License-Identifier: MIT
// What a first half finds of a row, in double: squares, moments, and those of a gradient. A row
// that leaves the range of T is found again here, in a wider or scaled way, and says so; never a
// number of y or dx.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>

#include "again.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// ---------------------------------------------------------------------------------------------
// Range: which statistics T holds. The others are of doubles times a power of two, their `scale`.
// ---------------------------------------------------------------------------------------------

/// The scale of a statistic that T holds, and of one of a row of zeros (or of equal numbers at eps
/// = 0), whose factor is 0.
inline constexpr double held = 0, factor_is_0 = -1;

/// Squares below this may have felt the subnormals of T in their sum.
template <class T>
inline constexpr double least_squares = std::is_same_v<T, float> ? 0x1p-100 : 0x1p-900;
/// A sum of squares from here on may hold a lane that overflowed, in a rounding mode where that
/// stops at the largest number.
template <class T>
inline constexpr double overflow_threshold = std::is_same_v<T, float> ? 0x1p127 : 0x1p1023;
/// The factor of a mean square from here on may be no normal T; of an eps outside the root, too.
template <class T>
inline constexpr double factor_threshold = std::is_same_v<T, float> ? 0x1p200 : 0x1p1000;
template <class T>
inline constexpr double factor_threshold_outside = std::is_same_v<T, float> ? 0x1p100 : 0x1p500;

/// Whether a row can leave the range of T: in double, only rows of double and computed ones can.
template <class T, class Source>
inline constexpr bool may_leave_range =
    std::is_same_v<T, float> || std::is_same_v<typename Source::stored, double> ||
    std::is_void_v<typename Source::stored>;

/// Whether T holds a sum of squares, and the factor that comes of it.
template <class T>
ROWNORM_INLINE bool holds_squares(double sum, epsilon eps) {
  return in_range(sum, least_squares<T>, overflow_threshold<T>) &&
         eps.value < (eps.outside ? factor_threshold_outside<T> : factor_threshold<T>);
}
template <class T>
ROWNORM_INLINE bool holds_variance(double variance, epsilon eps) {
  return in_range(variance + (eps.outside ? 0 : eps.value), least_squares<T>,
                  factor_threshold<T>) &&
         !(eps.outside && eps.value >= factor_threshold_outside<T>);
}
/// Whether T holds a sum over dy: it lost nothing among the subnormals and did not overflow. Zeros
/// are held, as dy has them of padding and of tokens that are not learnt from.
template <class T>
ROWNORM_INLINE bool holds_sum(double sum) {
  return std::is_same_v<T, double> ||
         in_range(std::fabs(sum), least_squares<T>, overflow_threshold<T>);
}
template <class T, class... Sources>
ROWNORM_INLINE bool holds_sum(double sum, std::size_t n, const Sources&... sources) {
  return ROWNORM_LIKELY(holds_sum<T>(sum)) || (sum == 0 && (holds_zeros(n, sources) || ...));
}

/// The power of two for doubles whose squares leave the range. Small squares need none beside an
/// eps that is not small, nor do those of equal numbers that are not small.
ROWNORM_INLINE double scale_for(double mean_square, double mean, epsilon eps) {
  if (!(mean_square < 1)) return 0x1p-600;
  const bool lost = eps.outside ? eps.value > 0x1p-450 : eps.value > 0x1p-900;
  return lost || std::fabs(mean) >= 0x1p-300 ? 1 : 0x1p600;
}
/// The eps of numbers times `scale`.
ROWNORM_INLINE epsilon scaled(epsilon eps, double scale) {
  return eps.outside ? epsilon(outside_root(eps.value * scale))
                     : epsilon(eps.value * scale * scale);
}

// ---------------------------------------------------------------------------------------------
// From a statistic to the factor of a row.
// ---------------------------------------------------------------------------------------------

/// 1 / sqrt(mean_square + eps), and 0 for a row of zeros, so that zeros stay zeros at eps = 0.
ROWNORM_INLINE double reciprocal_root(double mean_square, epsilon eps) {
  const double root =
      eps.outside ? square_root(mean_square) + eps.value : square_root(mean_square + eps.value);
  return root == 0 ? 0 : 1 / root;
}
/// The same from a sum of squares: one division less on the way from a row's first half to its
/// second.
ROWNORM_INLINE double reciprocal_rms(double squares, double length, epsilon eps) {
  const double sum = fma(length, eps.value, squares);
  if (eps.outside || eps.value > 0x1p900 || sum < 0x1p-1000)
    return reciprocal_root(squares / length, eps);
  return square_root(length / sum);
}

/// An epsilon as two arguments: in one register its bool, just written, would wait to be read back
/// as eight bytes.
ROWNORM_INLINE epsilon made_epsilon(double value, bool outside) {
  return outside ? epsilon(outside_root(value)) : epsilon(value);
}
/// The same of m rows, none of them zeros at eps = 0, in place of their sums; gives back that of
/// the first. Of one row alone r is not written. Out of line, here and below: with an eps known at
/// run time alone its numbers took registers from the sum, which g++ 12 then kept in memory (one
/// row of 1024 floats: 1.25 of the time).
ROWNORM_FLAT ROWNORM_APART inline double reciprocals_of_rms(double* r, std::size_t m, double last,
                                                            double length, double value,
                                                            bool outside) {
  const epsilon eps = made_epsilon(value, outside);
  if (m == 1) return reciprocal_rms(last, length, eps);
  if (eps.outside || eps.value > 0x1p900)
    for (std::size_t i = 0; i < m; ++i) r[i] = reciprocal_root(r[i] / length, eps);
  else
    in_registers(r, m, [&](auto squares) ROWNORM_LAMBDA {
      using V = decltype(squares);
      return square_root(V(length) / fma(V(length), V(eps.value), squares));
    });
  return r[0];
}
/// 1 / sqrt(variance + eps) of m rows, in the same way.
ROWNORM_FLAT ROWNORM_APART inline double reciprocals_of_deviation(double* r, std::size_t m,
                                                                  double last, double value,
                                                                  bool outside) {
  const epsilon eps = made_epsilon(value, outside);
  if (m == 1) return reciprocal_root(last, eps);
  if (eps.outside)
    for (std::size_t i = 0; i < m; ++i) r[i] = reciprocal_root(r[i], eps);
  else
    in_registers(r, m, [&](auto variance) ROWNORM_LAMBDA {
      using V = decltype(variance);
      return V(1.0) / square_root(variance + V(eps.value));
    });
  return r[0];
}

// ---------------------------------------------------------------------------------------------
// RMSNorm.
// ---------------------------------------------------------------------------------------------

/// The sum of a row's squares.
struct squares {
  double sum, scale;
};
/// And the largest of |x * gamma|; below 0: not known.
struct squares_with_peak : squares {
  double peak;
};

template <class T, class Source>
ROWNORM_INLINE double sum_of_squares(std::size_t n, const Source& x) {
  using order = order_for<T, typename Source::stored>;
  const totals<1> t = sum<T, order, 1>(n, [&](auto at, pack<T>& s) ROWNORM_LAMBDA {
    const pack<T> v = x(at);
    s = fma(v, v, s);
  });
  return t.of[0];
}

/// In double, and where that does not hold them either, of scaled doubles.
ROWNORM_FLAT ROWNORM_COLD inline squares squares_again(std::size_t n, erased_source x,
                                                       epsilon eps) {
  for (bool last = false;; last = true) {
    const double sum = sum_of_squares<double>(n, x);
    if (last || holds_squares<double>(sum, eps)) return {sum, x.scale};
    x.scale = scale_for(sum, 0, eps);
  }
}
/// x is the row as it is read again, of n numbers; its statistic is of the first k.
template <class Source>
ROWNORM_COLD squares squares_again(std::size_t n, std::size_t k, double sum, Source x,
                                   epsilon eps) {
  if (sum == 0 && holds_zeros(n, x)) return {0, factor_is_0};
  return squares_again(k, erased_source(&x), eps);
}

/// 1/rms of the row times its scale, where that is not `held`.
ROWNORM_COLD inline double reciprocal_again(const squares& s, double length, epsilon eps) {
  return reciprocal_rms(s.sum, length, s.scale == factor_is_0 ? eps : scaled(eps, s.scale));
}

template <class T, class Again>
ROWNORM_INLINE squares held_or_again(std::size_t n, std::size_t k, squares s, const Again& again,
                                     epsilon eps) {
  const bool holds = may_leave_range<T, Again> ? holds_squares<T>(s.sum, eps) : s.sum != 0;
  return ROWNORM_LIKELY(holds) ? s : squares_again(n, k, s.sum, again, eps);
}

/// The first half: of a row of n numbers, the statistic of the first k.
template <class T, class First, class Again>
ROWNORM_INLINE squares find_squares(std::size_t n, std::size_t k, const First& first,
                                    const Again& again, epsilon eps) {
  return held_or_again<T>(n, k, {sum_of_squares<T>(k, first), held}, again, eps);
}

/// The same, and the largest of |affine(x)|, affine being without a shift.
template <class T, class First, class Affine>
ROWNORM_FLAT ROWNORM_APART totals<2> squares_and_peak(std::size_t n, First x, Affine affine) {
  using order = typename Affine::template order<T, typename First::stored>;
  return sum<T, order, 2, 1>(n, [&](auto at, pack<T>& s, pack<T>& m) ROWNORM_LAMBDA {
    const pack<T> v = x(at);
    s = fma(v, v, s);
    m = maximum(m, abs(affine(at, v)));
  });
}
template <class T, class First, class Again, class Affine>
ROWNORM_INLINE squares_with_peak find_squares_and_peak(std::size_t n, const First& first,
                                                       const Again& again, const Affine& affine,
                                                       epsilon eps) {
  const totals<2> t = squares_and_peak<T>(n, first, affine);
  // A product that left the range of T says nothing of y.
  const bool told = in_range(t.of[1], least_squares<T>, overflow_threshold<T>);
  return {held_or_again<T>(n, n, {t.of[0], held}, again, eps), told ? t.of[1] : -1};
}

// ---------------------------------------------------------------------------------------------
// LayerNorm.
// ---------------------------------------------------------------------------------------------

/// The mean in two numbers, the T next to it and the rest, and the variance.
struct moments {
  double mean, rest, variance, scale;
};

/// The mean of the first numbers; 0 where that is little beside the largest of them, since x - 0 is
/// exact. 0 for rows of one chunk: the guess would cost each of them what a second pass costs those
/// with a large mean (LayerNorm of 64x128 without it: 0.81 of the time, and 1.22 where the mean is
/// three standard deviations).
template <class T, class Source>
ROWNORM_INLINE T guess_mean(std::size_t n, const Source& x) {
  if (n <= chunk<T>) return 0;
  using order = order_for<T, typename Source::stored>;
  const sum_and_largest f =
      look_at_first<T, order>([&](auto at) ROWNORM_LAMBDA { return peek(x, at); });
  const double mean = f.sum / static_cast<double>(first_numbers<T>);
  return 8 * std::fabs(mean) <= f.largest ? T(0) : static_cast<T>(mean);
}

/// K sums of a row, the first of x - shift, the second of its squares; delta and square are their
/// means.
template <class T, int K>
struct shifted_sums {
  T shift;
  totals<K> sums;
  double delta, square;
};

/// So many times delta^2 is the mean of the squares at least, or the shift is too far from the
/// mean: further than a standard deviation. In double half a variance is the bound: its sums have
/// nothing wider to end in, and at a whole one what cancels in square - delta^2 cost a row of 3
/// numbers 4.09 eps.
template <class T>
inline constexpr double least_square_ratio = std::is_same_v<T, double> ? 3 : 2;

/// first(shift) gives the sums around a shift. Where that proves to be too far from the mean,
/// again(shift) gives them around the mean that was found: one pass for most rows. Again twice at
/// most: the mean that is found around 0 may be a step of T off, and numbers all equal but one
/// deviate by a part of a step (114 doubles: 295 eps after one).
template <int K, class T, class First, class Again>
ROWNORM_INLINE shifted_sums<T, K> sums_near_mean(std::size_t n, T shift, First first, Again again) {
  // A product, since a quotient would wait for the sums (64x33 to 64x96 floats: 0.95 to 0.96 of the
  // time). Later a quotient: of equal numbers both means are exact then, and the variance is 0.
  const double length = static_cast<double>(n), share = 1 / length;
  const totals<K> t = first(shift);
  shifted_sums<T, K> a{shift, t, t.of[0] * share, t.of[1] * share};
  for (int pass = 0; pass < 2; ++pass) {
    if (ROWNORM_LIKELY(least_square_ratio<T> * a.delta * a.delta <= a.square)) break;
    shift = static_cast<T>(static_cast<double>(shift) + a.delta);
    const totals<K> u = again(shift);
    a = {shift, u, u.of[0] / length, u.of[1] / length};
  }
  return a;
}

/// What the sums around the shift leave goes into the mean and the variance, so that neither
/// cancels (the corrected two-pass of Chan, Golub and LeVeque).
template <class T, int K>
ROWNORM_INLINE moments corrected(const shifted_sums<T, K>& a) {
  const double variance = fma(-a.delta, a.delta, a.square);
  // shift + delta and its rounding error (Knuth's two-sum).
  const double c = static_cast<double>(a.shift), sum = c + a.delta;
  const double c_part = sum - a.delta, delta_part = sum - c_part;
  const double error = (c - c_part) + (a.delta - delta_part);
  const double mean = static_cast<double>(static_cast<T>(sum));
  const bool overflowed = a.sums.of[1] >= overflow_threshold<T>;
  return {mean, (sum - mean) + error,
          overflowed     ? std::numeric_limits<double>::infinity()
          : variance < 0 ? 0
                         : variance,
          held};
}

/// Sums of x - shift and of its squares.
template <class T, class Source>
ROWNORM_INLINE totals<2> sums_around(T shift, std::size_t n, const Source& x) {
  using order = order_for<T, typename Source::stored>;
  const pack<T> less = splat(-shift);
  return sum<T, order, 2>(n, [&](auto at, pack<T>& s, pack<T>& q) ROWNORM_LAMBDA {
    const pack<T> d = zero_beyond(at, x(at) + less);
    s = s + d;
    q = fma(d, d, q);
  });
}
template <class T, class Source>
ROWNORM_FLAT ROWNORM_APART totals<2> sums_around_apart(T shift, std::size_t n, Source x) {
  return sums_around(shift, n, x);
}

/// A constant n would be lost in a function apart (LayerNorm of 64x64 and 64x128: 0.82 to 0.89 of
/// the time).
template <class T, class Length, class First, class Again>
ROWNORM_INLINE moments moments_in(Length n, const First& first, const Again& again) {
  return corrected(sums_near_mean<2>(
      n, guess_mean<T>(n, first),
      [&](T shift) ROWNORM_LAMBDA {
        if constexpr (std::is_same_v<Length, std::size_t>)
          return sums_around_apart(shift, n, first);
        else return sums_around(shift, n, first);
      },
      [&](T shift) ROWNORM_LAMBDA { return sums_around_apart(shift, n, again); }));
}

ROWNORM_FLAT ROWNORM_COLD inline moments moments_again(std::size_t n, erased_source x,
                                                       epsilon eps) {
  for (bool last = false;; last = true) {
    moments m = moments_in<double>(n, x, x);
    m.scale = x.scale;
    if (last || holds_variance<double>(m.variance, eps)) return m;
    x.scale = scale_for(m.variance, m.mean, eps);
  }
}
template <class Source>
ROWNORM_COLD moments moments_again(std::size_t n, Source x, epsilon eps) {
  return moments_again(n, erased_source(&x), eps);
}

/// 1/sqrt(variance + eps) of the row times its scale, where that is not `held`.
ROWNORM_COLD inline double reciprocal_again(const moments& m, epsilon eps) {
  return m.scale == factor_is_0 ? 0 : reciprocal_root(m.variance, scaled(eps, m.scale));
}

/// The first half.
template <class T, class Length, class First, class Again>
ROWNORM_INLINE moments find_moments(Length n, const First& first, const Again& again, epsilon eps) {
  moments m = moments_in<T>(n, first, again);
  if constexpr (may_leave_range<T, Again>) {
    if (!ROWNORM_LIKELY(holds_variance<T>(m.variance, eps))) m = moments_again(n, again, eps);
  } else if (m.variance + eps.value == 0) {
    m.scale = factor_is_0;
  }
  return m;
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
