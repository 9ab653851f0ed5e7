// SPDX-License-Identifier: MIT
// detail/arrays.hpp: the containers and arrays of other libraries are the rows that they say, and
// each type that lies as a 16-bit number does is one.
#include <array>
#include <rownorm/rownorm.hpp>
#include <vector>
#if __has_include(<unsupported/Eigen/CXX11/Tensor>)
#include <unsupported/Eigen/CXX11/Tensor>
#define HAS_TENSOR 1
#endif
#if __has_include(<boost/multi_array.hpp>)
#include <boost/multi_array.hpp>
#define HAS_MULTI_ARRAY 1
#endif
#if __has_include(<span>)
#include <span>
#endif

#include "reference.hpp"

namespace rn = rownorm;

namespace {

using four = std::array<float, 4>;
/// Two rows of two numbers, each of them 1 and 100, whose norm is 1 throughout.
constexpr four in{1, 1, 100, 100};
constexpr four ones{1, 1, 1, 1};

/// What x becomes in place, its numbers being those of `memory`.
template <class Array>
four normalized(four& memory, Array&& x) {
  rn::rms_norm(x, rn::none, x, 0);
  return memory;
}

/// Anything that is one row: data() and size(), and no more.
template <class T>
struct own_span {
  T* numbers;
  unsigned count;
  T* data() const { return numbers; }
  unsigned size() const { return count; }
};

TEST(Arrays, ContainersAreOneRow) {
  four m = in;
  const float small = 0.014141f, large = 1.414143f;
  const auto is_one_row = [&](const four& y) {
    for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(y[i], i < 2 ? small : large, 1e-4);
  };
  is_one_row(normalized(m, m));
  std::vector<float> v(in.begin(), in.end());
  rn::rms_norm(v, rn::none, m, 0);
  is_one_row(m);
  m = in;
  is_one_row(normalized(m, own_span<float>{m.data(), 4}));
#if defined(__cpp_lib_span)
  m = in;
  is_one_row(normalized(m, std::span<float>(m)));
  m = in;
  is_one_row(normalized(m, std::span<float, 4>(m)));
#endif
}

#if defined(HAS_TENSOR)
TEST(Arrays, TensorsOfEigen) {
  four m = in;
  using tensor = Eigen::Tensor<float, 2, Eigen::RowMajor>;
  EXPECT_EQ(normalized(m, Eigen::TensorMap<tensor>(m.data(), 2, 2)), ones);
  tensor x(2, 2), y(2, 2);
  x.setValues({{3, 3}, {5, 5}});
  const tensor& read = x;
  rn::rms_norm(read, rn::none, y, 0);
  for (Eigen::Index i = 0; i < 4; ++i) EXPECT_EQ(y.data()[i], 1);
  Eigen::Tensor<float, 1> row(4);
  row.setConstant(7);
  rn::rms_norm(row, rn::none, m, 0);
  EXPECT_EQ(m, ones);
}
#endif

#if defined(HAS_MULTI_ARRAY)
TEST(Arrays, MultiArraysOfBoost) {
  boost::multi_array<float, 2> x(boost::extents[3][4]), y(boost::extents[3][4]);
  for (long i = 0; i < 12; ++i) x.data()[i] = static_cast<float>(i / 4 + 1);
  const auto& read = x;
  rn::rms_norm(read, rn::none, y, 0);
  for (long i = 0; i < 12; ++i) EXPECT_EQ(y.data()[i], 1);
  four m = in;
  EXPECT_EQ(normalized(m, boost::multi_array_ref<float, 2>(m.data(), boost::extents[2][2])), ones);
  m = {7, 7, 7, 7};
  EXPECT_EQ(normalized(m, boost::multi_array_ref<float, 1>(m.data(), boost::extents[4])), ones);
  boost::multi_array<float, 2> columns(boost::extents[3][4], boost::fortran_storage_order());
  EXPECT_EQ(test::error_of([&] { rn::rms_norm(columns, rn::none, y); }),
            "rms_norm: the numbers of a row of x do not lie side by side: its inner stride must "
            "be 1");
}
#endif

/// What rows need of std::mdspan.
template <std::size_t Rank>
struct own_mdspan {
  float* numbers;
  std::array<int, Rank> extents_, strides_;
  static constexpr std::size_t rank() { return Rank; }
  float* data_handle() const { return numbers; }
  int extent(std::size_t axis) const { return extents_[axis]; }
  int stride(std::size_t axis) const { return strides_[axis]; }
  std::size_t size() const { return 0; }
};

TEST(Arrays, Mdspan) {
  four m = in;
  EXPECT_EQ(normalized(m, own_mdspan<2>{m.data(), {2, 2}, {2, 1}}), ones);
  m = {7, 7, 7, 7};
  EXPECT_EQ(normalized(m, own_mdspan<1>{m.data(), {4}, {1}}), ones);
  // Two rows of one number, two numbers apart.
  m = in;
  EXPECT_EQ(normalized(m, own_mdspan<2>{m.data(), {2, 1}, {2, 2}}), (four{1, 1, 1, 100}));
  for (const auto& columns :
       {own_mdspan<2>{m.data(), {2, 2}, {1, 2}}, own_mdspan<2>{m.data(), {1, 2}, {1, 2}}})
    EXPECT_EQ(test::error_of([&] { rn::rms_norm(columns, rn::none, columns); }),
              "rms_norm: the numbers of a row of x do not lie side by side: its inner stride must "
              "be 1");
  const own_mdspan<1> every_other{m.data(), {2}, {2}};
  EXPECT_EQ(test::error_of([&] { rn::rms_norm(every_other, rn::none, every_other); }),
            "rms_norm: the numbers of a row of x do not lie side by side: its inner stride must be "
            "1");
  const own_mdspan<2> upwards{m.data() + 2, {2, 2}, {-2, 1}};
  EXPECT_EQ(test::error_of([&] { rn::rms_norm(upwards, rn::none, upwards); }),
            "rms_norm: x has a negative stride, -2 numbers: its rows must follow each other in "
            "memory");
}

TEST(Arrays, AMapWithANegativeStride) {
  four m = in;
  using map = Eigen::Map<test::matrix<float>, 0, Eigen::OuterStride<>>;
  map upwards(m.data() + 2, 2, 2, Eigen::OuterStride<>(-2));
  EXPECT_EQ(test::error_of([&] { rn::rms_norm(upwards, rn::none, upwards); }),
            "rms_norm: x has a negative stride, -2 numbers: its rows must follow each other in "
            "memory");
  EXPECT_EQ(m, in);
}

/// An engine's type that lies as another engine's does.
struct other_half {
  std::uint16_t bits;
};
struct half_of_an_engine {
  std::uint16_t bits;
};

/// Rows of S are those of T.
template <class S, class T>
void expect_same_storage() {
  const test::matrix<T> x = test::normals<T>(2, 9, 3);
  test::matrix<T> y(2, 9), expected(2, 9);
  rn::rms_norm(x, x.row(0), expected);
  const auto* read = reinterpret_cast<const S*>(x.data());
  rn::rms_norm(rn::rows<const S>(read, 2, 9), rn::rows<const S>(read, 1, 9),
               rn::rows<S>(reinterpret_cast<S*>(y.data()), 2, 9));
  EXPECT_TRUE(test::same_bits(y, expected));
}

}  // namespace

