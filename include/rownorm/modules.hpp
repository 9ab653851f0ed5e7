// SPDX-License-Identifier: MIT
// RMSNorm<T> and LayerNorm<T>: learnable parameters, their gradients, and what backward needs of
// forward; no arithmetic.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "layer_norm.hpp"
#include "rms_norm.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {

/// A learnable vector of D numbers.
template <class T>
using parameter_vector = Eigen::Matrix<T, 1, Eigen::Dynamic>;

/// What a gradient is kept in: double for double, float for all else.
template <class T>
using gradient_vector =
    parameter_vector<std::conditional_t<std::is_same_v<T, double>, double, float>>;

namespace detail {

inline Eigen::Index checked_size(const char* module, std::size_t D, epsilon eps) {
  const checks check(module);
  if (D > static_cast<std::size_t>(PTRDIFF_MAX) / sizeof(double))
    check.miss("D is %zu, more than memory can hold", D);
  check.eps(eps);
  return static_cast<Eigen::Index>(D);
}

/// The rows that forward saw are the rows that backward is given.
template <class X>
void check_saved(const char* function, const X& x, std::size_t rows) {
  const argument seen_x = seen("x", to_input(x));
  if (seen_x.count != rows)
    checks(function).miss("x has %zu row%s, the last forward had %zu", seen_x.count,
                          seen_x.count == 1 ? "" : "s", rows);
}

/// A number for each row of x, beside those of the last forward, which a call that throws must not
/// change. What x says of itself is checked first, or its count might be of rows that no memory
/// holds.
template <class X>
void column_for(const char* function, const X& x, std::vector<double>& column) {
  const auto rows = to_input(x);
  checks(function).memory(seen("x", rows));
  column.resize(rows.count);
}

}  // namespace detail

/// RMSNorm over rows of D numbers with a learnable gain, gamma = ones(D) at first. T: the type
/// gamma is kept in (float, double, Eigen::half, Eigen::bfloat16); gradients are float, or double
/// for double. forward keeps one number per row (and allocates for it); the caller keeps x for
/// backward.
template <class T = float>
class RMSNorm {
 public:
  /// gamma = ones(D). Throws std::invalid_argument where eps is negative or not finite.
  explicit RMSNorm(std::size_t D, epsilon eps = 1e-6)
      : gamma_(parameter_vector<T>::Ones(detail::checked_size("RMSNorm", D, eps))),
        dgamma_(gradient_vector<T>::Zero(gamma_.size())),
        eps_(eps) {}

  /// y = rms_norm(x, gamma, y, eps); x and y as there. y may be x only where no backward follows.
  /// Of a const module it keeps nothing and allocates nothing: inference.
  template <class X, class Y>
  void forward(const X& x, Y&& y) const {
    rms_norm(x, gamma_, std::forward<Y>(y), eps_);
  }
  /// The same, and it keeps the 1/rms of each row for backward.
  template <class X, class Y>
  void forward(const X& x, Y&& y) {
    detail::column_for("rms_norm", x, next_rstd_);
    rms_norm(x, gamma_, std::forward<Y>(y), eps_, next_rstd_);
    rstd_.swap(next_rstd_);
  }
  /// residual += x, y = rms_norm(residual, gamma, y, eps): the caller keeps the residual as it is
  /// then.
  template <class X, class Residual, class Y>
  void add_forward(const X& x, Residual&& residual, Y&& y) {
    detail::column_for("add_rms_norm", x, next_rstd_);
    add_rms_norm(x, std::forward<Residual>(residual), gamma_, std::forward<Y>(y), eps_, next_rstd_);
    rstd_.swap(next_rstd_);
  }
  /// dx = the gradient at the x of the last forward; dgamma() is added to.
  template <class DY, class X, class DX>
  void backward(const DY& dy, const X& x, DX&& dx) {
    detail::check_saved("RMSNorm::backward", x, rstd_.size());
    if (eps_.outside) rms_norm_backward(dy, x, gamma_, std::forward<DX>(dx), dgamma_, eps_);
    else rms_norm_backward(dy, x, gamma_, std::forward<DX>(dx), dgamma_, saved(rstd_));
  }
  /// dh += the gradient at h, the residual after the last add_forward; dgamma() is added to.
  template <class DY, class H, class DH>
  void add_backward(const DY& dy, const H& h, DH&& dh) {
    detail::check_saved("RMSNorm::add_backward", h, rstd_.size());
    if (eps_.outside) add_rms_norm_backward(dy, h, gamma_, std::forward<DH>(dh), dgamma_, eps_);
    else add_rms_norm_backward(dy, h, gamma_, std::forward<DH>(dh), dgamma_, saved(rstd_));
  }
  /// Sets the gradient to zero, before the backward calls of a step.
  void zero_grad() { dgamma_.setZero(); }

  /// The gain, to train.
  parameter_vector<T>& gamma() noexcept { return gamma_; }
  /// The gain, to read.
  const parameter_vector<T>& gamma() const noexcept { return gamma_; }
  /// The gradient of gamma since the last zero_grad.
  gradient_vector<T>& dgamma() noexcept { return dgamma_; }
  /// The same, to read.
  const gradient_vector<T>& dgamma() const noexcept { return dgamma_; }
  /// What the constructor was given.
  epsilon eps() const noexcept { return eps_; }

