// SPDX-License-Identifier: MIT
// Where the statistic of each row comes from: found from eps, or saved by another call; never a
// number of y.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "statistic.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// What another call saved of a row; M is none_t for RMSNorm.
struct saved_row {
  double mean, r;
  double rounding;  ///< what the mean may have lost where it was saved
  bool known;       ///< whether r was in the range of its type
};
/// `held` where T holds saved statistics, and the numbers less the mean, with room to spare.
template <class T>
ROWNORM_INLINE double scale_of(const saved_row& s) {
  const bool holds = std::is_same_v<T, double> || ((s.r == 0 || in_range(s.r, 0x1p-100, 0x1p100)) &&
                                                   in_range(std::fabs(s.mean), 0.0, 0x1p100));
  return holds ? held : 1;
}
template <class M, class R>
struct saved_columns {
  static constexpr bool reads_x = false;
  column<const M> mean;
  column<const R> rstd;

  ROWNORM_INLINE saved_row at_row(std::size_t i) const {
    const R r = *rstd.at_row(i);
    const bool known =
        r == 0 || in_range(r, (std::numeric_limits<R>::min)(), std::numeric_limits<R>::infinity());
    if constexpr (std::is_same_v<M, none_t>) {
      return {0, static_cast<double>(r), 0, known};
    } else {
      const double m = static_cast<double>(*mean.at_row(i));
      return {m, static_cast<double>(r), std::fabs(m) * std::numeric_limits<M>::epsilon(), known};
    }
  }
  ROWNORM_INLINE std::size_t rows_in_turn() const { return 0; }
  ROWNORM_INLINE saved_columns take(row_span rows) const {
    return {mean.take(rows), rstd.take(rows)};
  }
};

// ---------------------------------------------------------------------------------------------
// Each has find(), which finds the statistic of row i and gives back the number that its factor is
// made of, or where it reads no x the factor itself; factors(), which makes those of m rows where x
// is read; and again(), the factor of a row that T does not hold.
// ---------------------------------------------------------------------------------------------

/// The k of squares that are of a whole row.
inline constexpr auto whole_row = static_cast<std::size_t>(PTRDIFF_MIN);
/// The k of partial_rms_norm, which is never whole_row: the checks are to refuse one that large.
ROWNORM_INLINE std::size_t partial_length(std::size_t k) {
  return k == whole_row ? k - 1 : k;
}

/// Squares of a row's first k numbers.
struct found_squares {
  static constexpr bool reads_x = true;  ///< whether the factor comes of x
  epsilon eps;
  std::size_t k = whole_row;

  template <class T, class First, class Again, class Affine>
  ROWNORM_INLINE double find(std::size_t n, std::size_t, const First& first, const Again& again,
                             const Affine&, squares& found) const {
    return find_squares<T>(n, k == whole_row ? n : k, first, again, eps, found);
  }
  template <class T, class First, class Again, class Affine>
  ROWNORM_INLINE double find(std::size_t n, std::size_t, const First& first, const Again& again,
                             const Affine& affine, squares_with_peak& found) const {
    if (k == whole_row) return find_squares<T>(n, first, again, affine, eps, found);
    found.peak = -1;
    return find_squares<T>(n, k, first, again, eps, static_cast<squares&>(found));
  }
  ROWNORM_INLINE double factors(double* r, std::size_t m, double last, std::size_t n) const {
    return reciprocals_of_rms(r, m, last, length(n), eps.value, eps.outside);
  }
  ROWNORM_INLINE double again(const squares& s, double, std::size_t n) const {
    return reciprocal_again(s, length(n), eps);
  }
  ROWNORM_INLINE double length(std::size_t n) const {
    return static_cast<double>(k == whole_row ? n : k);
  }
  ROWNORM_INLINE std::size_t rows_in_turn() const { return 0; }
  ROWNORM_INLINE found_squares take(row_span) const { return *this; }
};
/// A saved 1/rms that left the range of its type belongs to a row so large or so small that eps is
/// nothing beside it: it is found again, with eps = 0.
template <class R>
struct saved_squares : saved_columns<none_t, R> {
  template <class T, class First, class Again, class Affine>
  ROWNORM_INLINE double find(std::size_t n, std::size_t i, const First&, const Again& x,
                             const Affine&, squares& found) const {
    const saved_row s = this->at_row(i);
    if (ROWNORM_LIKELY(s.known)) found = {s.r, scale_of<T>(s)};
    else found = find_again<T>(n, x);
    return found.sum;
  }
  ROWNORM_INLINE double again(const squares&, double r, std::size_t) const { return r; }
  ROWNORM_INLINE saved_squares take(row_span rows) const {
    return {saved_columns<none_t, R>::take(rows)};
  }

 private:
  template <class T, class Again>
  static ROWNORM_FLAT ROWNORM_COLD squares find_again(std::size_t n, Again x) {
    squares s;
    find_squares<T>(n, n, x, x, 0, s);
    const double length = static_cast<double>(n);
    s.sum = s.scale == held ? reciprocal_rms(s.sum, length, 0) : reciprocal_again(s, length, 0);
    return s;
  }
};

template <class R>
saved_squares(saved_columns<none_t, R>) -> saved_squares<R>;

struct found_moments {
  static constexpr bool reads_x = true;
  epsilon eps;

  template <class T, class Length, class First, class Again>
  ROWNORM_INLINE double find(Length n, std::size_t, const First& first, const Again& again,
                             moments& found) const {
    return find_moments<T>(n, first, again, eps, found);
  }
  ROWNORM_INLINE double factors(double* r, std::size_t m, double last) const {
    return reciprocals_of_deviation(r, m, last, eps.value, eps.outside);
  }
  ROWNORM_INLINE double again(const moments& m, double) const { return reciprocal_again(m, eps); }
  /// 1/sqrt(variance + eps) of x itself. Of equal numbers eps alone is left, which times scale^2
  /// may be 0.
  ROWNORM_INLINE double unscaled(const moments& m, double r) const {
    return m.variance == 0 ? reciprocal_root(0, eps) : r * m.scale;
  }
  ROWNORM_INLINE std::size_t rows_in_turn() const { return 0; }
  ROWNORM_INLINE found_moments take(row_span) const { return *this; }
};
/// A saved 1/sqrt(variance + eps) stands where the variance does.
template <class M, class R>
struct saved_moments : saved_columns<M, R> {
  template <class T, class Length, class First, class Again>
  ROWNORM_INLINE double find(Length n, std::size_t i, const First&, const Again& x,
                             moments& found) const {
    const saved_row s = this->at_row(i);
    const double scale = scale_of<T>(s);
    const double nearest = scale == held ? static_cast<double>(static_cast<T>(s.mean)) : s.mean;
    if (ROWNORM_LIKELY(s.known)) found = {nearest, s.mean - nearest, s.r, scale};
    else found = find_again<T>(n, x);
    return found.variance;
  }
  ROWNORM_INLINE double again(const moments&, double r) const { return r; }
  ROWNORM_INLINE double unscaled(const moments& m, double r) const { return r * m.scale; }
  ROWNORM_INLINE saved_moments take(row_span rows) const {
    return {saved_columns<M, R>::take(rows)};
  }

 private:
  template <class T, class Again>
  static ROWNORM_FLAT ROWNORM_COLD moments find_again(std::size_t n, Again x) {
    moments m;
    find_moments<T>(n, x, x, 0, m);
    m.variance = m.scale == held ? reciprocal_root(m.variance, 0) : reciprocal_again(m, 0);
    return m;
  }
};
template <class M, class R>
saved_moments(saved_columns<M, R>) -> saved_moments<M, R>;

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
