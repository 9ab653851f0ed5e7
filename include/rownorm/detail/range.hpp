// SPDX-License-Identifier: MIT
// Which statistics T holds, the scale of those that it does not, and the factor of a row that comes
// of one; never a loop over a row's numbers.
#pragma once

#include <cmath>
#include <cstddef>
#include <type_traits>

#include "source.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// A statistic that T does not hold is that of the row's numbers as doubles, times a power of two:
// its `scale`.

/// What stands for a scale where T holds the statistic, and where the factor is 0: of a row of
/// zeros, and of equal numbers at eps = 0.
inline constexpr double held = 0, factor_is_0 = -1;

/// A sum of squares below this may have lost numbers to underflow.
template <class T>
inline constexpr double least_squares = std::is_same_v<T, float> ? 0x1p-100 : 0x1p-900;
/// A sum of squares from here on may hold a lane that overflowed: in a rounding mode towards zero a
/// lane stops at the largest number and is no infinity.
template <class T>
inline constexpr double overflow_threshold = std::is_same_v<T, float> ? 0x1p127 : 0x1p1023;
/// The factor of a mean square from here on may be no normal T; _outside: that of an eps outside
/// the root.
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

/// An epsilon from two arguments: passed in one register, its bool, just written, would be read
/// back as part of eight bytes, which store forwarding does not give.
ROWNORM_INLINE epsilon made_epsilon(double value, bool outside) {
  return outside ? epsilon(outside_root(value)) : epsilon(value);
}
/// reciprocal_rms of m rows in place of their sums; gives back that of the first, and of one row
/// alone does not write r. What it makes of a row that T does not hold nobody reads. Out of line,
/// here and below: an eps known only at run time took registers from the sum, which g++ 12 then
/// spilled (one row of 1024 floats: 1.25 of the time).
ROWNORM_FLAT ROWNORM_NOINLINE inline double reciprocals_of_rms(double* r, std::size_t m,
                                                               double last, double length,
                                                               double value, bool outside) {
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
ROWNORM_FLAT ROWNORM_NOINLINE inline double reciprocals_of_deviation(double* r, std::size_t m,
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

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
