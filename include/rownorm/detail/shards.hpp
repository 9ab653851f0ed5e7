// SPDX-License-Identifier: MIT
// Rows of which each process holds some columns, a shard: what it knows of a row by itself, what
// two shards are together, and the second half of a norm from what is known of the row; never a
// message.
#pragma once

#include <cmath>
#include <cstddef>
#include <type_traits>

#include "config.hpp"
#include "kernel.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// A shard is plain doubles. For T = float they hold every sum. For T = double a shard may be that
// of the numbers times a power of two, `scale`; two shards meet at one scale, where what is lost of
// the one is nothing beside the other.

template <class T>
struct shard_scale {
  static constexpr double scale = 1;
  explicit shard_scale(double) {}
};
template <>
struct shard_scale<double> {
  double scale;
  explicit shard_scale(double scale_) : scale(scale_) {}
};
inline constexpr double least_scale = 0x1p-600;

/// add(scale) of two shards, at a scale where its squares do not overflow.
template <class Add>
auto added_in_range(double scale, Add add) {
  const auto sum = add(scale);
  return sum.squares <= largest<double> || scale == least_scale ? sum : add(least_scale);
}

/// The sum of squares. That of zeros has the largest scale, as that of tiny numbers.
template <class T>
struct squares_shard : shard_scale<T> {
  static constexpr bool plain_sums = std::is_same_v<T, float>;
  double squares;
  squares_shard() : squares_shard(0) {}
  explicit squares_shard(double squares_, double scale_ = 1)
      : shard_scale<T>(scale_), squares(squares_) {}
  double at(double to) const {
    const double ratio = to / this->scale;
    return squares * ratio * ratio;
  }
};
template <class T>
squares_shard<T> together(const squares_shard<T>& a, const squares_shard<T>& b) {
  const double scale = a.scale < b.scale ? a.scale : b.scale;
  return added_in_range(scale, [&](double s) { return squares_shard<T>(a.at(s) + b.at(s), s); });
}

/// a + b and what its rounding lost (Knuth).
struct two_sum {
  double sum, error;
  two_sum(double a, double b) : sum(a + b) {
    const double part = sum - a;
    error = (a - (sum - part)) + (b - part);
  }
};

/// How many numbers, their mean in two doubles and the squares around it.
template <class T>
struct moments_shard : shard_scale<T> {
  static constexpr bool plain_sums = false;
  double count, mean, rest, squares;
  moments_shard(double count_ = 0, double mean_ = 0, double rest_ = 0, double squares_ = 0,
                double scale_ = 1)
      : shard_scale<T>(scale_), count(count_), mean(mean_), rest(rest_), squares(squares_) {}
  moments_shard at(double to) const {
    const double ratio = to / this->scale;
    return moments_shard(count, mean * ratio, rest * ratio, squares * ratio * ratio, to);
  }
};
/// Of the numbers of both: Chan, Golub and LeVeque's step from the means' distance.
template <class T>
moments_shard<T> together(const moments_shard<T>& shard_a, const moments_shard<T>& shard_b) {
  if (shard_a.count == 0) return shard_b;
  if (shard_b.count == 0) return shard_a;
  return added_in_range(
      shard_a.scale < shard_b.scale ? shard_a.scale : shard_b.scale, [&](double scale) {
        const moments_shard<T> a = shard_a.at(scale), b = shard_b.at(scale);
        const two_sum distance(b.mean, -a.mean);
        const double delta = distance.sum + (distance.error + (b.rest - a.rest));
        const double count = a.count + b.count, part = b.count / count;
        const two_sum mean(a.mean, delta * part);
        return moments_shard<T>(count, mean.sum, mean.error + a.rest,
                                a.squares + b.squares + delta * delta * (a.count * part), scale);
      });
}

