// SPDX-License-Identifier: MIT
// Error: rownorm::dispatch: the arithmetic is double for rows of double, else float
#include <rownorm/dispatch.hpp>

void f(rownorm::rows<float> x) {
  rownorm::dispatch::layer_norm<double>(x, rownorm::none, rownorm::none, x);
}
