// SPDX-License-Identifier: MIT
// Error: rownorm: dbeta is missing:
#include <rownorm/rownorm.hpp>

void normalize(rownorm::rows<float> dy, rownorm::rows<float> x, rownorm::rows<float> gamma) {
  rownorm::layer_norm_backward(dy, x, gamma, x, gamma);
}