/// Beside the sum of squares, that of g * x.
template <class T>
struct rms_gradient_shard {
  static constexpr bool plain_sums = squares_shard<T>::plain_sums;
  squares_shard<T> x;
  double gx = 0;
};
template <class T>
rms_gradient_shard<T> together(const rms_gradient_shard<T>& a, const rms_gradient_shard<T>& b) {
  const squares_shard<T> x = together(a.x, b.x);
  return {x, a.gx * (x.scale / a.x.scale) + b.gx * (x.scale / b.x.scale)};
}

/// Beside the moments, the sums of g and of g * (x - mean).
template <class T>
struct layer_gradient_shard {
  static constexpr bool plain_sums = false;
  moments_shard<T> x;
  double g = 0, gd = 0;
};
template <class T>
layer_gradient_shard<T> together(const layer_gradient_shard<T>& a,
                                 const layer_gradient_shard<T>& b) {
  const moments_shard<T> x = together(a.x, b.x);
  const auto gd = [&](const layer_gradient_shard<T>& shard) {
    if (shard.x.count == 0) return 0.0;
    const moments_shard<T> part = shard.x.at(x.scale);
    const double distance = (part.mean - x.mean) + (part.rest - x.rest);
    return shard.gd * (x.scale / shard.x.scale) + shard.g * distance;
  };
  return {x, a.g + b.g, gd(a) + gd(b)};
}

// ---------------------------------------------------------------------------------------------
// The first half: the shard of a row's n numbers, done again where its sums leave the range of T.
// ---------------------------------------------------------------------------------------------

template <class T, class First, class Second>
ROWNORM_FLAT squares_shard<T> squares_of(std::size_t n, const First& first, const Second& x,
                                         epsilon eps) {
  const double s = sum_of_squares<T>(n, first);
  if constexpr (may_leave_range<T, typename Second::stored>)
    if (!ROWNORM_LIKELY(usable<T>(s, eps))) {
      const double scale = std::is_same_v<T, float> ? 1 : scale_for(s, 0, eps);
      return squares_shard<T>(squares_again(n, of_any(x, scale)), scale);
    }
  return squares_shard<T>(s);
}

template <class T, class A>
moments_shard<T> shard_of(std::size_t n, const moments<A>& m, double scale = 1) {
  const double count = static_cast<double>(n);
  return moments_shard<T>(count, static_cast<double>(m.mean), m.rest, m.variance * count, scale);
}
template <class T, class First, class Second>
ROWNORM_FLAT moments_shard<T> moments_of(std::size_t n, const First& first, const Second& x,
                                         epsilon eps) {
  if (n == 0) return moments_shard<T>();
  const moments<T> m = find_moments<T>(n, first, x);
  if constexpr (may_leave_range<T, typename Second::stored>)
    if (!ROWNORM_LIKELY(usable(m, eps))) {
      const double scale = std::is_same_v<T, float> ? 1 : scale_for(m.variance, m.mean, eps);
      const any_row source = of_any(x, scale);
      return shard_of<T>(n, find_moments<double>(n, source, source), scale);
    }
  return shard_of<T>(n, m);
}

/// A shard, and whether g itself may leave the range of T, so that the second half is done in
/// double here, whatever the other shards are.
template <class Shard>
struct gradient_shard {
  Shard shard;
  bool wide = false;
};

template <class T, class DY, class Source, class Gamma>
ROWNORM_FLAT gradient_shard<rms_gradient_shard<T>> rms_gradient_of(std::size_t n, const DY& dy,
                                                                   const Source& x,
                                                                   const Gamma& gamma,
                                                                   epsilon eps) {
  const totals<2> t = gradient_sums<T>(n, dy, x, gamma);
  if constexpr (may_leave_range<T, typename Source::stored>)
    if (!ROWNORM_LIKELY(usable<T>(t.of[0], eps) && usable_gradient<T>(t.of[1]))) {
      using X = typename Source::stored;
      const double scale = std::is_same_v<T, float> ? 1 : scale_for(t.of[0], 0, eps);
      const totals<2> d = gradient_sums<double>(n, of_any(dy), of_any(x, scale), of_any<X>(gamma));
      return {{squares_shard<T>(d.of[0], scale), d.of[1]}, std::is_same_v<T, float>};
    }
  return {{squares_shard<T>(t.of[0]), t.of[1]}};
}

