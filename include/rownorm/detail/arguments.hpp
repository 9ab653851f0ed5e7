// SPDX-License-Identifier: MIT
// From a call's arguments and the words around them to what the checks look at (views) and what the
// halves read and write (sources, sinks, gains); never Eigen by name, never a number of a matrix.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "../types.hpp"
#include "backward.hpp"
#include "config.hpp"
#include "eigen.hpp"
#include "streaming.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// ---------------------------------------------------------------------------------------------
// Views: rows or heads of plain storage, or none.
// ---------------------------------------------------------------------------------------------

template <class V>
inline constexpr bool holds_int8 =
    std::is_same_v<std::remove_const_t<typename V::value_type>, std::int8_t>;

/// What is only read.
template <class A>
ROWNORM_INLINE auto to_input(const A& a) {
  auto view = to_rows(a);
  constexpr bool is_input = !holds_int8<decltype(view)>;
  static_assert(is_input, "rownorm: rows of int8 are an output, as quantized(q, scales)");
  if constexpr (is_input) return view;
  else return after_error();
}

/// What is written.
template <class A>
ROWNORM_INLINE auto to_written(A&& a) {
  auto view = to_rows(std::forward<A>(a));
  constexpr bool writable = !std::is_const_v<typename decltype(view)::value_type>;
  static_assert(writable,
                "rownorm: an output is const: pass a matrix or a "
                "view that can be written");
  if constexpr (writable) return view;
  else return after_error();
}
template <class A>
ROWNORM_INLINE auto to_output(A&& a) {
  auto view = to_written(std::forward<A>(a));
  constexpr bool is_output = !holds_int8<decltype(view)>;
  static_assert(is_output, "rownorm: rows of int8 are written as quantized(q, scales)");
  if constexpr (is_output) return view;
  else return after_error();
}
/// The same, or none.
template <class A>
ROWNORM_INLINE auto to_gradient(A&& a) {
  if constexpr (is_none<bare<A>>) return none;
  else return to_output(std::forward<A>(a));
}

/// A number per row (mean, rstd, scales), or none.
template <class A>
ROWNORM_INLINE auto to_column(A&& a) {
  if constexpr (is_none<bare<A>>) {
    return none;
  } else {
    auto view = to_written(std::forward<A>(a));
    using S = typename decltype(view)::value_type;
    constexpr bool wide_enough = std::is_same_v<S, float> || std::is_same_v<S, double>;
    static_assert(wide_enough,
                  "rownorm: a number per row (mean, rstd, scales) "
                  "is kept as float or double");
    if constexpr (wide_enough) return view;
    else return after_error();
  }
}

/// The numbers of a row: a constant where the type fixes them, which spares short rows much.
template <class S, std::size_t Length>
ROWNORM_INLINE std::size_t row_length(const rows<S, Length>& m) {
  return Length == dynamic ? m.length : Length;
}
template <class S>
ROWNORM_INLINE std::size_t row_length(const heads<S>& m) {
  return m.length;
}

// ---------------------------------------------------------------------------------------------
// From views to what the halves take.
// ---------------------------------------------------------------------------------------------

template <class S, std::size_t Length>
ROWNORM_INLINE matrix<S> matrix_of(const rows<S, Length>& m) {
  return {m.data, m.stride};
}
template <class S>
ROWNORM_INLINE matrix<S, true> matrix_of(const heads<S>& m) {
  return {m.data, m.length, m.heads_per_token, m.token_stride};
}
ROWNORM_INLINE column<none_t> column_of(none_t) {
  return {nullptr};
}
template <class S, std::size_t Length>
ROWNORM_INLINE column<S> column_of(const rows<S, Length>& m) {
  return {m.data};
}
template <class X, class Residual>
ROWNORM_INLINE auto input_of(const X& x, const Residual& residual) {
  if constexpr (is_none<Residual>) {
    return input{matrix_of(x), matrix_of(x)};
  } else {
    return input{over<added_row>(matrix_of(x), matrix_of(residual)), matrix_of(residual)};
  }
}

