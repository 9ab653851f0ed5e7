// SPDX-License-Identifier: MIT
// A shared object that calls the norms and their gradients; its symbols are read, it is never run.
#include <rownorm/layer_norm.hpp>
#include <rownorm/rms_norm.hpp>

namespace rn = rownorm;

template <class S>
void norms(rn::rows<const S> x, rn::rows<const S> gamma, rn::rows<S> y, rn::rows<S> dgamma) {
  rn::rms_norm(x, gamma, y);
  rn::gated_rms_norm(x, x, gamma, y);
  rn::layer_norm(x, gamma, gamma, y);
  rn::rms_norm_backward(x, x, gamma, y, dgamma);
  rn::layer_norm_backward(x, x, gamma, y, dgamma, dgamma);
}
template void norms(rn::rows<const float>, rn::rows<const float>, rn::rows<float>, rn::rows<float>);

extern "C" void every_norm(const Eigen::bfloat16* x, Eigen::bfloat16* y) {
  norms<Eigen::bfloat16>({x, 1, 8}, {x, 1, 8}, {y, 1, 8}, {y + 8, 1, 8});
}
