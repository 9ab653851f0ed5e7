// SPDX-License-Identifier: MIT
// Both norms by one set of names, for the tests of their gradients: each with the arguments of
// LayerNorm's calls, its formula, and h_error, what the normalized number h may be off by in steps.
#pragma once

#include <rownorm/layer_norm.hpp>
#include <rownorm/rms_norm.hpp>
#include <string>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace norms {

struct rms_norm {
  static constexpr bool centred = false;
  static real h_error(real h) { return 2 * std::abs(h); }
  static reference::gradient gradient(const reference::row& dy, const reference::row& x,
                                      const reference::row& gamma, rn::epsilon eps) {
    return reference::rms_norm_backward(dy, x, gamma, eps);
  }
  template <class Mean, class Rstd>
  static auto saved(const Mean&, const Rstd& rstd) {
    return rn::saved(rstd);
  }
  template <class T, class X, class Gamma, class Beta, class Y, class Mean, class Rstd>
  static void forward(const X& x, const Gamma& gamma, const Beta&, Y& y, rn::epsilon eps, Mean&,
                      Rstd& rstd) {
    rn::rms_norm<T>(x, gamma, y, eps, rstd);
  }
  template <class T, class DY, class X, class Gamma, class DX, class DGamma, class DBeta,
            class Statistics>
  static void backward(const DY& dy, const X& x, const Gamma& gamma, DX&& dx, DGamma&& dgamma,
                       DBeta&&, const Statistics& statistics) {
    rn::rms_norm_backward<T>(dy, x, gamma, dx, dgamma, statistics);
  }
  template <class T, class DY, class H, class Gamma, class DH, class DGamma, class DBeta,
            class Statistics>
  static void add_backward(const DY& dy, const H& h, const Gamma& gamma, DH&& dh, DGamma&& dgamma,
                           DBeta&&, const Statistics& statistics) {
    rn::add_rms_norm_backward<T>(dy, h, gamma, dh, dgamma, statistics);
  }
};
struct layer_norm {
  static constexpr bool centred = true;
  static real h_error(real h) { return 4 * std::max(real{1}, std::abs(h)); }
  static reference::gradient gradient(const reference::row& dy, const reference::row& x,
                                      const reference::row& gamma, rn::epsilon eps) {
    return reference::layer_norm_backward(dy, x, gamma, eps);
  }
  template <class Mean, class Rstd>
  static auto saved(const Mean& mean, const Rstd& rstd) {
    return rn::saved(mean, rstd);
  }
  template <class T, class X, class Gamma, class Beta, class Y, class Mean, class Rstd>
  static void forward(const X& x, const Gamma& gamma, const Beta& beta, Y& y, rn::epsilon eps,
                      Mean& mean, Rstd& rstd) {
    rn::layer_norm<T>(x, gamma, beta, y, eps, mean, rstd);
  }
  template <class T, class DY, class X, class Gamma, class DX, class DGamma, class DBeta,
            class Statistics>
  static void backward(const DY& dy, const X& x, const Gamma& gamma, DX&& dx, DGamma&& dgamma,
                       DBeta&& dbeta, const Statistics& statistics) {
    rn::layer_norm_backward<T>(dy, x, gamma, dx, dgamma, dbeta, statistics);
  }
  template <class T, class DY, class H, class Gamma, class DH, class DGamma, class DBeta,
            class Statistics>
  static void add_backward(const DY& dy, const H& h, const Gamma& gamma, DH&& dh, DGamma&& dgamma,
                           DBeta&& dbeta, const Statistics& statistics) {
    rn::add_layer_norm_backward<T>(dy, h, gamma, dh, dgamma, dbeta, statistics);
  }
};
/// What GoogleTest calls them.
struct name {
  template <class Norm>
  static std::string GetName(int) {
    return Norm::centred ? "LayerNorm" : "RmsNorm";
  }
};

}  // namespace norms
