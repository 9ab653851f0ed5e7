// SPDX-License-Identifier: MIT
// The calls of rms_norm.hpp and layer_norm.hpp by code for the best ISA that the CPU has, whatever
// -m flags a program is built with. Needs the CMake target rownorm::dispatch; never a loop.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "detail/dispatch_abi.hpp"
#include "where.hpp"

namespace rownorm {

/// The forward calls below have the contracts, checks, errors and bits of those of the same names
/// in rms_norm.hpp and layer_norm.hpp, compiled for the ISA that isa() names. They cover rows (and
/// heads, Eigen, vectors) of float, double, Eigen::half and Eigen::bfloat16, where x, residual and
/// y are of one type, gamma and beta of that type too or, beside 16-bit rows, of float. The
/// arithmetic is double for rows of double, else float. Covered are the words none,
/// one_plus(gamma), after_rounding(gamma) (not both), streaming(y), cached(y) and
/// outside_root(eps), and rstd and mean of float or double. The rest does not compile: quantized,
/// other mixtures of types, rms_norm<double> of other rows, gated_rms_norm, the gradients, par,
/// columns.
namespace dispatch {

/// The ISA of this process: "avx512" (F, BW, CD, DQ, VL), "avx2" (with FMA and F16C), "neon" or
/// "base". It is chosen once, by the first call: the best that the library was built for and the
/// CPU runs, or the one that the environment variable ROWNORM_ISA names. Throws
/// std::invalid_argument (as do the calls) where that is none of them.
const char* isa();

}  // namespace dispatch

inline namespace ROWNORM_ISA {
namespace detail {

/// Where the calls of dispatch run.
struct by_isa {};

namespace abi = dispatch::abi;

template <class S>
using void_as = std::conditional_t<std::is_const_v<S>, const void, void>;
template <class S, std::size_t Length>
abi::matrix<void_as<S>> as_matrix(const rows<S, Length>& m) {
  return {m.data, m.stride, 1, m.length};
}
template <class S>
abi::matrix<void_as<S>> as_matrix(const heads<S>& m) {
  return {m.data, m.token_stride, m.heads_per_token, m.length};
}

template <class V>
using number_in = typename number_of<V>::type;

/// What a call reads and writes as matrices, by the types that the kernels have for it.
template <class A>
inline constexpr bool is_plain = false;
template <class X>
inline constexpr bool is_plain<input<X>> = true;
template <class Y>
inline constexpr bool is_plain<output<Y>> = true;
template <class X, class R>
inline constexpr bool is_plain<input_added<X, R>> = std::is_same_v<number_in<X>, number_in<R>>;
template <class X>
number_in<X> number_from(const input<X>&);
template <class X, class R>
number_in<X> number_from(const input_added<X, R>&);
template <class Y>
number_in<Y> number_from(const output<Y>&);
template <class A>
none_t number_from(const A&);

template <class S, class G>
inline constexpr bool goes_with = is_none<G> || std::is_same_v<G, S> ||
                                  (std::is_same_v<G, float> && sizeof(S) == 2);
template <class Gamma>
inline constexpr bool has_both_words = false;
template <class G>
inline constexpr bool has_both_words<parameter<G, true, true>> = true;

template <class A>
using number_of_rows = decltype(number_from(std::declval<const A&>()));

/// Whether a call is covered; what is wrong is one error.
template <class T, class X, class Gamma, class Beta, class Y>
constexpr bool is_covered() {
  using S = number_of_rows<X>;
  using G = typename Gamma::stored;
  using B = typename Beta::stored;
  constexpr bool one_type = is_plain<X> && is_plain<Y> && std::is_same_v<S, number_of_rows<Y>>;
  static_assert(one_type,
                "rownorm::dispatch: x, residual and y must be of one type, and not quantized; the "
                "calls of the headers take more");
  constexpr bool gamma = !one_type || goes_with<S, G>;
  static_assert(gamma,
                "rownorm::dispatch: gamma must be of the type of x, or float beside a 16-bit x; "
                "the calls of the headers take any");
  constexpr bool beta = !one_type || !gamma ||
                        (goes_with<S, B> && (is_none<B> || is_none<G> || std::is_same_v<B, G>));
  static_assert(beta,
                "rownorm::dispatch: beta must be of the type of gamma, or where gamma is none of "
                "the type of x, or float beside a 16-bit x; the calls of the headers take any");
  constexpr bool one_word = !has_both_words<Gamma>;
  static_assert(one_word, "rownorm::dispatch: one_plus and after_rounding may not come together");
  constexpr bool types = one_type && gamma && beta;
  constexpr bool arithmetic =
      !types || std::is_same_v<T, std::conditional_t<std::is_same_v<S, double>, double, float>>;
  static_assert(arithmetic,
                "rownorm::dispatch: the arithmetic is double for rows of double, else float; the "
                "calls of the headers take either");
  return types && one_word && arithmetic;
}

template <class S, class Gamma>
struct gain_index {};
template <class S, class G, bool OnePlus, bool AfterRounding>
struct gain_index<S, parameter<G, OnePlus, AfterRounding>> {
  static constexpr bool own = std::is_same_v<G, S>;
  static constexpr bool after = AfterRounding && !std::is_same_v<S, double>;  // else nothing rounds
  static constexpr abi::gain value = is_none<G> ? abi::no_gain
                                     : OnePlus  ? own ? abi::own_plus : abi::single_plus
                                     : after    ? own ? abi::own_after : abi::single_after
                                     : own      ? abi::own
                                                : abi::single;
};
template <class S, class Gamma, class Beta>
struct shift_index {
  using B = typename Beta::stored;
  using G = typename Gamma::stored;
  static constexpr bool single =
      std::is_same_v<std::conditional_t<is_none<B>, G, B>, float> && !std::is_same_v<S, float>;
  static constexpr abi::shift value = single ? abi::single_shift : abi::own_shift;
};

template <class P>
abi::parameter as_parameter(const P& p) {
  return {p.data, p.length, p.heads};
}
template <class S>
abi::column<void_as<S>> as_column(S* data) {
  using number = std::remove_const_t<S>;
  static_assert(is_none<number> || std::is_same_v<number, float> || std::is_same_v<number, double>,
                "rownorm: a number per row (mean, rstd) is kept as float or double");
  return {data, std::is_same_v<number, double>};
}

template <class X>
void enter(abi::forward& call, const input<X>& x) {
  call.x = as_matrix(x.x);
}
template <class X, class R>
void enter(abi::forward& call, const input_added<X, R>& x) {
  call.x = as_matrix(x.x);
  call.residual = as_matrix(x.residual);
}

template <>
struct runner<by_isa> {
  static constexpr bool whole_rows = true;
  explicit runner(by_isa) {}

  template <class T, class X, class Gamma, class Y, class Rstd>
  void rms_norm(std::size_t count, std::size_t n, std::size_t k, const X& x, const Gamma& gamma,
                const Y& y, epsilon eps, const Rstd& rstd) const {
    if constexpr (is_covered<T, X, Gamma, no_parameter, Y>()) {
      using S = number_of_rows<X>;
      constexpr abi::gain g = gain_index<S, Gamma>::value;
      static_assert(abi::covered(abi::number_of<S>, g));
      const abi::forward call = forward_call(count, n, k, x, gamma, no_parameter{}, y, eps,
                                             column<none_t>{nullptr}, rstd);
      if (count != 0 && n != 0) abi::chosen().rms_norm[abi::number_of<S>][g](call);
    }
  }

  template <class T, class X, class Gamma, class Beta, class Y, class Mean, class Rstd>
  void layer_norm(std::size_t count, std::size_t n, const X& x, const Gamma& gamma,
                  const Beta& beta, const Y& y, epsilon eps, const Mean& mean,
                  const Rstd& rstd) const {
    if constexpr (is_covered<T, X, Gamma, Beta, Y>()) {
      using S = number_of_rows<X>;
      constexpr abi::gain g = gain_index<S, Gamma>::value;
      constexpr abi::shift b = shift_index<S, Gamma, Beta>::value;
      static_assert(abi::covered(abi::number_of<S>, g, b));
      const abi::forward call = forward_call(count, n, n, x, gamma, beta, y, eps, mean, rstd);
      if (count != 0 && n != 0) abi::chosen().layer_norm[abi::number_of<S>][g][b](call);
    }
  }

 private:
  template <class X, class Gamma, class Beta, class Y, class Mean, class Rstd>
  static abi::forward forward_call(std::size_t count, std::size_t n, std::size_t k, const X& x,
                                   const Gamma& gamma, const Beta& beta, const Y& y, epsilon eps,
                                   const Mean& mean, const Rstd& rstd) {
    abi::forward call{count,
                      n,
                      k,
                      {},
                      {},
                      as_matrix(y.y),
                      as_parameter(gamma),
                      as_parameter(beta),
                      as_column(mean.data),
                      as_column(rstd.data),
                      eps,
                      y.streaming};
    enter(call, x);
    return call;
  }
};

}  // namespace detail
}  // namespace ROWNORM_ISA

namespace dispatch {
inline namespace ROWNORM_ISA {

/// rownorm::rms_norm by the code of isa().
template <class T = detail::deduced, class X, class Gamma, class Y, class Rstd = const none_t&>
void rms_norm(const X& x, const Gamma& gamma, Y&& y, epsilon eps = 1e-6, Rstd&& rstd = none) {
  rownorm::rms_norm<T>(detail::by_isa{}, x, gamma, std::forward<Y>(y), eps,
                       std::forward<Rstd>(rstd));
}

/// rownorm::partial_rms_norm by the code of isa().
template <class T = detail::deduced, class X, class Gamma, class Y, class Rstd = const none_t&>
void partial_rms_norm(const X& x, std::size_t k, const Gamma& gamma, Y&& y, epsilon eps = 1e-6,
                      Rstd&& rstd = none) {
  rownorm::partial_rms_norm<T>(detail::by_isa{}, x, k, gamma, std::forward<Y>(y), eps,
                               std::forward<Rstd>(rstd));
}

/// rownorm::add_rms_norm by the code of isa().
template <class T = detail::deduced, class X, class Residual, class Gamma, class Y,
          class Rstd = const none_t&>
void add_rms_norm(const X& x, Residual&& residual, const Gamma& gamma, Y&& y, epsilon eps = 1e-6,
                  Rstd&& rstd = none) {
  rownorm::add_rms_norm<T>(detail::by_isa{}, x, std::forward<Residual>(residual), gamma,
                           std::forward<Y>(y), eps, std::forward<Rstd>(rstd));
}

/// rownorm::layer_norm by the code of isa().
template <class T = detail::deduced, class X, class Gamma, class Beta, class Y,
          class Mean = const none_t&, class Rstd = const none_t&>
void layer_norm(const X& x, const Gamma& gamma, const Beta& beta, Y&& y, epsilon eps = 1e-5,
                Mean&& mean = none, Rstd&& rstd = none) {
  rownorm::layer_norm<T>(detail::by_isa{}, x, gamma, beta, std::forward<Y>(y), eps,
                         std::forward<Mean>(mean), std::forward<Rstd>(rstd));
}

/// rownorm::add_layer_norm by the code of isa().
template <class T = detail::deduced, class X, class Residual, class Gamma, class Beta, class Y,
          class Mean = const none_t&, class Rstd = const none_t&>
void add_layer_norm(const X& x, Residual&& residual, const Gamma& gamma, const Beta& beta, Y&& y,
                    epsilon eps = 1e-5, Mean&& mean = none, Rstd&& rstd = none) {
  rownorm::add_layer_norm<T>(detail::by_isa{}, x, std::forward<Residual>(residual), gamma, beta,
                             std::forward<Y>(y), eps, std::forward<Mean>(mean),
                             std::forward<Rstd>(rstd));
}

}  // namespace ROWNORM_ISA
}  // namespace dispatch
}  // namespace rownorm