template <class T, class A>
layer_gradient_shard<T> shard_of(std::size_t n, const around<A, 4>& a, double scale = 1) {
  const double g = a.sums.of[2];
  return {shard_of<T>(n, corrected(a), scale), g, fma(-a.delta, g, a.sums.of[3])};
}
template <class T, class DY, class Source, class Gamma>
ROWNORM_FLAT gradient_shard<layer_gradient_shard<T>> layer_gradient_of(std::size_t n, const DY& dy,
                                                                       const Source& x,
                                                                       const Gamma& gamma,
                                                                       epsilon eps) {
  if (n == 0) return {};
  const row_statistics unknown{eps, false, 0, 0};
  const around<T, 4> a = gradient_sums_near_mean<T>(n, dy, x, gamma, 1, unknown);
  if constexpr (may_leave_range<T, typename Source::stored>) {
    const moments<T> m = corrected(a);
    if (!ROWNORM_LIKELY(usable(m, eps) && usable_gradient<T>(a.sums.of[2]) &&
                        usable_gradient<T>(a.sums.of[3]))) {
      using X = typename Source::stored;
      const double scale = std::is_same_v<T, float> ? 1 : scale_for(m.variance, m.mean, eps);
      const around<double, 4> again = gradient_sums_near_mean<double>(
          n, of_any(dy), of_any(x, scale), of_any<X>(gamma), scale, unknown);
      return {shard_of<T>(n, again, scale), std::is_same_v<T, float>};
    }
  }
  return {shard_of<T>(n, a)};
}

// ---------------------------------------------------------------------------------------------
// The second half of a row of which n numbers are here and `length` everywhere.
// ---------------------------------------------------------------------------------------------

/// in_T() where that is `possible`, else again(), in doubles scaled as the sums were.
template <class T, class Source, class InT, class Again>
ROWNORM_INLINE void apply_in_range(bool possible, double scale, const Source&, InT in_T,
                                   Again again) {
  constexpr bool single = std::is_same_v<T, float>;
  if (!may_leave_range<T, typename Source::stored> ||
      ROWNORM_LIKELY(single ? possible : scale == 1))
    in_T();
  else again();
}

template <class T>
bool possible_in(const squares_shard<T>& all, epsilon eps) {
  return usable<T>(all.squares, eps) && all.squares <= largest<T>;
}
/// Whether a sum over dy, and what comes of it, are numbers for T: g may be large in other shards.
template <class T>
bool possible_gradient(double sum, double factor) {
  return usable_gradient<T>(sum) && std::fabs(factor) < largest_outside<T>;
}
/// What is known of the row as the kernel's moments.
template <class A, class T>
moments<A> moments_from(const moments_shard<T>& all) {
  const A mean = static_cast<A>(all.mean);
  const double variance = all.squares / all.count;
  return {mean, (all.mean - static_cast<double>(mean)) + all.rest, variance};
}

/// Gives back 1/rms.
template <class T, class Source, class Gamma, class Y>
ROWNORM_FLAT double rms_norm_second_half(std::size_t n, double length, const squares_shard<T>& all,
                                         const Source& x, const Gamma& gamma, const Y& y,
                                         epsilon eps) {
  const double r = scaled_factor(all.scale, all.squares / length, eps);
  using X = typename Source::stored;
  apply_in_range<T>(
      possible_in(all, eps), all.scale, x, [&] { apply_scale<T>(n, x, r, gamma, y); },
      [&] { apply_scale<double>(n, of_any(x, all.scale), r, of_any<X>(gamma), of_any(y)); });
  return r * all.scale;
}

