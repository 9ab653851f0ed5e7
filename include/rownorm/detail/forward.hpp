// SPDX-License-Identifier: MIT
// The second halves of the forward calls, y = gamma * (x - mean) * r + beta, and the rows that
// for_rows walks over. Never finds a statistic; never a loop over rows, an argument or a check.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>

#include "gain.hpp"
#include "loops.hpp"
#include "origin.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// ---------------------------------------------------------------------------------------------
// The second half of a row.
// ---------------------------------------------------------------------------------------------

/// The largest of |result(place)| along a row of n numbers; NaN where one is NaN or infinite.
template <class T, class Result>
ROWNORM_INLINE double peak_of(std::size_t n, Result result) {
  // Beside the largest a sum of v * 0: a maximum may pass over a NaN.
  const totals<2> t =
      sum<T, in_order, 2, 1>(n, [&](auto at, pack<T>& s, pack<T>& m) ROWNORM_LAMBDA {
        const pack<T> v = zero_beyond(at, result(at));
        s = fma(v, splat(T(0)), s);
        m = maximum(m, abs(v));
      });
  return t.of[0] == 0 ? t.of[1] : std::numeric_limits<double>::quiet_NaN();
}

/// The normalized numbers of a row: x * r, or (x - mean) * r.
template <class T, class Source>
struct scaled_row {
  using stored = typename Source::stored;
  Source x;
  pack<T> factor;
  ROWNORM_INLINE scaled_row(const Source& x_, double r) : x(x_), factor(splat(static_cast<T>(r))) {}

  template <class Place>
  ROWNORM_INLINE pack<T> operator()(Place at) const {
    return x(at) * factor;
  }
};
template <class T, class Source>
struct centred_row {
  using stored = typename Source::stored;
  Source x;
  // The mean is subtracted in two steps, so that its rounding to T does no harm: x - less is exact
  // near the mean, and the rest comes in with the product's rounding.
  pack<T> less, factor, rest;
  ROWNORM_INLINE centred_row(const Source& x_, const moments& m, double r)
      : x(x_),
        less(splat(static_cast<T>(-m.mean))),
        factor(splat(static_cast<T>(r))),
        rest(splat(static_cast<T>(-m.rest * r))) {}

  template <class Place>
  ROWNORM_INLINE pack<T> operator()(Place at) const {
    return fma(x(at) + less, factor, rest);
  }
};

/// y takes affine(normalized(place)). `peak`: the largest of |y|; below 0: not known.
template <class T, class Normalized, class Affine, class Y>
ROWNORM_INLINE void write_affine(std::size_t n, const Normalized& normalized, const Affine& affine,
                                 Y y, [[maybe_unused]] double peak = -1) {
  using order = typename Affine::template order<T, typename Normalized::stored, typename Y::stored>;
  const auto result = [&](auto at) ROWNORM_LAMBDA { return affine(at, normalized(at)); };
  if constexpr (needs_peak<Y>) y.begin(peak < 0 ? peak_of<T>(n, result) : peak);
  write_row<true, T, order>(n, y, result, normalized.x);
}

// The fallback: in double, by type-erased rows, x being multiplied by a power of two. One function
// for each of scaled_row and centred_row.

template <class Normalized>
ROWNORM_FLAT ROWNORM_COLD void write_erased(std::size_t n, const Normalized& normalized,
                                            const erased_affine& affine, const erased_sink& y) {
  write_affine<double>(n, normalized, affine, y);
}
template <class Normalized>
ROWNORM_FLAT ROWNORM_COLD double peak_erased(std::size_t n, const Normalized& normalized,
                                             const erased_affine& affine) {
  return peak_of<double>(n, [&](auto at) ROWNORM_LAMBDA { return affine(at, normalized(at)); });
}
template <class Normalized, class Affine, class Y>
ROWNORM_INLINE void write_again(std::size_t n, const Normalized& normalized, const Affine& affine,
                                Y& y) {
  const erased_affine scale(&affine);
  if constexpr (needs_peak<Y>) y.begin(peak_erased(n, normalized, scale));
  write_erased(n, normalized, scale, erased_sink(&y));
}

/// Half of the scale (its root, a power of two as well) goes to the numbers and half to the factor:
/// with all of it a number far below the row's rms would become 0, and one far above the first k of
/// a row, of which its statistic is, infinity. None where r is 0, since infinity times 0 is NaN.
template <class Source, class Affine, class Y>
ROWNORM_COLD void scale_again(std::size_t n, Source x, Affine affine, Y y, double r, double scale) {
  erased_source wide(&x);
  wide.scale = r == 0 ? 1 : square_root(scale);
  write_again(n, scaled_row<double, erased_source>(wide, r * wide.scale), affine, y);
}
template <class Source, class Affine, class Y>
ROWNORM_COLD void centre_again(std::size_t n, Source x, Affine affine, Y y, moments m, double r) {
  erased_source wide(&x);
  wide.scale = m.scale;
  write_again(n, centred_row<double, erased_source>(wide, m, r), affine, y);
}

/// y of one row, by its 1/rms r, which is of numbers times `scale`.
template <class T, class Source, class Affine, class Y>
ROWNORM_INLINE void rms_norm_row(std::size_t n, const Source& x, const Affine& affine, const Y& y,
                                 double r, double scale, double peak = -1) {
  if (!ROWNORM_LIKELY(scale == held)) {
    if (scale != factor_is_0) return scale_again(n, x, affine, y, r, scale);
    r = 0;
  }
  write_affine<T>(n, scaled_row<T, Source>(x, r), affine, y, peak < 0 ? -1 : peak * r);
}
/// The same for LayerNorm, by r = 1/sqrt(variance + eps).
template <class T, class Source, class Affine, class Y>
ROWNORM_INLINE void layer_norm_row(std::size_t n, const Source& x, const Affine& affine, const Y& y,
                                   const moments& m, double r) {
  if (!ROWNORM_LIKELY(m.scale == held) && m.scale != factor_is_0)
    return centre_again(n, x, affine, y, m, r);
  write_affine<T>(n, centred_row<T, Source>(x, m, r), affine, y);
}

