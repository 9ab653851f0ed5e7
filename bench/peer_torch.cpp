// SPDX-License-Identifier: MIT
// libtorch on one thread: its layer_norm, and RMSNorm as models write it in eager PyTorch.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <memory>

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

}  // namespace

std::vector<contender> torch_peers(const problem& p, op what) {
  at::set_num_threads(1);
  const auto rows = static_cast<std::int64_t>(p.rows), n = static_cast<std::int64_t>(p.length);
  const at::Tensor x = tensor(p.x<std::byte>(), {rows, n}, p.numbers);
  const at::Tensor gamma = tensor(p.gamma<std::byte>(), {n}, p.numbers);
  const at::Tensor beta = tensor(p.beta<std::byte>(), {n}, p.numbers);
  const auto y = std::make_shared<at::Tensor>();
  const auto answer = [y]() -> const void* { return y->data_ptr(); };
  const double eps = epsilon(what);
  const at::ScalarType arithmetic = p.numbers == type::f64 ? at::kDouble : at::kFloat;
  if (what == op::layer_norm) {
    if (p.numbers == type::f16) return {};  // 1.13 has no such kernel for the CPU
    return {peer(
        "libtorch", p, what, [=] { *y = at::layer_norm(x, {n}, gamma, beta, eps, false); },
        answer)};
  }
  return {peer(
      "libtorch eager", p, what,
      [=] {
        const at::Tensor v = x.to(arithmetic);
        const at::Tensor r = at::rsqrt(v.pow(2).mean(-1, true) + eps);
        *y = gamma * (v * r).to(x.scalar_type());
      },
      answer)};
}

}  // namespace bench
