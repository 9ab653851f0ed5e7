// SPDX-License-Identifier: MIT
// Error: rownorm::dispatch: gamma must be of the type of x, or float beside a 16-bit x
#include <rownorm/dispatch.hpp>

void f(rownorm::rows<float> x, rownorm::rows<const double> gamma) {
  rownorm::dispatch::rms_norm(x, gamma, x);
}
