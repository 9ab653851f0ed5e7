// SPDX-License-Identifier: MIT
// Error: rownorm: gamma and beta are vectors, or one row per head
#include <rownorm/rownorm.hpp>

void normalize(rownorm::heads<float> x) {
  rownorm::layer_norm(x, rownorm::none, x, x);
}
