// SPDX-License-Identifier: MIT
// One program of two files that use the header calls, compiled with different -m flags: each gets
// the code of its own flags, and right results.
#include "reference.hpp"

using namespace test;

void with_sse2(const float* x, std::size_t count, std::size_t length, float* rms, float* layer);
void with_avx2(const float* x, std::size_t count, std::size_t length, float* rms, float* layer);

namespace {

TEST(TwoFlags, InOneProgram) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
    GTEST_SKIP() << "this CPU has no AVX2 with FMA";
  const std::size_t count = 3, n = 1000;
  const matrix<float> x = normals<float>(count, n, 1);
  matrix<float> rms[2], layer[2];
  for (auto* m : {&rms[0], &rms[1], &layer[0], &layer[1]}) m->resize(x.rows(), x.cols());
  with_sse2(x.data(), count, n, rms[0].data(), layer[0].data());
  with_avx2(x.data(), count, n, rms[1].data(), layer[1].data());

  const reference::row ones(n, 1), zeros(n, 0);
  for (int f = 0; f < 2; ++f)
    for (Eigen::Index i = 0; i < x.rows(); ++i) {
      const reference::row r = reference::rms_norm(values(x.row(i)), ones, 1e-6).y;
      const reference::row l = reference::layer_norm(values(x.row(i)), ones, zeros, 1e-5).y;
      EXPECT_TRUE(within(values(rms[f].row(i)), r,
                         [&](std::size_t j) { return rms_norm_error<float, float>(r[j]); }));
      EXPECT_TRUE(within(values(layer[f].row(i)), l, [&](std::size_t j) {
        return layer_norm_error<float, float>(l[j], std::max<real>(1, std::abs(l[j])));
      }));
    }
  // SSE2 has no fused multiply-add: were the bits the same, one file would run the other's code.
  EXPECT_FALSE(same_bits(layer[0], layer[1]));
}

}  // namespace
