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

/// The calls below have the contracts, checks, errors, scratch and bits of those of the same names
/// in rms_norm.hpp and layer_norm.hpp, compiled for the ISA that isa() names. They cover rows (and
/// heads, Eigen, vectors) of float, double, Eigen::half and Eigen::bfloat16, where x, residual and
/// y (dy, x and dx, or dy, h and dh) are of one type, gamma and beta of that type too or, beside
/// 16-bit rows, of float; dgamma and dbeta of any. The arithmetic is double for rows of double,
/// else float. Covered are the words none, one_plus(gamma), after_rounding(gamma) (not both),
/// streaming(y), cached(y), outside_root(eps) and, in a gradient, saved(rstd) and
/// saved(mean, rstd); rstd and mean of float or double. The rest does not compile: quantized, other
/// mixtures of types, rms_norm<double> of other rows, gated_rms_norm, saved in a forward call, par,
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
template <class Y>
inline constexpr bool is_plain<output_sum<Y>> = true;
template <class X, class R>
inline constexpr bool is_plain<input_added<X, R>> = std::is_same_v<number_in<X>, number_in<R>>;
template <class X>
number_in<X> number_from(const input<X>&);
template <class X, class R>
number_in<X> number_from(const input_added<X, R>&);
template <class Y>
number_in<Y> number_from(const output<Y>&);
template <class Y>
number_in<Y> number_from(const output_sum<Y>&);
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

