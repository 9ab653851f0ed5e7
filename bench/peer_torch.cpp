// SPDX-License-Identifier: MIT
// libtorch: its layer_norm and the gradient, and RMSNorm as models write it in eager
// PyTorch.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <memory>
#include <tuple>

#include "contender.hpp"

namespace bench {

namespace {

at::ScalarType torch_type(type t) {
  switch (t) {
    case type::f32:
      return at::kFloat;
    case type::f64:
      return at::kDouble;
    case type::bf16:
      return at::kBFloat16;
    default:
      return at::kHalf;
  }
}

/// A view of n numbers, or of rows of n.
at::Tensor tensor(const std::byte* data, at::IntArrayRef sizes, type t) {
  return at::from_blob(const_cast<std::byte*>(data), sizes, torch_type(t));
}

/// dx, dgamma and dbeta, from the statistics that the forward call gave.
contender backward_peer(const problem& p, op what, std::int64_t n, const at::Tensor& x,
                        const at::Tensor& gamma, const at::Tensor& beta) {
  const at::Tensor dy = tensor(p.dy<std::byte>(), x.sizes(), p.numbers);
  const auto forward = at::native_layer_norm(x, {n}, gamma, beta, epsilon(what));
  const auto gradients = std::make_shared<std::tuple<at::Tensor, at::Tensor, at::Tensor>>();
  const auto f = [=, threads = peer_threads, mean = std::get<1>(forward),
                  rstd = std::get<2>(forward)] {
    at::set_num_threads(threads);
    *gradients =
        at::native_layer_norm_backward(dy, x, {n}, mean, rstd, gamma, beta, {true, true, true});
  };
  const auto result = [=, type = p.numbers == type::f64 ? at::kDouble : at::kFloat]() -> answer {
    auto& [dx, dgamma, dbeta] = *gradients;
    dgamma = dgamma.to(type);
    dbeta = dbeta.to(type);
    return {dx.data_ptr(), nullptr, dgamma.data_ptr(), dbeta.data_ptr(), nullptr};
  };
  return peer("libtorch", p, what, f, result);
}

}  // namespace

std::vector<contender> torch_peers(const problem& p, op what) {
  at::set_num_threads(peer_threads);
  const auto rows = static_cast<std::int64_t>(p.rows), n = static_cast<std::int64_t>(p.length);
  const at::Tensor x = tensor(p.x<std::byte>(), {rows, n}, p.numbers);
  const at::Tensor gamma = tensor(p.gamma<std::byte>(), {n}, p.numbers);
  const at::Tensor beta = tensor(p.beta<std::byte>(), {n}, p.numbers);
  const auto y = std::make_shared<at::Tensor>();
  const auto result = [y]() -> answer { return {y->data_ptr(), {}, {}, {}, {}}; };
  const double eps = epsilon(what);
  const at::ScalarType arithmetic = p.numbers == type::f64 ? at::kDouble : at::kFloat;
  if (centred(what)) {
    if (p.numbers == type::f16 || adds(what)) return {};  // 1.13 has no fp16 kernel for the CPU
    if (backward(what)) return {backward_peer(p, what, n, x, gamma, beta)};
    return {peer(
        "libtorch", p, what,
        [=, threads = peer_threads] {
          at::set_num_threads(threads);
          *y = at::layer_norm(x, {n}, gamma, beta, eps, false);
        },
        result)};
  }
  if (what != op::rms_norm) return {};
  return {peer(
      "libtorch eager", p, what,
      [=, threads = peer_threads] {
        at::set_num_threads(threads);
        const at::Tensor v = x.to(arithmetic);
        const at::Tensor r = at::rsqrt(v.pow(2).mean(-1, true) + eps);
        *y = gamma * (v * r).to(x.scalar_type());
      },
      result)};
}

}  // namespace bench
