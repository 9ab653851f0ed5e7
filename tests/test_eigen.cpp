// SPDX-License-Identifier: MIT
// detail/eigen.hpp: everything that a call takes as rows or as a parameter means the same numbers.
#include <array>
#include <rownorm/rownorm.hpp>
#include <vector>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

/// A 16-bit type of somebody else's.
struct engine_bf16 {
  std::uint16_t bits;
};
template <>
struct rownorm::storage<engine_bf16> {
  using type = rownorm::bfloat16;
};

namespace {

using Eigen::Dynamic;
constexpr Eigen::Index count = 3, length = 7;

class Rows : public testing::Test {
 protected:
  const matrix<float> x = normals<float>(3, 7, 1);
  const vector<float> gamma = normals<float>(1, 7, 2).row(0);
  const matrix<float> expected = [this] {
    matrix<float> out(count, length);
    rn::rms_norm(rn::rows<const float>(x.data(), 3, 7), rn::rows<const float>(gamma.data(), 1, 7),
                 rn::rows<float>(out.data(), 3, 7));
    return out;
  }();
  matrix<float> y = matrix<float>::Zero(count, length);
};

TEST_F(Rows, OfAMatrix) {
  rn::rms_norm(x, gamma, y);
  EXPECT_TRUE(same_bits(y, expected));
}

TEST_F(Rows, OfAMatrixOfFixedSize) {
  const Eigen::Matrix<float, 3, 7, Eigen::RowMajor> in = x;
  const Eigen::Matrix<float, 1, 7> gain = gamma;
  Eigen::Matrix<float, 3, 7, Eigen::RowMajor> out;
  rn::rms_norm(in, gain, out);
  EXPECT_TRUE(same_bits(out, expected));
  Eigen::Matrix<float, Dynamic, 7, Eigen::RowMajor> fixed_length(3, 7);
  rn::rms_norm(in, gamma, fixed_length);
  EXPECT_TRUE(same_bits(fixed_length, expected));
}

TEST_F(Rows, OfAMap) {
  std::vector<float> memory(3 * 10);
  Eigen::Map<matrix<float>, 0, Eigen::OuterStride<>> out(memory.data(), 3, 7,
                                                         Eigen::OuterStride<>(10));
  rn::rms_norm(Eigen::Map<const matrix<float>>(x.data(), 3, 7), gamma, out);
  EXPECT_TRUE(same_bits(out, expected));
  EXPECT_EQ(memory[7], 0);
}

void through_ref(Eigen::Ref<const matrix<float>> x, const vector<float>& gamma,
                 Eigen::Ref<matrix<float>> y) {
  rn::rms_norm(x, gamma, y);
}
TEST_F(Rows, OfARef) {
  matrix<float> wide = matrix<float>::Zero(5, 20);
  through_ref(x, gamma, wide.block(1, 5, 3, 7));
  EXPECT_TRUE(same_bits(wide.block(1, 5, 3, 7), expected));
  wide.block(1, 5, 3, 7).setZero();
  EXPECT_TRUE(wide.isZero(0));
}

TEST_F(Rows, OfABlock) {
  matrix<float> wide = matrix<float>::Zero(5, 20);
  wide.middleCols(2, 7).topRows(3) = x;
  const matrix<float>& in = wide;
  rn::rms_norm(in.middleCols(2, 7).topRows(3), gamma, wide.rightCols(7).bottomRows(3));
  EXPECT_TRUE(same_bits(wide.rightCols(7).bottomRows(3), expected));
  EXPECT_TRUE(same_bits(wide.middleCols(2, 7).topRows(3), x));
  rn::rms_norm(in.block<3, 7>(0, 2), gamma, wide.block<3, 7>(0, 2));
  EXPECT_TRUE(same_bits(wide.middleCols(2, 7).topRows(3), expected));
}

TEST_F(Rows, AreTheColumnsOfAColumnMajorMatrix) {
  const Eigen::MatrixXf in = x.transpose();
  Eigen::MatrixXf out(length, count);
  rn::rms_norm(in.transpose(), gamma, out.transpose());
  EXPECT_TRUE(same_bits(matrix<float>(out.transpose()), expected));
  rn::rms_norm(in.leftCols(2).transpose(), gamma, out.rightCols(2).transpose());
  EXPECT_TRUE(
      same_bits(matrix<float>(out.rightCols(2).transpose()), matrix<float>(expected.topRows(2))));
}

TEST_F(Rows, AVectorIsOneRow) {
  const Eigen::VectorXf column = x.row(1).transpose();
  Eigen::VectorXf out(length);
  rn::rms_norm(column, gamma, out);
  EXPECT_TRUE(same_bits(out, vector<float>(expected.row(1))));
  const Eigen::Matrix<float, 7, 1> fixed = column;
  out.setZero();
  rn::rms_norm(fixed, gamma, out);
  EXPECT_TRUE(same_bits(out, vector<float>(expected.row(1))));
  rn::rms_norm(x.row(2), gamma, y.row(2));
  EXPECT_TRUE(same_bits(y.row(2), expected.row(2)));
  EXPECT_TRUE(y.topRows(2).isZero(0));
  Eigen::MatrixXf column_major = x.transpose();
  rn::rms_norm(column_major.col(0), gamma, column_major.col(0));
  EXPECT_TRUE(same_bits(vector<float>(column_major.col(0)), vector<float>(expected.row(0))));
}

TEST_F(Rows, OfFixedLength) {
  rn::rms_norm(rn::rows<const float, 7>(x.data(), 3, 7), gamma, rn::rows<float, 7>(y.data(), 3, 7));
  EXPECT_TRUE(same_bits(y, expected));
}

TEST_F(Rows, ThatAnyContainerHolds) {
  const std::vector<float> in(x.data(), x.data() + 7);
  std::array<float, 7> out{};
  rn::rms_norm(in, std::vector<float>(gamma.data(), gamma.data() + 7), out);
  EXPECT_TRUE(same_bits(Eigen::Map<vector<float>>(out.data(), 7), expected.row(0)));
}

TEST_F(Rows, Parameters) {
  const auto check = [&](const auto& gain) {
    y.setZero();
    rn::rms_norm(x, gain, y);
    EXPECT_TRUE(same_bits(y, expected));
  };
  const Eigen::VectorXf column = gamma.transpose();
  const matrix<float> many = gamma.replicate(2, 1);
  check(column);
  check(many.row(1));
  check(many.topRows(1));
  check(Eigen::Map<const Eigen::VectorXf>(gamma.data(), 7));
  check(std::vector<float>(gamma.data(), gamma.data() + 7));
  check(rn::rows<const float>(gamma.data(), 1, 7));
}

TEST_F(Rows, Statistics) {
  Eigen::VectorXf column(3);
  Eigen::RowVectorXf row(3);
  matrix<float> matrix_column(3, 1);
  std::vector<float> numbers(3);
  rn::rms_norm(x, gamma, y, 1e-6, column);
  rn::rms_norm(x, gamma, y, 1e-6, row);
  rn::rms_norm(x, gamma, y, 1e-6, matrix_column);
  rn::rms_norm(x, gamma, y, 1e-6, numbers);
  for (Eigen::Index i = 0; i < 3; ++i) {
    EXPECT_NEAR(column[i], std::sqrt(7) / x.row(i).norm(), 1e-5);
    EXPECT_EQ(row[i], column[i]);
    EXPECT_EQ(matrix_column(i, 0), column[i]);
    EXPECT_EQ(numbers[static_cast<std::size_t>(i)], column[i]);
  }
}

TEST(Storage, OfAnEngine) {
  const matrix<Eigen::bfloat16> x = normals<Eigen::bfloat16>(2, 9, 3);
  matrix<Eigen::bfloat16> y(2, 9), expected(2, 9);
  rn::rms_norm(x, x.row(0), expected);
  const auto* in = reinterpret_cast<const engine_bf16*>(x.data());
  rn::rms_norm(rn::rows<const engine_bf16>(in, 2, 9), std::vector<engine_bf16>(in, in + 9),
               rn::rows<engine_bf16>(reinterpret_cast<engine_bf16*>(y.data()), 2, 9));
  EXPECT_TRUE(same_bits(y, expected));
}

TEST(Storage, TheArithmeticIsThatOfTheWidestNumber) {
  const matrix<float> x = normals<float>(1, 1000, 4);
  const matrix<double> gamma = normals<double>(1, 1000, 5);
  matrix<float> y(1, 1000), as_double(1, 1000), as_float(1, 1000);
  rn::rms_norm(x, gamma, y);
  rn::rms_norm<double>(x, gamma, as_double);
  rn::rms_norm<float>(x, gamma, as_float);
  EXPECT_TRUE(same_bits(y, as_double));
  EXPECT_FALSE(same_bits(y, as_float));
}

}  // namespace
