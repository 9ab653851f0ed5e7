// SPDX-License-Identifier: MIT
// The calls with a first argument that says where they run: par, par_on(pool), columns(comm, D).
// The words stand in parallel.hpp and mpi.hpp, the contracts in rms_norm.hpp and layer_norm.hpp;
// never a loop.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "layer_norm.hpp"
#include "rms_norm.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {

namespace detail {

/// What runs the kernels for a word that says where, of the shape of `here`. Each word's header
/// gives its own. whole_rows: each of its threads or processes sees all of a row.
template <class Word>
struct runner {};

template <class Word, class = void>
inline constexpr bool is_where = false;
template <class Word>
inline constexpr bool is_where<Word, std::void_t<decltype(runner<Word>::whole_rows)>> = true;
template <class Word>
using if_where = std::enable_if_t<is_where<Word>, int>;

}  // namespace detail

/// The call of this name without `where`, run there. Its errors are thrown in the calling thread
/// before anything else happens; what else a word changes stands beside the word.
template <class T = detail::deduced, class Where, class X, class Gamma, class Y,
          class Rstd = const none_t&, detail::if_where<Where> = 0>
void rms_norm(const Where& where, const X& x, const Gamma& gamma, Y&& y, epsilon eps = 1e-6,
              Rstd&& rstd = none) {
  detail::checked_rms_norm<T>(detail::runner<Where>(where), "rms_norm", detail::to_input(x), none,
                              detail::whole_row, detail::to_parameter(gamma),
                              detail::to_result(std::forward<Y>(y)), eps,
                              detail::to_column(std::forward<Rstd>(rstd)));
}

/// The call of this name without `where`, run there.
template <class T = detail::deduced, class Where, class X, class Gamma, class Y, class Rstd,
          detail::if_where<Where> = 0>
void rms_norm(const Where& where, const X& x, const Gamma& gamma, Y&& y,
              const saved<none_t, Rstd>& statistics) {
  static_assert(detail::runner<Where>::whole_rows,
                "rownorm: with saved statistics a shard of columns needs no columns(comm, D)");
  detail::checked_rms_norm_given<T>(
      detail::runner<Where>(where), detail::to_input(x), detail::to_parameter(gamma),
      detail::to_result(std::forward<Y>(y)), detail::to_statistics(statistics));
}

/// The call of this name without `where`, run there.
template <class T = detail::deduced, class Where, class X, class Gamma, class Y,
          class Rstd = const none_t&, detail::if_where<Where> = 0>
void partial_rms_norm(const Where& where, const X& x, std::size_t k, const Gamma& gamma, Y&& y,
                      epsilon eps = 1e-6, Rstd&& rstd = none) {
  static_assert(detail::runner<Where>::whole_rows,
                "rownorm: partial_rms_norm has no meaning where rows are divided by columns");
  detail::checked_rms_norm<T>(detail::runner<Where>(where), "partial_rms_norm", detail::to_input(x),
                              none, k == detail::whole_row ? k - 1 : k, detail::to_parameter(gamma),
                              detail::to_result(std::forward<Y>(y)), eps,
                              detail::to_column(std::forward<Rstd>(rstd)));
}

/// The call of this name without `where`, run there.
template <class T = detail::deduced, class Where, class X, class Residual, class Gamma, class Y,
          class Rstd = const none_t&, detail::if_where<Where> = 0>
void add_rms_norm(const Where& where, const X& x, Residual&& residual, const Gamma& gamma, Y&& y,
                  epsilon eps = 1e-6, Rstd&& rstd = none) {
  detail::checked_rms_norm<T>(detail::runner<Where>(where), "add_rms_norm", detail::to_input(x),
                              detail::to_output(std::forward<Residual>(residual)),
                              detail::whole_row, detail::to_parameter(gamma),
                              detail::to_result(std::forward<Y>(y)), eps,
                              detail::to_column(std::forward<Rstd>(rstd)));
}

/// The call of this name without `where`, run there.
template <class T = detail::deduced, class Where, class X, class Z, class Gamma, class Y,
          detail::if_where<Where> = 0>
void gated_rms_norm(const Where& where, const X& x, const Z& z, const Gamma& gamma, Y&& y,
                    epsilon eps = 1e-6, gate_order order = gate_first) {
  detail::checked_gated_rms_norm<T>(detail::runner<Where>(where), detail::to_input(x),
                                    detail::to_input(z), detail::to_parameter(gamma),
                                    detail::to_output(std::forward<Y>(y)), eps, order);
}

/// The call of this name without `where`, run there.
template <class T = detail::deduced, class Where, class X, class Gamma, class Beta, class Y,
          class Mean = const none_t&, class Rstd = const none_t&, detail::if_where<Where> = 0>
void layer_norm(const Where& where, const X& x, const Gamma& gamma, const Beta& beta, Y&& y,
                epsilon eps = 1e-5, Mean&& mean = none, Rstd&& rstd = none) {
  detail::checked_layer_norm<T>(detail::runner<Where>(where), "layer_norm", detail::to_input(x),
                                none, detail::to_parameter(gamma), detail::to_parameter(beta),
                                detail::to_result(std::forward<Y>(y)), eps,
                                detail::to_column(std::forward<Mean>(mean)),
                                detail::to_column(std::forward<Rstd>(rstd)));
}

