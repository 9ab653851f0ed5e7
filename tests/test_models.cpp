// SPDX-License-Identifier: MIT
// The norms as models run them, bit by bit: LLaMA's, Gemma's and PyTorch's own formula in 16 bits,
// Q and K inside packed rows, and rows normalized in groups.
#include <rownorm/rms_norm.hpp>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace {

/// y(i, j) = formula(x, 1/rms in float, gamma), where PyTorch has tensors of float between its
/// steps and rounds where the formula says B(...).
template <class B, class G, class Word, class Formula>
void check_formula(Word word, Formula formula) {
  for (const std::size_t n : {1u, 7u, 64u, 100u, 4097u}) {
    const matrix<B> x = normals<B>(5, n, 1, 3);
    const matrix<G> gamma = normals<G>(1, n, 2, 0.25, 1);
    matrix<B> y(5, x.cols()), expected(5, x.cols());
    std::vector<double> rstd(5);
    rn::rms_norm(x, word(gamma), y, 1e-6, rstd);
    for (Eigen::Index i = 0; i < 5; ++i)
      for (Eigen::Index j = 0; j < x.cols(); ++j)
        expected(i, j) = formula(static_cast<float>(x(i, j)),
                                 static_cast<float>(rstd[static_cast<std::size_t>(i)]),
                                 static_cast<float>(gamma(0, j)));
    EXPECT_TRUE(same_bits(y, expected)) << format<B>::name << ' ' << format<G>::name << ' ' << n;
  }
}

template <class B>
class Models : public testing::Test {};
using types_of_models = testing::Types<Eigen::bfloat16, Eigen::half, float>;
TYPED_TEST_SUITE(Models, types_of_models, storage_name);

// LlamaRMSNorm, T5LayerNorm: weight * (x.float() * rsqrt(...)).to(x.dtype)
TYPED_TEST(Models, Llama) {
  using B = TypeParam;
  const auto word = [](const auto& gamma) { return rn::after_rounding(gamma); };
  const auto formula = [](float x, float rstd, float gamma) {
    return static_cast<B>(static_cast<float>(static_cast<B>(x * rstd)) * gamma);
  };
  check_formula<B, B>(word, formula);
  check_formula<B, float>(word, formula);
}

// GemmaRMSNorm: ((x.float() * rsqrt(...)) * (1 + weight.float())).to(x.dtype)
TYPED_TEST(Models, Gemma) {
  using B = TypeParam;
  check_formula<B, B>(
      [](const auto& gamma) { return rn::one_plus(gamma); },
      [](float x, float rstd, float gamma) { return static_cast<B>(x * rstd * (1 + gamma)); });
}

// torch.nn.RMSNorm, vLLM: (x.float() * rsqrt(...) * weight.float()).to(x.dtype)
TYPED_TEST(Models, OneRounding) {
  using B = TypeParam;
  check_formula<B, B>(
      [](const auto& gamma) -> const auto& { return gamma; },
      [](float x, float rstd, float gamma) { return static_cast<B>(x * rstd * gamma); });
}

/// QK-norm: each token is 8 heads of Q, 2 of K and 2 of V, 64 numbers each; Q and K have a gain
/// each.
TYPED_TEST(Models, QAndKInsidePackedRows) {
  using B = TypeParam;
  constexpr std::size_t tokens = 7, length = 64, q_heads = 8, k_heads = 2, token = 12 * length;
  const matrix<B> before = normals<B>(tokens, token, 3), gamma_q = normals<B>(1, length, 4),
                  gamma_k = normals<B>(1, length, 5);
  matrix<B> packed = before, expected = before;
  const auto dense = [&](Eigen::Index first, std::size_t heads, const matrix<B>& gamma) {
    const auto width = static_cast<Eigen::Index>(heads * length);
    matrix<B> copy = before.middleCols(first, width);
    const rn::rows<B> rows(copy.data(), tokens * heads, length);
    rn::rms_norm(rows, gamma, rows);
    expected.middleCols(first, width) = copy;
  };
  dense(0, q_heads, gamma_q);
  dense(q_heads * length, k_heads, gamma_k);
  const rn::heads<B> q(packed.data(), tokens, q_heads, length, token);
  const rn::heads<B> k(packed.data() + q_heads * length, tokens, k_heads, length, token);
  rn::rms_norm(q, gamma_q, q);
  rn::rms_norm(k, gamma_k, k);
  EXPECT_TRUE(same_bits(packed, expected));
}

/// Grouped RMSNorm: a row of 96 numbers in 4 groups is 4 rows of 24 in the same memory. gamma is a
/// group's own, by way of heads, or one for all.
TEST(Groups, AreRowsOfTheSameMemory) {
  constexpr std::size_t count = 3, length = 96, groups = 4, part = length / groups;
  const matrix<float> x = normals<float>(count, length, 6), gamma = normals<float>(1, length, 7);
  matrix<float> y(count, length), y_gamma(count, length);
  rn::rms_norm(rn::rows<const float>(x.data(), count * groups, part), rn::none,
               rn::rows<float>(y.data(), count * groups, part));
  rn::rms_norm(rn::heads<const float>(x.data(), count, groups, part, length),
               rn::rows<const float>(gamma.data(), groups, part),
               rn::heads<float>(y_gamma.data(), count, groups, part, length));
  for (Eigen::Index i = 0; i < 3; ++i)
    for (Eigen::Index g = 0; g < 4; ++g) {
      const vector<float> group = x.block(i, g * 24, 1, 24), gain = gamma.block(0, g * 24, 1, 24);
      const reference::row r = reference::rms_norm(values(group), {}, 1e-6).y;
      const reference::row r_gamma = reference::rms_norm(values(group), values(gain), 1e-6).y;
      const vector<float> got = y.block(i, g * 24, 1, 24),
                          got_gamma = y_gamma.block(i, g * 24, 1, 24);
      EXPECT_TRUE(within(values(got), r,
                         [&](std::size_t j) { return rms_norm_error<float, float>(r[j]); }));
      EXPECT_TRUE(within(values(got_gamma), r_gamma,
                         [&](std::size_t j) { return rms_norm_error<float, float>(r_gamma[j]); }));
    }
}

}  // namespace
