// SPDX-License-Identifier: MIT
// Calls with an argument left out, each of which is one error that names it; never a call that
// compiles.
#pragma once

#include "config.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {
struct deduced;
template <class...>
inline constexpr bool is_right = false;
}  // namespace detail

template <class T = detail::deduced, class X, class Y>
void rms_norm(const X&, Y&&) {
  static_assert(detail::is_right<Y>,
                "rownorm: gamma is missing: rms_norm(x, gamma, y), or none in its place");
}
template <class T = detail::deduced, class X, class Residual, class Y>
void add_rms_norm(const X&, Residual&&, Y&&) {
  static_assert(detail::is_right<Y>,
                "rownorm: gamma is missing: add_rms_norm(x, residual, gamma, y), or none in its "
                "place");
}
template <class T = detail::deduced, class DY, class X, class Gamma, class DX>
void rms_norm_backward(const DY&, const X&, const Gamma&, DX&&) {
  static_assert(detail::is_right<DX>,
                "rownorm: dgamma is missing: rms_norm_backward(dy, x, gamma, dx, dgamma), or none "
                "in its place");
}
template <class T = detail::deduced, class X, class Gamma, class Y>
void layer_norm(const X&, const Gamma&, Y&&) {
  static_assert(detail::is_right<Y>,
                "rownorm: beta is missing: layer_norm(x, gamma, beta, y), or none in its place");
}
template <class T = detail::deduced, class X, class Residual, class Gamma, class Y>
void add_layer_norm(const X&, Residual&&, const Gamma&, Y&&) {
  static_assert(detail::is_right<Y>,
                "rownorm: beta is missing: add_layer_norm(x, residual, gamma, beta, y), or none in "
                "its place");
}
template <class T = detail::deduced, class DY, class X, class Gamma, class DX, class DGamma>
void layer_norm_backward(const DY&, const X&, const Gamma&, DX&&, DGamma&&) {
  static_assert(detail::is_right<DX>,
                "rownorm: dbeta is missing: layer_norm_backward(dy, x, gamma, dx, dgamma, dbeta), "
                "or none in its place");
}

}  // namespace ROWNORM_ISA
}  // namespace rownorm
