// SPDX-License-Identifier: MIT
// Error: rownorm::dispatch: x, residual and y \(dy, x and dx\) must be of one type
#include <rownorm/dispatch.hpp>

void f(rownorm::rows<const float> x, rownorm::rows<std::int8_t> q, rownorm::rows<float> scales) {
  rownorm::dispatch::rms_norm(x, rownorm::none, rownorm::quantized(q, scales));
}
