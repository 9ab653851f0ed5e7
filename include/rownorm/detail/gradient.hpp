// SPDX-License-Identifier: MIT
// The statistics of the gradients, and the factors that come of them; never a number of dx.
#pragma once

#include <cmath>
#include <cstddef>
#include <type_traits>

#include "gain.hpp"
#include "origin.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// gamma * dy; the slope of after_rounding's rounding is taken for 1.
template <class T, class Gamma, class Place>
ROWNORM_INLINE pack<T> times_gamma(Place at, pack<T> dy, const Gamma& gamma) {
  if constexpr (Gamma::present) return dy * gamma(at);
  else return dy;
}
/// gamma * dy + c, with one rounding: a product and a sum apart would be contracted or not.
template <class T, class Gamma, class Place>
ROWNORM_INLINE pack<T> times_gamma_plus(Place at, pack<T> dy, const Gamma& gamma, pack<T> c) {
  if constexpr (Gamma::present) return fma(dy, gamma(at), c);
  else return dy + c;
}

/// With eps outside the root, the slope of r is that of 1 / rms: larger by (rms + eps) / rms.
ROWNORM_INLINE double slope_of_root(double mean_square, double r, epsilon eps) {
  if (!eps.outside) return 1;
  const double rms = square_root(mean_square);
  return rms > 0 ? 1 / (rms * r) : 0;
}

/// dx = r * scale * (g - shift - h * slope) with h = (x - mean - rest) * r, x and r being those of
/// numbers times `scale` where T does not hold them.
struct gradient_factors {
  double r, scale, slope;
  double shift = 0, mean = 0, rest = 0;
};
// ---------------------------------------------------------------------------------------------
// RMSNorm.
// ---------------------------------------------------------------------------------------------

/// The sums of x^2 and of g * x.
struct rms_gradient {
  double squares, gx, scale;
};
template <class T, class DY, class Source, class Gamma>
ROWNORM_FLAT ROWNORM_NOINLINE totals<2> gradient_sums(std::size_t n, DY dy, Source x, Gamma gamma) {
  using order = order_for<T, typename DY::stored, typename Source::stored, typename Gamma::stored>;
  return sum<T, order, 2>(n, [&](auto at, pack<T>& s, pack<T>& c) ROWNORM_LAMBDA {
    const pack<T> v = x(at);
    s = fma(v, v, s);
    c = fma(times_gamma(at, dy(at), gamma), v, c);
  });
}

ROWNORM_FLAT ROWNORM_COLD inline rms_gradient gradient_sums_again(std::size_t n,
                                                                  const erased_source& dy,
                                                                  erased_source x,
                                                                  const erased_source& gamma,
                                                                  epsilon eps) {
  for (bool last = false;; last = true) {
    const totals<2> t = gradient_sums<double>(n, dy, x, gamma);
    if (last || holds_squares<double>(t.of[0], eps)) return {t.of[0], t.of[1], x.scale};
    x.scale = scale_for(t.of[0], 0, eps);
  }
}
template <class DY, class Source, class Gamma>
ROWNORM_COLD rms_gradient gradient_sums_again(std::size_t n, DY dy, Source x, Gamma gamma,
                                              epsilon eps) {
  return gradient_sums_again(n, erased_source(&dy), erased_source(&x), erased_source(&gamma), eps);
}

/// The first half. `saved`: what another call gave, or no known r.
template <class T, class DY, class Source, class Gamma>
ROWNORM_INLINE rms_gradient find_rms_gradient(std::size_t n, const DY& dy, const Source& x,
                                              const Gamma& gamma, epsilon eps,
                                              const saved_row& saved) {
  const totals<2> t = gradient_sums<T>(n, dy, x, gamma);
  if constexpr (may_leave_range<T, Source>) {
    const bool squares_held = ROWNORM_LIKELY(holds_squares<T>(t.of[0], eps)) ||
                              (t.of[0] == 0 && scale_of<T>(saved) == held && holds_zeros(n, x));
    if (!(squares_held && holds_sum<T>(t.of[1], n, x, dy))) {
      const rms_gradient wide = gradient_sums_again(n, dy, x, gamma, eps);
      return {wide.squares, wide.gx, wide.scale};  // as in find_moments
    }
  }
  return {t.of[0], t.of[1], held};
}

/// From the statistic to the factors; `length`: the numbers that it is of.
ROWNORM_INLINE gradient_factors factors_of(const rms_gradient& s, double length, epsilon eps,
                                           const saved_row& saved) {
  const double scale = s.scale == held ? 1 : s.scale;
  const double r =
      saved.known ? saved.r / scale : reciprocal_rms(s.squares, length, scaled(eps, scale));
  // The quotient does not wait for r: it is found while r is (64x64 to 1024x128 floats: 0.93 to
  // 0.96 of the time).
  return {r, s.scale, s.gx / length * r * slope_of_root(s.squares / length, r, eps)};
}

