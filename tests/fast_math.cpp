// SPDX-License-Identifier: MIT
// Calls built with -ffast-math, as a user's file may be; test_fast_math.cpp holds what is left of
// the promises then.
#include <rownorm/layer_norm.hpp>
#include <rownorm/rms_norm.hpp>

namespace fast {

void rms_norm(rownorm::rows<const float> x, rownorm::rows<float> y, double eps) {
  rownorm::rms_norm(x, rownorm::none, y, eps);
}
void layer_norm(rownorm::rows<const float> x, rownorm::rows<float> y, double eps) {
  rownorm::layer_norm(x, rownorm::none, rownorm::none, y, eps);
}

}  // namespace fast