 private:
  parameter_vector<T> gamma_;
  gradient_vector<T> dgamma_;
  std::vector<double> rstd_, next_rstd_;
  epsilon eps_;
};

/// LayerNorm over rows of D numbers with a learnable gain and shift, gamma = ones(D) and
/// beta = zeros(D) at first. The rest as for RMSNorm; forward keeps two numbers per row.
template <class T = float>
class LayerNorm {
 public:
  /// gamma = ones(D), beta = zeros(D). Errors as for RMSNorm.
  explicit LayerNorm(std::size_t D, epsilon eps = 1e-5)
      : gamma_(parameter_vector<T>::Ones(detail::checked_size("LayerNorm", D, eps))),
        beta_(parameter_vector<T>::Zero(gamma_.size())),
        dgamma_(gradient_vector<T>::Zero(gamma_.size())),
        dbeta_(gradient_vector<T>::Zero(gamma_.size())),
        eps_(eps) {}

  /// y = layer_norm(x, gamma, beta, y, eps); x and y as there. y may be x only where no backward
  /// follows. Of a const module it keeps nothing and allocates nothing: inference.
  template <class X, class Y>
  void forward(const X& x, Y&& y) const {
    layer_norm(x, gamma_, beta_, std::forward<Y>(y), eps_);
  }
  /// The same, and it keeps the mean and rstd of each row for backward.
  template <class X, class Y>
  void forward(const X& x, Y&& y) {
    detail::column_for("layer_norm", x, next_mean_);
    detail::column_for("layer_norm", x, next_rstd_);
    layer_norm(x, gamma_, beta_, std::forward<Y>(y), eps_, next_mean_, next_rstd_);
    keep();
  }
  /// residual += x, y = layer_norm(residual, gamma, beta, y, eps): the caller keeps the residual.
  template <class X, class Residual, class Y>
  void add_forward(const X& x, Residual&& residual, Y&& y) {
    detail::column_for("add_layer_norm", x, next_mean_);
    detail::column_for("add_layer_norm", x, next_rstd_);
    add_layer_norm(x, std::forward<Residual>(residual), gamma_, beta_, std::forward<Y>(y), eps_,
                   next_mean_, next_rstd_);
    keep();
  }
  /// dx = the gradient at the x of the last forward; dgamma() and dbeta() are added to.
  template <class DY, class X, class DX>
  void backward(const DY& dy, const X& x, DX&& dx) {
    detail::check_saved("LayerNorm::backward", x, rstd_.size());
    if (eps_.outside)
      layer_norm_backward(dy, x, gamma_, std::forward<DX>(dx), dgamma_, dbeta_, eps_);
    else
      layer_norm_backward(dy, x, gamma_, std::forward<DX>(dx), dgamma_, dbeta_,
                          saved(mean_, rstd_));
  }
  /// dh += the gradient at h, the residual after the last add_forward; dgamma() and dbeta() are
  /// added to.
  template <class DY, class H, class DH>
  void add_backward(const DY& dy, const H& h, DH&& dh) {
    detail::check_saved("LayerNorm::add_backward", h, rstd_.size());
    if (eps_.outside)
      add_layer_norm_backward(dy, h, gamma_, std::forward<DH>(dh), dgamma_, dbeta_, eps_);
    else
      add_layer_norm_backward(dy, h, gamma_, std::forward<DH>(dh), dgamma_, dbeta_,
                              saved(mean_, rstd_));
  }
  /// Sets the gradients to zero, before the backward calls of a step.
  void zero_grad() {
    dgamma_.setZero();
    dbeta_.setZero();
  }

  /// The gain, to train.
  parameter_vector<T>& gamma() noexcept { return gamma_; }
  /// The gain, to read.
  const parameter_vector<T>& gamma() const noexcept { return gamma_; }
  /// The shift, to train.
  parameter_vector<T>& beta() noexcept { return beta_; }
  /// The shift, to read.
  const parameter_vector<T>& beta() const noexcept { return beta_; }
  /// The gradient of gamma since the last zero_grad.
  gradient_vector<T>& dgamma() noexcept { return dgamma_; }
  /// The same, to read.
  const gradient_vector<T>& dgamma() const noexcept { return dgamma_; }
  /// The gradient of beta since the last zero_grad.
  gradient_vector<T>& dbeta() noexcept { return dbeta_; }
  /// The same, to read.
  const gradient_vector<T>& dbeta() const noexcept { return dbeta_; }
  /// What the constructor was given.
  epsilon eps() const noexcept { return eps_; }

 private:
  void keep() noexcept {
    mean_.swap(next_mean_);
    rstd_.swap(next_rstd_);
  }

  parameter_vector<T> gamma_, beta_;
  gradient_vector<T> dgamma_, dbeta_;
  std::vector<double> mean_, rstd_, next_mean_, next_rstd_;
  epsilon eps_;
};

}  // namespace ROWNORM_ISA
}  // namespace rownorm