template <>
struct rownorm::storage<other_half> {
  using type = rownorm::float16;
};
template <>
struct rownorm::storage<half_of_an_engine> {
  using type = other_half;
};

namespace {

TEST(Storage, ByTheNameOfAnotherType) {
  expect_same_storage<other_half, Eigen::half>();
  expect_same_storage<half_of_an_engine, Eigen::half>();
}

TEST(Storage, OfTheCompilersOwnTypes) {
#if defined(__FLT16_MANT_DIG__)
  expect_same_storage<_Float16, Eigen::half>();
#endif
#if defined(__BFLT16_MANT_DIG__)
  expect_same_storage<__bf16, Eigen::bfloat16>();
#endif
#if defined(__STDCPP_FLOAT16_T__)
  expect_same_storage<decltype(0.0f16), Eigen::half>();
#endif
#if defined(__STDCPP_BFLOAT16_T__)
  expect_same_storage<decltype(0.0bf16), Eigen::bfloat16>();
#endif
}

}  // namespace

// Each name of a 16-bit number is one, whatever namespaces are in use.
namespace both_in_use {
using namespace rownorm;
using namespace Eigen;
TEST(Storage, NamesAreNotAmbiguous) {
  EXPECT_EQ(sizeof(bfloat16), 2u);
  EXPECT_EQ(sizeof(half), 2u);
  EXPECT_EQ(sizeof(float16), 2u);
}
}  // namespace both_in_use
