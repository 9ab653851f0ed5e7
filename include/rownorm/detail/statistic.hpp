// SPDX-License-Identifier: MIT
// What a first half finds of a row, in double: squares, or moments. That of a row which leaves the
// range of T is found again here, in a wider or scaled way, and bears its scale; never a number of
// y.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>

#include "again.hpp"
#include "range.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

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

/// `found` is the sum of T where T holds it, else found again; gives back its sum.
template <class T, class Again>
ROWNORM_INLINE double hold_or_find_again(std::size_t n, std::size_t k, double sum,
                                         const Again& again, epsilon eps, squares& found) {
  const bool holds = may_leave_range<T, Again> ? holds_squares<T>(sum, eps) : sum != 0;
  if (ROWNORM_LIKELY(holds)) {
    found.sum = sum;
    found.scale = held;
    return sum;
  }
  found = squares_again(n, k, sum, again, eps);
  return found.sum;
}

/// The first half: of a row of n numbers, the statistic of the first k; gives back its sum.
template <class T, class First, class Again>
ROWNORM_INLINE double find_squares(std::size_t n, std::size_t k, const First& first,
                                   const Again& again, epsilon eps, squares& found) {
  return hold_or_find_again<T>(n, k, sum_of_squares<T>(k, first), again, eps, found);
}

/// The same, and the largest of |affine(x)|; affine has no shift.
template <class T, class First, class Affine>
ROWNORM_FLAT ROWNORM_NOINLINE totals<2> squares_and_peak(std::size_t n, First x, Affine affine) {
  using order = typename Affine::template order<T, typename First::stored>;
  return sum<T, order, 2, 1>(n, [&](auto at, pack<T>& s, pack<T>& m) ROWNORM_LAMBDA {
    const pack<T> v = x(at);
    s = fma(v, v, s);
    m = maximum(m, abs(affine(at, v)));
  });
}
template <class T, class First, class Again, class Affine>
ROWNORM_INLINE double find_squares(std::size_t n, const First& first, const Again& again,
                                   const Affine& affine, epsilon eps, squares_with_peak& found) {
  const totals<2> t = squares_and_peak<T>(n, first, affine);
  // A product that left the range of T says nothing of y.
  const bool told = in_range(t.of[1], least_squares<T>, overflow_threshold<T>);
  found.peak = told ? t.of[1] : -1;
  return hold_or_find_again<T>(n, n, t.of[0], again, eps, found);
}

// ---------------------------------------------------------------------------------------------
// LayerNorm.
// ---------------------------------------------------------------------------------------------

/// The mean in two numbers, the T next to it and the rest, and the variance.
struct moments {
  double mean, rest, variance, scale;
};

/// How many numbers of a row are looked at for a guess of its mean: 64 bytes of them.
template <class T>
inline constexpr std::size_t first_numbers = 64 / sizeof(T);
struct sum_and_largest {
  double sum, largest;
};
/// Of a row's first numbers, values(place): their sum, and the largest without its sign.
template <class T, class Order, class Values>
ROWNORM_INLINE sum_and_largest look_at_first(Values values) {
  constexpr bool whole_packs = pack_width<T> <= first_numbers<T>;
  constexpr std::size_t step = whole_packs ? pack_width<T> : first_numbers<T>;
  pack<T> v[first_numbers<T> / step], size[first_numbers<T> / step];
  unroll<first_numbers<T> / step>([&](auto p) ROWNORM_LAMBDA {
    if constexpr (whole_packs) v[p()] = values(place<T, Order, full>{p() * step, {}});
    else v[p()] = values(place<T, Order, std::size_t>{0, step});
    size[p()] = abs(v[p()]);
  });
  lane_set sum, largest;
  fold<Order>(sum, v, plus{});
  fold<Order>(largest, size, larger{});
  return {tree<Order>(sum, plus{}), tree<Order>(largest, larger{})};
}

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
template <class T, std::size_t K>
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
template <std::size_t K, class T, class First, class Again>
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
template <class T, std::size_t K>
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
ROWNORM_FLAT ROWNORM_NOINLINE totals<2> sums_around_apart(T shift, std::size_t n, Source x) {
  return sums_around(shift, n, x);
}

/// Inline where n is a constant, which a function of its own would not know (LayerNorm of 64x64 and
/// 64x128: 0.82 to 0.89 of the time).
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

/// The first half; gives back the variance. The moments are written once, where they stay: g++ 12
/// copies them by vectors of two members just stored, which store forwarding does not give
/// (LayerNorm of 64x64: 1.1 of the time).
template <class T, class Length, class First, class Again>
ROWNORM_INLINE double find_moments(Length n, const First& first, const Again& again, epsilon eps,
                                   moments& found) {
  const moments m = moments_in<T>(n, first, again);
  if constexpr (may_leave_range<T, Again>) {
    if (!ROWNORM_LIKELY(holds_variance<T>(m.variance, eps))) {
      found = moments_again(n, again, eps);
      return found.variance;
    }
  }
  const bool zero = !may_leave_range<T, Again> && m.variance + eps.value == 0;
  found.mean = m.mean;
  found.rest = m.rest;
  found.variance = m.variance;
  found.scale = zero ? factor_is_0 : held;
  return m.variance;
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