template <class T, class Source, class Gamma, class Beta, class Y>
ROWNORM_FLAT mean_and_rstd layer_norm_second_half(std::size_t n, const moments_shard<T>& all,
                                                  const Source& x, const Gamma& gamma,
                                                  const Beta& beta, const Y& y, epsilon eps) {
  const moments<T> m = moments_from<T>(all);
  const double r = scaled_factor(all.scale, m.variance, eps);
  using X = typename Source::stored;
  apply_in_range<T>(
      usable(m, eps), all.scale, x, [&] { apply_centred<T>(n, x, m, r, gamma, beta, y); },
      [&] {
        apply_centred<double>(n, of_any(x, all.scale), moments_from<double>(all), r,
                              of_any<X>(gamma), any_shift<X>(beta), of_any(y));
      });
  return {(all.mean + all.rest) / all.scale,
          m.variance == 0 ? reciprocal_root(0, eps) : r * all.scale};
}

template <class T, class DY, class Source, class Gamma, class DX, class G>
ROWNORM_FLAT void rms_gradient_second_half(std::size_t n, double length,
                                           const gradient_shard<rms_gradient_shard<T>>& all,
                                           const DY& dy, const Source& x, const Gamma& gamma,
                                           const DX& dx, const G& dgamma,
                                           const row_statistics& known) {
  const squares_shard<T>& s = all.shard.x;
  const double square = s.squares / length;
  const double r = known.known ? known.r / s.scale : scaled_factor(s.scale, square, known.eps);
  const double slope = all.shard.gx / length * r * slope_of_root(square, r, known.eps);
  const bool possible =
      !all.wide && possible_in(s, known.eps) && possible_gradient<T>(all.shard.gx, slope);
  using X = typename Source::stored;
  apply_in_range<T>(
      possible, s.scale, x,
      [&] {
        apply_gradient<false>(n, dy, x, gamma, dx, dgamma, row_sums<none_t>{},
                              gradient_factors<T>{r, 1, slope});
      },
      [&] {
        apply_gradient<false>(n, of_any(dy), of_any(x, s.scale), of_any<X>(gamma), of_any(dx),
                              of_any(dgamma), row_sums<none_t>{},
                              gradient_factors<double>{r, s.scale, slope});
      });
}

template <class T, class DY, class Source, class Gamma, class DX, class G, class B>
ROWNORM_FLAT void layer_gradient_second_half(std::size_t n,
                                             const gradient_shard<layer_gradient_shard<T>>& all,
                                             const DY& dy, const Source& x, const Gamma& gamma,
                                             const DX& dx, const G& dgamma, const B& dbeta,
                                             const row_statistics& known) {
  const moments_shard<T>& s = all.shard.x;
  const double variance = s.squares / s.count;
  const double r = known.known ? known.r / s.scale : scaled_factor(s.scale, variance, known.eps);
  const double slope = all.shard.gd / s.count * r * slope_of_root(variance, r, known.eps);
  const double shift = all.shard.g / s.count;
  const bool possible = !all.wide && usable(moments_from<T>(s), known.eps) &&
                        possible_gradient<T>(all.shard.g, shift) &&
                        possible_gradient<T>(all.shard.gd, slope);
  using X = typename Source::stored;
  apply_in_range<T>(
      possible, s.scale, x,
      [&] {
        const moments<T> m = moments_from<T>(s);
        apply_gradient<true>(n, dy, x, gamma, dx, dgamma, dbeta,
                             gradient_factors<T>{r, 1, slope, shift, m.mean, m.rest});
      },
      [&] {
        const moments<double> m = moments_from<double>(s);
        apply_gradient<true>(n, of_any(dy), of_any(x, s.scale), of_any<X>(gamma), of_any(dx),
                             of_any(dgamma), of_any(dbeta),
                             gradient_factors<double>{r, s.scale, slope, shift, m.mean, m.rest});
      });
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
