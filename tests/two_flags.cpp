// SPDX-License-Identifier: MIT
// Header calls, compiled twice into one program: TWO_FLAGS names the function, CMake the -m flags.
#include <rownorm/layer_norm.hpp>
#include <rownorm/rms_norm.hpp>

void TWO_FLAGS(const float* x, std::size_t count, std::size_t length, float* rms, float* layer) {
  const rownorm::rows<const float> in(x, count, length);
  rownorm::rms_norm(in, rownorm::none, rownorm::rows<float>(rms, count, length));
  rownorm::layer_norm(in, rownorm::none, rownorm::none, rownorm::rows<float>(layer, count, length));
}
