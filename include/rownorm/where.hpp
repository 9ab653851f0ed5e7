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

// Each is the call of its name without `where`, run there. Its errors are thrown in the calling
// thread before anything else happens; what else a word changes stands beside the word.

/// rownorm::rms_norm of the arguments behind `where`.
template <class T = detail::deduced, class Where, class X, class... A, detail::if_where<Where> = 0>
void rms_norm(const Where& where, const X& x, A&&... a) {
  detail::run_rms_norm<T>(detail::runner<Where>(where), "rms_norm", x, none, detail::whole_row,
                          std::forward<A>(a)...);
}
/// rownorm::partial_rms_norm of the arguments behind `where`.
template <class T = detail::deduced, class Where, class X, class... A, detail::if_where<Where> = 0>
void partial_rms_norm(const Where& where, const X& x, std::size_t k, A&&... a) {
  static_assert(detail::runner<Where>::whole_rows,
                "rownorm: partial_rms_norm has no meaning where rows are "
                "divided by columns");
  detail::run_rms_norm<T>(detail::runner<Where>(where), "partial_rms_norm", x, none,
                          detail::partial_length(k), std::forward<A>(a)...);
}
/// rownorm::add_rms_norm of the arguments behind `where`.
template <class T = detail::deduced, class Where, class X, class Residual, class... A,
          detail::if_where<Where> = 0>
void add_rms_norm(const Where& where, const X& x, Residual&& residual, A&&... a) {
  detail::run_rms_norm<T>(detail::runner<Where>(where), "add_rms_norm", x,
                          std::forward<Residual>(residual), detail::whole_row,
                          std::forward<A>(a)...);
}
/// rownorm::gated_rms_norm of the arguments behind `where`.
template <class T = detail::deduced, class Where, class... A, detail::if_where<Where> = 0>
void gated_rms_norm(const Where& where, A&&... a) {
  detail::run_gated_rms_norm<T>(detail::runner<Where>(where), std::forward<A>(a)...);
}
/// rownorm::rms_norm_backward of the arguments behind `where`.
template <class T = detail::deduced, class Where, class... A, detail::if_where<Where> = 0>
void rms_norm_backward(const Where& where, A&&... a) {
  detail::run_rms_norm_backward<T, false>(detail::runner<Where>(where), "rms_norm_backward", "x",
                                          "dx", std::forward<A>(a)...);
}
/// rownorm::add_rms_norm_backward of the arguments behind `where`.
template <class T = detail::deduced, class Where, class... A, detail::if_where<Where> = 0>
void add_rms_norm_backward(const Where& where, A&&... a) {
  detail::run_rms_norm_backward<T, true>(detail::runner<Where>(where), "add_rms_norm_backward", "h",
                                         "dh", std::forward<A>(a)...);
}
/// rownorm::layer_norm of the arguments behind `where`.
template <class T = detail::deduced, class Where, class X, class... A, detail::if_where<Where> = 0>
void layer_norm(const Where& where, const X& x, A&&... a) {
  detail::run_layer_norm<T>(detail::runner<Where>(where), "layer_norm", x, none,
                            std::forward<A>(a)...);
}
/// rownorm::add_layer_norm of the arguments behind `where`.
template <class T = detail::deduced, class Where, class... A, detail::if_where<Where> = 0>
void add_layer_norm(const Where& where, A&&... a) {
  detail::run_layer_norm<T>(detail::runner<Where>(where), "add_layer_norm", std::forward<A>(a)...);
}
/// rownorm::layer_norm_backward of the arguments behind `where`.
template <class T = detail::deduced, class Where, class... A, detail::if_where<Where> = 0>
void layer_norm_backward(const Where& where, A&&... a) {
  detail::run_layer_norm_backward<T, false>(detail::runner<Where>(where), "layer_norm_backward",
                                            "x", "dx", std::forward<A>(a)...);
}
/// rownorm::add_layer_norm_backward of the arguments behind `where`.
template <class T = detail::deduced, class Where, class... A, detail::if_where<Where> = 0>
void add_layer_norm_backward(const Where& where, A&&... a) {
  detail::run_layer_norm_backward<T, true>(detail::runner<Where>(where), "add_layer_norm_backward",
                                           "h", "dh", std::forward<A>(a)...);
}

}  // namespace ROWNORM_ISA
}  // namespace rownorm