// ---------------------------------------------------------------------------------------------
// LayerNorm.
// ---------------------------------------------------------------------------------------------

/// Beside the moments, the sums of g and of g * (x - mean).
struct layer_gradient {
  moments x;
  double g, gd;
};

/// The sums of d = x - shift, d^2, g and g * d.
template <class T, class DY, class Source, class Gamma>
ROWNORM_FLAT ROWNORM_NOINLINE totals<4> gradient_sums_around(T shift, std::size_t n, DY dy,
                                                             Source x, Gamma gamma) {
  using order = order_for<T, typename DY::stored, typename Source::stored, typename Gamma::stored>;
  const pack<T> less = splat(-shift);
  return sum<T, order, 4>(
      n, [&](auto at, pack<T>& s, pack<T>& q, pack<T>& sg, pack<T>& sgd) ROWNORM_LAMBDA {
        const pack<T> d = zero_beyond(at, x(at) + less);
        const pack<T> v = dy(at);
        s = s + d;
        q = fma(d, d, q);
        sg = times_gamma_plus(at, v, gamma, sg);
        sgd = fma(times_gamma(at, v, gamma), d, sgd);
      });
}

template <class T, class DY, class Source, class Gamma>
ROWNORM_INLINE shifted_sums<T, 4> gradient_sums_near_mean(std::size_t n, const DY& dy,
                                                          const Source& x, const Gamma& gamma,
                                                          const saved_row& saved, double scale) {
  const auto pass = [&](T shift)
                        ROWNORM_LAMBDA { return gradient_sums_around(shift, n, dy, x, gamma); };
  const T shift = saved.known ? static_cast<T>(saved.mean * scale) : guess_mean<T>(n, x);
  shifted_sums<T, 4> a = sums_near_mean<4>(n, shift, pass, pass);
  // A saved mean is what the caller says, but for the rounding that it went through.
  const double given = saved.mean * scale - static_cast<double>(a.shift);
  if (saved.known && !(std::fabs(a.delta - given) <= saved.rounding * scale)) a.delta = given;
  return a;
}
template <class T>
ROWNORM_INLINE layer_gradient gradient_of(const shifted_sums<T, 4>& a) {
  return {corrected(a), a.sums.of[2], fma(-a.delta, a.sums.of[2], a.sums.of[3])};
}

ROWNORM_FLAT ROWNORM_COLD inline layer_gradient layer_gradient_again(
    std::size_t n, const erased_source& dy, erased_source x, const erased_source& gamma,
    epsilon eps, const saved_row& saved) {
  for (bool last = false;; last = true) {
    layer_gradient s =
        gradient_of(gradient_sums_near_mean<double>(n, dy, x, gamma, saved, x.scale));
    s.x.scale = x.scale;
    if (last || holds_variance<double>(s.x.variance, eps)) return s;
    x.scale = scale_for(s.x.variance, s.x.mean, eps);
  }
}
template <class DY, class Source, class Gamma>
ROWNORM_COLD layer_gradient layer_gradient_again(std::size_t n, DY dy, Source x, Gamma gamma,
                                                 epsilon eps, saved_row saved) {
  return layer_gradient_again(n, erased_source(&dy), erased_source(&x), erased_source(&gamma), eps,
                              saved);
}

/// The first half.
template <class T, class DY, class Source, class Gamma>
ROWNORM_INLINE layer_gradient find_layer_gradient(std::size_t n, const DY& dy, const Source& x,
                                                  const Gamma& gamma, epsilon eps,
                                                  const saved_row& saved) {
  const shifted_sums<T, 4> a = gradient_sums_near_mean<T>(n, dy, x, gamma, saved, 1);
  const layer_gradient s = gradient_of(a);
  if constexpr (may_leave_range<T, Source>)
    if (!(ROWNORM_LIKELY(holds_variance<T>(s.x.variance, eps)) &&
          holds_sum<T>(a.sums.of[2], n, dy) && holds_sum<T>(a.sums.of[3], n, dy))) {
      const layer_gradient wide = layer_gradient_again(n, dy, x, gamma, eps, saved);
      return {{wide.x.mean, wide.x.rest, wide.x.variance, wide.x.scale}, wide.g, wide.gd};
    }
  return s;
}

ROWNORM_INLINE gradient_factors factors_of(const layer_gradient& s, double length, epsilon eps,
                                           const saved_row& saved) {
  const double share = 1 / length, scale = s.x.scale == held ? 1 : s.x.scale;
  const double r =
      saved.known ? saved.r / scale : reciprocal_root(s.x.variance, scaled(eps, scale));
  return {r,           s.x.scale, s.gd * share * r * slope_of_root(s.x.variance, r, eps),
          s.g * share, s.x.mean,  s.x.rest};
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
