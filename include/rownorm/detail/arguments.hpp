// SPDX-License-Identifier: MIT
// What a call is given (rows, parameters, words) as the checks and the kernel take it; never Eigen
// by name, and never a norm.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "../types.hpp"
#include "config.hpp"
#include "eigen.hpp"
#include "kernel.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

template <class V>
inline constexpr bool holds_int8 =
    std::is_same_v<std::remove_const_t<typename V::value_type>, std::int8_t>;

/// The same for what is only read.
template <class A>
ROWNORM_INLINE auto to_input(const A& a) {
  auto view = to_rows(a);
  constexpr bool is_input = !holds_int8<decltype(view)>;
  static_assert(is_input, "rownorm: rows of int8 are an output, as quantized(q, scales)");
  if constexpr (is_input) return view;
  else return after_error();
}

/// The same for what is written.
template <class A>
ROWNORM_INLINE auto to_written(A&& a) {
  auto view = to_rows(std::forward<A>(a));
  constexpr bool writable = !std::is_const_v<typename decltype(view)::value_type>;
  static_assert(writable,
                "rownorm: an output is const: pass a matrix or a view that can be written");
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

/// A statistic's column: one number per row, or none.
template <class A>
ROWNORM_INLINE auto to_column(A&& a) {
  if constexpr (is_none<bare<A>>) {
    return none;
  } else {
    auto view = to_written(std::forward<A>(a));
    using S = typename decltype(view)::value_type;
    constexpr bool wide_enough = std::is_same_v<S, float> || std::is_same_v<S, double>;
    static_assert(wide_enough,
                  "rownorm: a number per row (mean, rstd, scales) is kept as float or double");
    if constexpr (wide_enough) return view;
    else return after_error();
  }
}

/// A gain or a shift, its words taken off: its numbers as rows, and what is done with them.
template <bool OnePlus, bool AfterRounding, class Rows>
struct gain {
  static constexpr bool has_words = OnePlus || AfterRounding;
  Rows numbers;
};
template <bool OnePlus = false, bool AfterRounding = false, class A>
ROWNORM_INLINE auto to_parameter(const A& a) {
  if constexpr (is_none<A>) {
    return gain<OnePlus, AfterRounding, none_t>{none};
  } else {
    constexpr bool is_vector = !is_heads<A>;
    static_assert(is_vector, "rownorm: gamma and beta are vectors, or one row per head");
    if constexpr (is_vector) {
      auto view = to_input(a);
      return gain<OnePlus, AfterRounding, decltype(view)>{view};
    } else {
      return gain<OnePlus, AfterRounding, none_t>{none};
    }
  }
}
template <bool OnePlus = false, bool AfterRounding = false, class G>
ROWNORM_INLINE auto to_parameter(const after_rounding<G>& a);
template <bool OnePlus = false, bool AfterRounding = false, class G>
ROWNORM_INLINE auto to_parameter(const one_plus<G>& a) {
  return to_parameter<true, AfterRounding>(a.gamma);
}
template <bool OnePlus, bool AfterRounding, class G>
ROWNORM_INLINE auto to_parameter(const after_rounding<G>& a) {
  return to_parameter<OnePlus, true>(a.gamma);
}

/// Where the result of a forward call goes: rows of numbers, or of int8 with a scale for each row
/// or one for all. Each gives what the checks and the kernel ask of it.
enum class caching { by_size, never, always };
/// A y of so many bytes is stored past the cache where no word says otherwise: with as much of x it
/// leaves no room for itself in the caches that a core has to itself or shares with a few others.
/// (Zen 3 with 32 MiB of L3, float: 512x4096 takes 0.59 of the time of ordinary stores, 512x3584
/// 0.64, 512x3072 0.76; below, where y may be read again from L3, 512x2560 0.84, 512x2048 0.94.)
inline constexpr std::size_t streaming_bytes = std::size_t{6} << 20;
/// Whether y is that large, and none of the inputs.
template <class Y, class... Inputs>
ROWNORM_INLINE bool streams_by_size(const Y& y, const Inputs*... inputs) {
  const void* const data = y.data;
  return ((data != inputs) && ...) && y.count * y.length * sizeof(*y.data) >= streaming_bytes;
}

template <class Y>
struct result {
  Y y;
  caching through_cache = caching::by_size;
  auto kernel(const void* x) const {
    const bool by_size = through_cache == caching::by_size && streams_by_size(y, x);
    return output<Y>(y, by_size || through_cache == caching::never);
  }
  none_t scales() const { return none; }
  double scale() const { return 1; }
};
template <class Q, class S>
struct result_int8_by_peak {
  Q y;
  S columns;
  auto kernel(const void*) const {
    return output_int8_by_peak<Q, typename S::value_type>{y, {columns.data}};
  }
  const S& scales() const { return columns; }
  double scale() const { return 1; }
};
template <class Q>
struct result_int8 {
  Q y;
  double given;
  auto kernel(const void*) const { return output_int8<Q>{y, 1 / given}; }
  none_t scales() const { return none; }
  double scale() const { return given; }
};
template <class Q, class S>
ROWNORM_INLINE auto to_int8_result(const quantized<Q, S>& y) {
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
template <class A>
inline constexpr bool is_quantized = false;
template <class Q, class S>
inline constexpr bool is_quantized<quantized<Q, S>> = true;
template <class A>
inline constexpr bool is_streaming = false;
template <class Y>
inline constexpr bool is_streaming<streaming<Y>> = true;
template <class A>
inline constexpr bool is_cached = false;
template <class Y>
inline constexpr bool is_cached<cached<Y>> = true;
template <class A>
ROWNORM_INLINE auto to_result(A&& y) {
  if constexpr (is_quantized<bare<A>>) {
    return to_int8_result(y);
  } else if constexpr (is_streaming<bare<A>> || is_cached<bare<A>>) {
    using Y = decltype(y.y);
    auto view = to_output(static_cast<Y&&>(y.y));
    return result<decltype(view)>{view, is_cached<bare<A>> ? caching::always : caching::never};
  } else {
    auto view = to_output(std::forward<A>(y));
    return result<decltype(view)>{view};
  }
}

template <class V>
struct number_of {
  using type = std::remove_const_t<typename V::value_type>;
};
template <>
struct number_of<none_t> {
  using type = none_t;
};
template <bool O, bool R, class V>
struct number_of<gain<O, R, V>> : number_of<V> {};
template <class V>
struct number_of<result<V>> : number_of<V> {};
template <class Q, class S>
struct number_of<result_int8_by_peak<Q, S>> : number_of<Q> {};
template <class Q>
struct number_of<result_int8<Q>> : number_of<Q> {};

/// For the kernel, after the checks.
template <bool OnePlus, bool AfterRounding, class Rows>
ROWNORM_INLINE auto kernel_parameter(const gain<OnePlus, AfterRounding, Rows>& p) {
  if constexpr (is_none<Rows>) return parameter<none_t, OnePlus, AfterRounding>{nullptr, 0, 1};
  else
    return parameter<typename number_of<Rows>::type, OnePlus, AfterRounding>{
        p.numbers.data, p.numbers.stride, p.numbers.count};
}
template <class X, class Residual>
ROWNORM_INLINE auto kernel_input(const X& x, const Residual& residual) {
  if constexpr (is_none<Residual>) return input(x);
  else return input_added(x, residual);
}
template <class Rows>
ROWNORM_INLINE auto kernel_column(const Rows& c) {
  if constexpr (is_none<Rows>) return column<none_t>{nullptr};
  else return column<typename Rows::value_type>{c.data};
}

/// dgamma or dbeta, or none.
template <class A>
ROWNORM_INLINE auto to_gradient(A&& a) {
  if constexpr (is_none<bare<A>>) return none;
  else return to_output(std::forward<A>(a));
}

/// What a backward call is told of the rows' statistics: eps, or what the forward call gave.
struct eps_alone {
  epsilon value;
  none_t mean() const { return none; }
  none_t rstd() const { return none; }
  epsilon eps() const { return value; }
  from_x kernel() const { return {value}; }
};
template <class M, class R>
struct eps_and_saved {
  M means;
  R roots;
  const M& mean() const { return means; }
  const R& rstd() const { return roots; }
  epsilon eps() const { return 0; }
  auto kernel() const {
    using S = typename number_of<R>::type;
    if constexpr (is_none<M>) return from_saved<none_t, S>{nullptr, roots.data};
    else return from_saved<typename number_of<M>::type, S>{means.data, roots.data};
  }
};
ROWNORM_INLINE eps_alone to_statistics(epsilon eps) {
  return {eps};
}
template <class M, class R>
ROWNORM_INLINE auto to_statistics(const saved<M, R>& s) {
  if constexpr (is_none<M>) {
    return eps_and_saved<none_t, decltype(to_input(s.rstd))>{none, to_input(s.rstd)};
  } else {
    return eps_and_saved<decltype(to_input(s.mean)), decltype(to_input(s.rstd))>{to_input(s.mean),
                                                                                 to_input(s.rstd)};
  }
}

/// Statistics of a backward call, so that one with a word that says where is never taken for one
/// without.
template <class A>
inline constexpr bool is_statistics = std::is_convertible_v<const A&, epsilon>;
template <class M, class R>
inline constexpr bool is_statistics<saved<M, R>> = true;
template <class A>
using if_statistics = std::enable_if_t<is_statistics<A>, int>;

/// The type of the arithmetic where the caller names none: double if a number is, else float.
struct deduced;
template <class T>
constexpr bool is_arithmetic() {
  constexpr bool wide_enough = std::is_same_v<T, float> || std::is_same_v<T, double>;
  static_assert(wide_enough, "rownorm: the arithmetic is done in float or double");
  return wide_enough;
}
template <class T, class... V>
struct arithmetic {
  using type = std::conditional_t<is_arithmetic<T>(), T, float>;
};
template <class... V>
struct arithmetic<deduced, V...> {
  using type = std::conditional_t<
      (std::is_same_v<typename number_of<std::remove_const_t<V>>::type, double> || ...), double,
      float>;
};

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
