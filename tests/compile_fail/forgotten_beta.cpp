// SPDX-License-Identifier: MIT
// Error: rownorm: beta is missing:
#include <rownorm/rownorm.hpp>

void normalize(rownorm::rows<float> x, rownorm::rows<float> gamma, rownorm::rows<float> y) {
  rownorm::layer_norm(x, gamma, y);
}
