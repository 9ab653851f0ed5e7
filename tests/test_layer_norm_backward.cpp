// SPDX-License-Identifier: MIT
// layer_norm_backward against the formula.
#include "backward.hpp"

INSTANTIATE_TYPED_TEST_SUITE_P(LayerNorm, Backward, norms::layer_norm, norms::name);

TEST(LayerNormBackward, RowsFarFromZero) {
  for (const double centre : {1e2, 1e4, -1e6, 1e7})
    for (const std::size_t n : {1u, 2u, 3u, 17u, 64u, 768u, 5000u}) {
      check<norms::layer_norm, all<float>>(3, n, 1e-5, 1, 1, centre);
      // A float next to a mean of 1e6 is 0.03 off: what it lost is found again.
      check<norms::layer_norm, all<float, float, float>>(3, n, 1e-5, 1, 1, centre);
      check<norms::layer_norm, all<double>>(3, n, 1e-5, 1, 1, centre);
    }
}