/// The call of this name without `where`, run there.
template <class T = detail::deduced, class Where, class X, class Gamma, class Beta, class Y,
          class Mean, class Rstd, detail::if_where<Where> = 0>
void layer_norm(const Where& where, const X& x, const Gamma& gamma, const Beta& beta, Y&& y,
                const saved<Mean, Rstd>& statistics) {
  static_assert(detail::runner<Where>::whole_rows,
                "rownorm: with saved statistics a shard of columns needs no columns(comm, D)");
  detail::checked_layer_norm_given<T>(detail::runner<Where>(where), detail::to_input(x),
                                      detail::to_parameter(gamma), detail::to_parameter(beta),
                                      detail::to_result(std::forward<Y>(y)),
                                      detail::to_statistics(statistics));
}

/// The call of this name without `where`, run there.
template <class T = detail::deduced, class Where, class X, class Residual, class Gamma, class Beta,
          class Y, class Mean = const none_t&, class Rstd = const none_t&,
          detail::if_where<Where> = 0>
void add_layer_norm(const Where& where, const X& x, Residual&& residual, const Gamma& gamma,
                    const Beta& beta, Y&& y, epsilon eps = 1e-5, Mean&& mean = none,
                    Rstd&& rstd = none) {
  detail::checked_layer_norm<T>(
      detail::runner<Where>(where), "add_layer_norm", detail::to_input(x),
      detail::to_output(std::forward<Residual>(residual)), detail::to_parameter(gamma),
      detail::to_parameter(beta), detail::to_result(std::forward<Y>(y)), eps,
      detail::to_column(std::forward<Mean>(mean)), detail::to_column(std::forward<Rstd>(rstd)));
}

/// The call of this name without `where`, run there.
template <class T = detail::deduced, class Where, class DY, class X, class Gamma, class DX,
          class DGamma, class Statistics = epsilon, detail::if_where<Where> = 0>
void rms_norm_backward(const Where& where, const DY& dy, const X& x, const Gamma& gamma, DX&& dx,
                       DGamma&& dgamma, const Statistics& statistics = 1e-6) {
  const auto to = detail::to_output(std::forward<DX>(dx));
  detail::checked_rms_norm_backward<T, detail::output<detail::bare<decltype(to)>>>(
      detail::runner<Where>(where), "rms_norm_backward", "x", "dx", detail::to_input(dy),
      detail::to_input(x), detail::to_parameter(gamma), to,
      detail::to_gradient(std::forward<DGamma>(dgamma)), detail::to_statistics(statistics));
}

/// The call of this name without `where`, run there.
template <class T = detail::deduced, class Where, class DY, class H, class Gamma, class DH,
          class DGamma, class Statistics = epsilon, detail::if_where<Where> = 0>
void add_rms_norm_backward(const Where& where, const DY& dy, const H& h, const Gamma& gamma,
                           DH&& dh, DGamma&& dgamma, const Statistics& statistics = 1e-6) {
  const auto to = detail::to_output(std::forward<DH>(dh));
  detail::checked_rms_norm_backward<T, detail::output_sum<detail::bare<decltype(to)>>>(
      detail::runner<Where>(where), "add_rms_norm_backward", "h", "dh", detail::to_input(dy),
      detail::to_input(h), detail::to_parameter(gamma), to,
      detail::to_gradient(std::forward<DGamma>(dgamma)), detail::to_statistics(statistics));
}

/// The call of this name without `where`, run there.
template <class T = detail::deduced, class Where, class DY, class X, class Gamma, class DX,
          class DGamma, class DBeta, class Statistics = epsilon, detail::if_where<Where> = 0>
void layer_norm_backward(const Where& where, const DY& dy, const X& x, const Gamma& gamma, DX&& dx,
                         DGamma&& dgamma, DBeta&& dbeta, const Statistics& statistics = 1e-5) {
  const auto to = detail::to_output(std::forward<DX>(dx));
  detail::checked_layer_norm_backward<T, detail::output<detail::bare<decltype(to)>>>(
      detail::runner<Where>(where), "layer_norm_backward", "x", "dx", detail::to_input(dy),
      detail::to_input(x), detail::to_parameter(gamma), to,
      detail::to_gradient(std::forward<DGamma>(dgamma)),
      detail::to_gradient(std::forward<DBeta>(dbeta)), detail::to_statistics(statistics));
}

/// The call of this name without `where`, run there.
template <class T = detail::deduced, class Where, class DY, class H, class Gamma, class DH,
          class DGamma, class DBeta, class Statistics = epsilon, detail::if_where<Where> = 0>
void add_layer_norm_backward(const Where& where, const DY& dy, const H& h, const Gamma& gamma,
                             DH&& dh, DGamma&& dgamma, DBeta&& dbeta,
                             const Statistics& statistics = 1e-5) {
  const auto to = detail::to_output(std::forward<DH>(dh));
  detail::checked_layer_norm_backward<T, detail::output_sum<detail::bare<decltype(to)>>>(
      detail::runner<Where>(where), "add_layer_norm_backward", "h", "dh", detail::to_input(dy),
      detail::to_input(h), detail::to_parameter(gamma), to,
      detail::to_gradient(std::forward<DGamma>(dgamma)),
      detail::to_gradient(std::forward<DBeta>(dbeta)), detail::to_statistics(statistics));
}

}  // namespace ROWNORM_ISA
}  // namespace rownorm