// ---------------------------------------------------------------------------------------------
// The rows of a call, which for_rows walks over; n is their length, of a type of its own where that
// is a constant.
// ---------------------------------------------------------------------------------------------

ROWNORM_INLINE double peak_of_row(const squares&) {
  return -1;
}
ROWNORM_INLINE double peak_of_row(const squares_with_peak& s) {
  return s.peak;
}

template <class T, class L, class X, class Affine, class Y, class Statistic, class R>
auto make_rms_norm_rows(L n, const X& x, const Affine& affine, const Y& y,
                        const Statistic& statistic, const R& rstd);
template <class T, class L, class X, class Affine, class Y, class Statistic, class M, class R>
auto make_layer_norm_rows(L n, const X& x, const Affine& affine, const Y& y,
                          const Statistic& statistic, const M& mean, const R& rstd);

template <class T, class Length, class X, class Affine, class Y, class Statistic, class R>
struct rms_norm_rows {
  using number = T;
  Length n;
  X x;
  Affine affine;
  Y y;
  Statistic statistic;
  R rstd;

  static constexpr bool peak = needs_peak<decltype(std::declval<const Y&>().at_row(0u))> &&
                               !decltype(std::declval<const Affine&>().at_row(0u))::rounds;
  using statistic_of_row = std::conditional_t<peak, squares_with_peak, squares>;

  ROWNORM_INLINE double first(std::size_t i, statistic_of_row& found) const {
    return statistic.template find<T>(n, i, x.first.at_row(i), x.again.at_row(i), affine.at_row(i),
                                      found);
  }
  ROWNORM_INLINE double factors(double* r, std::size_t m, double last) const {
    return statistic.factors(r, m, last, n);
  }
  ROWNORM_INLINE void second(std::size_t i, const statistic_of_row& s, double r,
                             std::size_t ahead) const {
    if (!ROWNORM_LIKELY(s.scale == held)) r = statistic.again(s, r, n);
    rms_norm_row<T>(n, at_row_ahead(x.again, i, ahead), affine.at_row(i), y.at_row(i), r, s.scale,
                    peak_of_row(s));
    rstd.set(i, s.scale > 0 ? r * s.scale : r);
  }
  /// The same rows, of `length` numbers and with f of each member.
  template <class L, class F>
  ROWNORM_INLINE auto with(L length, F f) const {
    return make_rms_norm_rows<T>(length, f(x), f(affine), f(y), f(statistic), f(rstd));
  }
};
template <class T, class L, class X, class Affine, class Y, class Statistic, class R>
ROWNORM_INLINE auto make_rms_norm_rows(L n, const X& x, const Affine& affine, const Y& y,
                                       const Statistic& statistic, const R& rstd) {
  return rms_norm_rows<T, L, X, Affine, Y, Statistic, R>{n, x, affine, y, statistic, rstd};
}

template <class T, class Length, class X, class Affine, class Y, class Statistic, class M, class R>
struct layer_norm_rows {
  using number = T;
  Length n;
  X x;
  Affine affine;
  Y y;
  Statistic statistic;
  M mean;
  R rstd;

  using statistic_of_row = moments;

  ROWNORM_INLINE double first(std::size_t i, moments& found) const {
    return statistic.template find<T>(n, i, x.first.at_row(i), x.again.at_row(i), found);
  }
  ROWNORM_INLINE double factors(double* r, std::size_t m, double last) const {
    return statistic.factors(r, m, last);
  }
  ROWNORM_INLINE void second(std::size_t i, const moments& m, double r, std::size_t ahead) const {
    if (!ROWNORM_LIKELY(m.scale == held)) r = statistic.again(m, r);
    layer_norm_row<T>(n, at_row_ahead(x.again, i, ahead), affine.at_row(i), y.at_row(i), m, r);
    const bool scaled = m.scale > 0;
    mean.set(i, scaled ? (m.mean + m.rest) / m.scale : m.mean + m.rest);
    rstd.set(i, scaled ? statistic.unscaled(m, r) : r);
  }
  template <class L, class F>
  ROWNORM_INLINE auto with(L length, F f) const {
    return make_layer_norm_rows<T>(length, f(x), f(affine), f(y), f(statistic), f(mean), f(rstd));
  }
};
template <class T, class L, class X, class Affine, class Y, class Statistic, class M, class R>
ROWNORM_INLINE auto make_layer_norm_rows(L n, const X& x, const Affine& affine, const Y& y,
                                         const Statistic& statistic, const M& mean, const R& rstd) {
  return layer_norm_rows<T, L, X, Affine, Y, Statistic, M, R>{n,         x,    affine, y,
                                                              statistic, mean, rstd};
}

/// Which calls have constant lengths: those of float that heads go through, from rows to rows,
/// gamma (and beta) as they are, and nothing kept.
template <class S, class X, class G, class Y>
inline constexpr bool has_constant_lengths<rms_norm_rows<
    float, std::size_t, input<matrix<S>, matrix<S>>, affine<X, parameter<G>, no_parameter>,
    written<Y>, found_squares, column<none_t>>> = true;
template <class S, class X, class G, class B, class Y>
inline constexpr bool has_constant_lengths<layer_norm_rows<
    float, std::size_t, input<matrix<S>, matrix<S>>, affine<X, parameter<G>, parameter<B>>,
    written<Y>, found_moments, column<none_t>, column<none_t>>> = true;

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