/// A gain or a shift: its numbers as a view, and its rows for the halves.
template <class View, class Matrix, bool HasWords>
struct parameter_argument {
  static constexpr bool has_words = HasWords;
  View numbers;
  Matrix matrix;
};
template <class A>
ROWNORM_INLINE auto to_parameter(const A& a) {
  using absent = parameter_argument<none_t, no_parameter, false>;
  if constexpr (is_none<A>) {
    return absent{none, {}};
  } else {
    constexpr bool is_vector = !is_heads<A>;
    static_assert(is_vector, "rownorm: gamma and beta are vectors, or one row per head");
    if constexpr (is_vector) {
      auto view = to_input(a);
      using S = std::remove_const_t<typename decltype(view)::value_type>;
      return parameter_argument<decltype(view), parameter<S>, false>{
          view, {view.data, view.stride, view.count}};
    } else {
      return absent{none, {}};
    }
  }
}
template <template <class...> class Row, class P>
ROWNORM_INLINE auto with_word(const P& p) {
  const auto matrix = over<Row>(p.matrix);
  return parameter_argument<decltype(p.numbers), std::remove_const_t<decltype(matrix)>, true>{
      p.numbers, matrix};
}
template <class G>
ROWNORM_INLINE auto to_parameter(const after_rounding<G>& a);
template <class G>
ROWNORM_INLINE auto to_parameter(const one_plus<G>& a) {
  return with_word<one_plus_row>(to_parameter(a.gamma));
}
template <class G>
ROWNORM_INLINE auto to_parameter(const after_rounding<G>& a) {
  return with_word<after_rounding_row>(to_parameter(a.gamma));
}

/// Whether y is stored past the cache where no word says so: it is that large, and none of the
/// inputs.
template <class Y, class... Inputs>
ROWNORM_INLINE bool streams_by_size(const Y& y, const Inputs*... inputs) {
  const void* const data = y.data;
  const std::size_t bytes = y.count * y.length * sizeof(*y.data);
  return ((data != inputs) && ...) && bytes >= least_streaming_bytes && bytes >= streaming_bytes();
}

// Where the result of a forward call goes. Each gives the view y, the scales of its rows or the one
// scale for all, and the sink of rows that are read from x.
enum class caching { by_size, never, always };
template <class Y>
struct result {
  Y y;
  caching through_cache = caching::by_size;
  ROWNORM_INLINE auto sink(const void* x) const {
    const bool by_size = through_cache == caching::by_size && streams_by_size(y, x);
    return written{matrix_of(y), by_size || through_cache == caching::never};
  }
  none_t scales() const { return none; }
  double scale() const { return 1; }
};
template <class Q, class S>
struct result_int8_by_peak {
  Q y;
  S columns;
  ROWNORM_INLINE auto sink(const void*) const {
    return over<int8_by_peak_row>(matrix_of(y), column_of(columns));
  }
  const S& scales() const { return columns; }
  double scale() const { return 1; }
};
template <class Q>
struct result_int8 {
  Q y;
  double given;
  ROWNORM_INLINE auto sink(const void*) const {
    return over<int8_row>(matrix_of(y), for_all_rows<inverse_of>{inverse_of(given)});
  }
  none_t scales() const { return none; }
  double scale() const { return given; }
};

