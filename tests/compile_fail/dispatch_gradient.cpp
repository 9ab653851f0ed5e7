// SPDX-License-Identifier: MIT
// Error: rownorm::dispatch: x, residual and y \(dy, x and dx\) must be of one type
#include <rownorm/dispatch.hpp>

void f(rownorm::rows<const double> dy, rownorm::rows<float> x) {
  rownorm::dispatch::rms_norm_backward(dy, x, rownorm::none, x, rownorm::none);
}
