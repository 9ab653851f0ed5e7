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

// Further from the row's own mean than a rounding: what is normalized is what the caller says.
TEST(LayerNormBackward, ASavedMeanIsTakenAsItIs) {
  for (const std::size_t n : {1u, 7u, 100u, 5000u})
    for (const double mean : {0.25, -1.0, 30.0}) {
      SCOPED_TRACE(testing::Message() << n << " numbers, mean " << mean);
      const matrix<double> x = normals<double>(1, n, 31), dy = normals<double>(1, n, 32);
      matrix<double> dx(1, x.cols()), dgamma = matrix<double>::Zero(1, x.cols());
      const std::vector<double> means{mean}, rstds{0.5};
      rn::layer_norm_backward(dy, x, rn::none, dx, dgamma, rn::none, rn::saved(means, rstds));
      const matrix<double> h = (x.array() - mean) * 0.5;
      const double shift = dy.mean(), slope = (dy.array() * h.array()).mean();
      const matrix<double> expected = 0.5 * (dy.array() - shift - h.array() * slope);
      const matrix<double> expected_dgamma = dy.cwiseProduct(h);
      const auto allowed = [&](std::size_t) { return 1e-12L; };
      EXPECT_TRUE(within(values(dx), values(expected), allowed));
      EXPECT_TRUE(within(values(dgamma), values(expected_dgamma), allowed));
    }
}