/// Whether a call is covered; what is wrong is one error. Y: all its matrices but X.
template <class T, class X, class Gamma, class Beta, class... Y>
constexpr bool is_covered() {
  using S = number_of_rows<X>;
  using G = typename Gamma::stored;
  using B = typename Beta::stored;
  constexpr bool one_type =
      is_plain<X> && ((is_plain<Y> && std::is_same_v<S, number_of_rows<Y>>)&&...);
  static_assert(one_type,
                "rownorm::dispatch: x, residual and y (dy, x and dx) must be of one type, and not "
                "quantized; the calls of the headers take more");
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

template <class DX>
void enter(abi::backward& call, const output<DX>& dx) {
  call.dx = as_matrix(dx.y);
  call.streaming = dx.streaming;
}
template <class DX>
void enter(abi::backward& call, const output_sum<DX>& dx) {
  call.dx = as_matrix(dx.y);
  call.adds = true;
}
inline void enter(abi::backward& call, const from_x& statistics) {
  call.eps = statistics.eps;
}
template <class M, class R>
void enter(abi::backward& call, const from_saved<M, R>& statistics) {
  call.mean = as_column(statistics.mean);
  call.rstd = as_column(statistics.rstd);
}

template <class G, bool OnePlus, bool AfterRounding>
constexpr bool adds_one(const parameter<G, OnePlus, AfterRounding>&) {
  return OnePlus && !is_none<G>;
}
template <class T>
abi::sums as_sums(const row_sums<T>& s) {
  return {s.partial, s.total, s.length, s.heads, std::is_same_v<T, double>};
}
inline abi::sums as_sums(const row_sums<none_t>&) {
  return {};
}
template <class D>
void add_total(const abi::kernels& kernels, const abi::sums& sums, const D& gradient) {
  kernels.add_total[abi::number_of<number_in<D>>](sums, gradient.data, gradient.stride);
}
inline void add_total(const abi::kernels&, const abi::sums&, none_t) {}

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

  template <class T, class DY, class X, class Gamma, class DX, class DGamma, class Statistics>
  void rms_norm_backward(std::size_t count, std::size_t n, const DY& dy, const X& x,
                         const Gamma& gamma, const DX& dx, const DGamma& dgamma,
                         const Statistics& statistics) const {
    backward<T>(&abi::kernels::rms_norm_backward, count, n, dy, x, gamma, dx, dgamma, none,
                statistics);
  }
  template <class T, class DY, class X, class Gamma, class DX, class DGamma, class DBeta,
            class Statistics>
  void layer_norm_backward(std::size_t count, std::size_t n, const DY& dy, const X& x,
                           const Gamma& gamma, const DX& dx, const DGamma& dgamma,
                           const DBeta& dbeta, const Statistics& statistics) const {
    backward<T>(&abi::kernels::layer_norm_backward, count, n, dy, x, gamma, dx, dgamma, dbeta,
                statistics);
  }

 private:
  template <class T, class Table, class DY, class X, class Gamma, class DX, class DGamma,
            class DBeta, class Statistics>
  static void backward(Table table, std::size_t count, std::size_t n, const DY& dy, const X& x,
                       const Gamma& gamma, const DX& dx, const DGamma& dgamma, const DBeta& dbeta,
                       const Statistics& statistics) {
    if constexpr (is_covered<T, X, Gamma, no_parameter, DY, DX>()) {
      if (count == 0 || n == 0) return;
      const abi::kernels& kernels = abi::chosen();
      using S = number_of_rows<X>;
      constexpr abi::shift g = shift_index<S, Gamma, no_parameter>::value;
      static_assert(abi::covered(abi::number_of<S>, g));
      scratch<T, DGamma> gamma_sums(dgamma, count);
      scratch<T, DBeta> beta_sums(dbeta, count);
      abi::backward call{count,
                         n,
                         as_matrix(dy.x),
                         as_matrix(x.x),
                         as_parameter(gamma),
                         adds_one(gamma),
                         as_sums(gamma_sums.sums()),
                         as_sums(beta_sums.sums())};
      enter(call, dx);
      enter(call, statistics);
      (kernels.*table)[abi::number_of<S>][g](call);
      if (!gamma_sums.in_gradient()) add_total(kernels, call.dgamma, dgamma);
      if (!beta_sums.in_gradient()) add_total(kernels, call.dbeta, dbeta);
    }
  }

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

/// rownorm::rms_norm_backward by the code of isa().
template <class T = detail::deduced, class DY, class X, class Gamma, class DX, class DGamma,
          class Statistics = epsilon>
void rms_norm_backward(const DY& dy, const X& x, const Gamma& gamma, DX&& dx, DGamma&& dgamma,
                       const Statistics& statistics = 1e-6) {
  rownorm::rms_norm_backward<T>(detail::by_isa{}, dy, x, gamma, std::forward<DX>(dx),
                                std::forward<DGamma>(dgamma), statistics);
}

/// rownorm::add_rms_norm_backward by the code of isa().
template <class T = detail::deduced, class DY, class H, class Gamma, class DH, class DGamma,
          class Statistics = epsilon>
void add_rms_norm_backward(const DY& dy, const H& h, const Gamma& gamma, DH&& dh, DGamma&& dgamma,
                           const Statistics& statistics = 1e-6) {
  rownorm::add_rms_norm_backward<T>(detail::by_isa{}, dy, h, gamma, std::forward<DH>(dh),
                                    std::forward<DGamma>(dgamma), statistics);
}

/// rownorm::layer_norm_backward by the code of isa().
template <class T = detail::deduced, class DY, class X, class Gamma, class DX, class DGamma,
          class DBeta, class Statistics = epsilon>
void layer_norm_backward(const DY& dy, const X& x, const Gamma& gamma, DX&& dx, DGamma&& dgamma,
                         DBeta&& dbeta, const Statistics& statistics = 1e-5) {
  rownorm::layer_norm_backward<T>(detail::by_isa{}, dy, x, gamma, std::forward<DX>(dx),
                                  std::forward<DGamma>(dgamma), std::forward<DBeta>(dbeta),
                                  statistics);
}

/// rownorm::add_layer_norm_backward by the code of isa().
template <class T = detail::deduced, class DY, class H, class Gamma, class DH, class DGamma,
          class DBeta, class Statistics = epsilon>
void add_layer_norm_backward(const DY& dy, const H& h, const Gamma& gamma, DH&& dh, DGamma&& dgamma,
                             DBeta&& dbeta, const Statistics& statistics = 1e-5) {
  rownorm::add_layer_norm_backward<T>(detail::by_isa{}, dy, h, gamma, std::forward<DH>(dh),
                                      std::forward<DGamma>(dgamma), std::forward<DBeta>(dbeta),
                                      statistics);
}

}  // namespace ROWNORM_ISA
}  // namespace dispatch
}  // namespace rownorm
