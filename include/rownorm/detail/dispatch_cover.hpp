// SPDX-License-Identifier: MIT
// Which calls rownorm::dispatch covers, by the types that its kernels have for their arguments;
// never a value.
#pragma once

#include <cstddef>
#include <type_traits>

#include "arguments.hpp"
#include "dispatch_abi.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

namespace abi = dispatch::abi;

/// The type of what a call reads and writes as matrices; void where dispatch has no such.
template <class A>
struct number_in {
  using type = void;
};
template <class S, bool Tokens>
struct number_in<matrix<S, Tokens>> {
  using type = std::remove_const_t<S>;
};
template <class First, class Again>
struct number_in<input<First, Again>> : number_in<Again> {};
template <class Indices, class X, class R, class Again>
struct number_in<input<over_indexed<Indices, added_row, X, R>, Again>> {
  using type =
      std::conditional_t<std::is_same_v<typename number_in<X>::type, typename number_in<R>::type>,
                         typename number_in<R>::type, void>;
};
template <class Indices, class X, class Z, class Again>
struct number_in<input<over_indexed<Indices, gated_row, X, Z>, Again>> {
  using type = void;
};
template <class M>
struct number_in<written<M>> : number_in<M> {};
template <class Indices, class M>
struct number_in<over_indexed<Indices, sum_row, M>> : number_in<M> {};

/// gamma and its words, or beta.
template <class P>
struct gain_in {
  using type = void;
};
template <>
struct gain_in<no_parameter> {
  using type = none_t;
  static constexpr bool one_plus = false, after_rounding = false;
};
template <class G>
struct gain_in<parameter<G>> {
  using type = G;
  static constexpr bool one_plus = false, after_rounding = false;
};
template <class Indices, class P>
struct gain_in<over_indexed<Indices, one_plus_row, P>> : gain_in<P> {
  static constexpr bool one_plus = true;
};
template <class Indices, class P>
struct gain_in<over_indexed<Indices, after_rounding_row, P>> : gain_in<P> {
  static constexpr bool after_rounding = true;
};

template <class S, class G>
inline constexpr bool goes_with = is_none<G> || std::is_same_v<G, S> ||
                                  (std::is_same_v<G, float> && sizeof(S) == 2);

/// What is wrong is one error. Y: all its matrices but X.
template <class T, class X, class Gamma, class Beta, class... Y>
constexpr bool is_covered() {
  using S = typename number_in<X>::type;
  using G = typename gain_in<Gamma>::type;
  using B = typename gain_in<Beta>::type;
  constexpr bool one_type = !std::is_void_v<S> && !std::is_void_v<G> &&
                            (std::is_same_v<S, typename number_in<Y>::type> && ...);
  static_assert(one_type,
                "rownorm::dispatch: x, residual and y (dy, x and dx) must be of one type, and not "
                "quantized or gated; the calls of the headers take more");
  if constexpr (one_type) {
    constexpr bool gamma = goes_with<S, G>;
    static_assert(gamma,
                  "rownorm::dispatch: gamma must be of the type of x, or float beside a 16-bit x; "
                  "the calls of the headers take any");
    constexpr bool beta =
        !gamma || (goes_with<S, B> && (is_none<B> || is_none<G> || std::is_same_v<B, G>));
    static_assert(beta,
                  "rownorm::dispatch: beta must be of the type of gamma, or where gamma is none of "
                  "the type of x, or float beside a 16-bit x; the calls of the headers take any");
    constexpr bool one_word = !(gain_in<Gamma>::one_plus && gain_in<Gamma>::after_rounding);
    static_assert(one_word, "rownorm::dispatch: one_plus and after_rounding may not come together");
    constexpr bool types = gamma && beta;
    constexpr bool arithmetic =
        !types || std::is_same_v<T, std::conditional_t<std::is_same_v<S, double>, double, float>>;
    static_assert(arithmetic,
                  "rownorm::dispatch: the arithmetic is double for rows of double, else float; "
                  "the calls of the headers take either");
    return types && one_word && arithmetic;
  }
  return false;
}

/// The kernel's index of gamma, and of beta beside it.
template <class S, class Gamma>
constexpr abi::gain gain_index() {
  using G = typename gain_in<Gamma>::type;
  constexpr bool own = std::is_same_v<G, S>;
  // Of doubles nothing is rounded.
  constexpr bool after = gain_in<Gamma>::after_rounding && !std::is_same_v<S, double>;
  if (is_none<G>) return abi::no_gain;
  if (gain_in<Gamma>::one_plus) return own ? abi::own_plus : abi::single_plus;
  if (after) return own ? abi::own_after : abi::single_after;
  return own ? abi::own : abi::single;
}
template <class S, class Gamma, class Beta>
constexpr abi::shift shift_index() {
  using B = typename gain_in<Beta>::type;
  using G = typename gain_in<Gamma>::type;
  return std::is_same_v<std::conditional_t<is_none<B>, G, B>, float> && !std::is_same_v<S, float>
             ? abi::single_shift
             : abi::own_shift;
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