template <class Y>
ROWNORM_INLINE auto worded_result(const streaming<Y>& y) {
  auto view = to_output(static_cast<Y&&>(y.y));
  return result<decltype(view)>{view, caching::never};
}
template <class Y>
ROWNORM_INLINE auto worded_result(const cached<Y>& y) {
  auto view = to_output(static_cast<Y&&>(y.y));
  return result<decltype(view)>{view, caching::always};
}
template <class Q, class S>
ROWNORM_INLINE auto worded_result(const quantized<Q, S>& y) {
  auto view = to_written(static_cast<Q&&>(y.q));
  constexpr bool is_int8 = holds_int8<decltype(view)>;
  static_assert(is_int8, "rownorm: quantized(q, scales): q holds std::int8_t");
  if constexpr (!is_int8) {
    return result<rows<float>>{after_error()};
  } else if constexpr (std::is_arithmetic_v<bare<S>>) {
    return result_int8<decltype(view)>{view, static_cast<double>(y.scale)};
  } else {
    auto scales = to_column(static_cast<S&&>(y.scale));
    return result_int8_by_peak<decltype(view), decltype(scales)>{view, scales};
  }
}
template <class A, class = void>
inline constexpr bool has_result_word = false;
template <class A>
inline constexpr bool
    has_result_word<A, std::void_t<decltype(worded_result(std::declval<const A&>()))>> = true;
template <class A>
ROWNORM_INLINE auto to_result(A&& y) {
  if constexpr (has_result_word<bare<A>>) {
    return worded_result(y);
  } else {
    auto view = to_output(std::forward<A>(y));
    return result<decltype(view)>{view};
  }
}

/// Where dx goes. Adds: it is added to, by ordinary stores.
template <bool Adds, class DX>
ROWNORM_INLINE auto gradient_sink(const DX& dx, const void* dy, const void* x) {
  if constexpr (Adds) return over<sum_row>(matrix_of(dx));
  else return written{matrix_of(dx), streams_by_size(dx, dy, x)};
}

/// What a call is told of its rows' statistics: eps. mean_or, rstd_or: what the checks look at.
struct eps_alone {
  epsilon value;

  ROWNORM_INLINE epsilon eps() const { return value; }
  template <class Mean>
  ROWNORM_INLINE const Mean& mean_or(const Mean& mean) const {
    return mean;
  }
  template <class Rstd>
  ROWNORM_INLINE const Rstd& rstd_or(const Rstd& rstd) const {
    return rstd;
  }
  ROWNORM_INLINE found_squares squares(std::size_t k) const { return {value, k}; }
  ROWNORM_INLINE found_moments moments() const { return {value}; }
  ROWNORM_INLINE not_saved of_gradient() const { return {value}; }
};
/// Or what a forward call gave, as views; M is none_t for RMSNorm.
template <class M, class R>
struct saved_views {
  M mean;
  R rstd;

  ROWNORM_INLINE epsilon eps() const { return 0; }
  ROWNORM_INLINE const M& mean_or(none_t) const { return mean; }
  ROWNORM_INLINE const R& rstd_or(none_t) const { return rstd; }
  ROWNORM_INLINE auto of_gradient() const {
    using root = std::remove_const_t<typename R::value_type>;
    if constexpr (is_none<M>) {
      return saved_columns<none_t, root>{{nullptr}, {rstd.data}};
    } else {
      using number = std::remove_const_t<typename M::value_type>;
      return saved_columns<number, root>{{mean.data}, {rstd.data}};
    }
  }
  ROWNORM_INLINE auto squares(std::size_t) const { return saved_squares{of_gradient()}; }
  ROWNORM_INLINE auto moments() const { return saved_moments{of_gradient()}; }
};
ROWNORM_INLINE eps_alone to_statistic(epsilon eps) {
  return {eps};
}
template <class M, class R>
ROWNORM_INLINE auto to_statistic(const saved<M, R>& s) {
  if constexpr (is_none<M>) {
    return saved_views<none_t, decltype(to_input(s.rstd))>{none, to_input(s.rstd)};
  } else {
    return saved_views<decltype(to_input(s.mean)), decltype(to_input(s.rstd))>{to_input(s.mean),
                                                                               to_input(s.rstd)};
  }
}
template <class A>
inline constexpr bool is_saved = false;
template <class M, class R>
inline constexpr bool is_saved<saved<M, R>> = true;

/// Statistics of a backward call, so that one with a word that says where is never taken for one
/// without.
template <class A>
using if_statistics =
    std::enable_if_t<std::is_convertible_v<const A&, epsilon> || is_saved<A>, int>;

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
