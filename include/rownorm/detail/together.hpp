// SPDX-License-Identifier: MIT
// Rows of which each process holds some columns, a shard: its statistic, and what two of them are
// together; never a message or a half of a norm.
#pragma once

#include <cmath>
#include <cstddef>
#include <type_traits>

#include "backward.hpp"
#include "config.hpp"

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
  return sum.squares <= factor_threshold<double> || scale == least_scale ? sum : add(least_scale);
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
// From a statistic to a shard, and back from that of all processes.
// ---------------------------------------------------------------------------------------------

/// That of zeros is the one that tiny numbers have, which another shard may hold.
ROWNORM_INLINE double scale_of_shard(double squares, double scale, epsilon eps) {
  return squares == 0 ? scale_for(0, 0, eps) : scale > 0 ? scale : 1;
}
template <class T>
squares_shard<T> shard_of(const squares& s, epsilon eps) {
  return squares_shard<T>(s.sum, scale_of_shard(s.sum, s.scale, eps));
}
template <class T>
moments_shard<T> shard_of(std::size_t n, const moments& m) {
  const double count = static_cast<double>(n);
  return moments_shard<T>(count, m.mean, m.rest, m.variance * count, m.scale > 0 ? m.scale : 1);
}
template <class T>
rms_gradient_shard<T> shard_of(const rms_gradient& s, epsilon eps) {
  return {squares_shard<T>(s.squares, scale_of_shard(s.squares, s.scale, eps)), s.gx};
}
template <class T>
layer_gradient_shard<T> shard_of(std::size_t n, const layer_gradient& s) {
  return {shard_of<T>(n, s.x), s.g, s.gd};
}

/// The scale of what comes of shards: T holds float's where they say so, double's where none was
/// scaled.
template <class T, class Shard>
double scale_of(const Shard& shard, bool holds) {
  return (std::is_same_v<T, float> ? holds : shard.scale == 1) ? held : shard.scale;
}
template <class T>
squares statistic_of(const squares_shard<T>& all, epsilon eps) {
  return {all.squares, scale_of<T>(all, holds_squares<T>(all.squares, eps))};
}
template <class T>
moments statistic_of(const moments_shard<T>& all, epsilon eps) {
  const double variance = all.squares / all.count;
  const double scale = scale_of<T>(all, holds_variance<T>(variance, eps));
  if (scale != held) return {all.mean, all.rest, variance, scale};
  const double mean = static_cast<double>(static_cast<T>(all.mean));
  return {mean, (all.mean - mean) + all.rest, variance, held};
}
/// Whether a sum over dy, and what comes of it, are numbers for T: g may be large in other shards.
template <class T>
bool holds_factor(double sum, double factor) {
  return holds_sum<T>(sum) && std::fabs(factor) < factor_threshold_outside<T>;
}
/// `wide`: whether g itself leaves the range of T here, whatever the other shards are.
template <class T>
gradient_factors factors_of(const rms_gradient_shard<T>& all, bool wide, double length, epsilon eps,
                            const saved_row& saved) {
  const squares s = statistic_of(all.x, eps);
  gradient_factors f = factors_of(rms_gradient{s.sum, all.gx, s.scale}, length, eps, saved);
  if (std::is_same_v<T, float> && (wide || !holds_factor<T>(all.gx, f.slope))) f.scale = 1;
  return f;
}
template <class T>
gradient_factors factors_of(const layer_gradient_shard<T>& all, bool wide, epsilon eps,
                            const saved_row& saved) {
  layer_gradient s{statistic_of(all.x, eps), all.g, all.gd};
  gradient_factors f = factors_of(s, all.x.count, eps, saved);
  if (std::is_same_v<T, float> &&
      (wide || !holds_factor<T>(all.g, f.shift) || !holds_factor<T>(all.gd, f.slope))) {
    f.scale = 1;
    f.mean = all.x.mean;
    f.rest = all.x.rest;
  }
  return f;
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
