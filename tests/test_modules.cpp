// SPDX-License-Identifier: MIT
// modules.hpp: what the parameters begin as, that forward and backward are the calls with them, and
// that they learn.
#include <cstddef>
#include <cstdlib>
#include <new>
#include <rownorm/modules.hpp>
#include <stdexcept>
#include <string>
#include <utility>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

/// In place of the library's own.
std::size_t allocations = 0;
void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace {

template <class T>
class Modules : public testing::Test {};
TYPED_TEST_SUITE(Modules, storage_types, storage_name);

TYPED_TEST(Modules, RmsNorm) {
  using T = TypeParam;
  rn::RMSNorm<T> norm(70);
  EXPECT_EQ(values(norm.gamma()), reference::row(70, 1));
  EXPECT_EQ(norm.eps().value, 1e-6);
  norm.gamma() = normals<T>(1, 70, 1).row(0);
  const matrix<float> x = normals<float>(3, 70, 2);
  matrix<float> y(3, 70), expected(3, 70);
  norm.forward(x, y);
  rn::rms_norm(x, norm.gamma(), expected, 1e-6);
  EXPECT_TRUE(same_bits(y, expected));
}

TYPED_TEST(Modules, LayerNorm) {
  using T = TypeParam;
  rn::LayerNorm<T> norm(70);
  EXPECT_EQ(values(norm.gamma()), reference::row(70, 1));
  EXPECT_EQ(values(norm.beta()), reference::row(70, 0));
  EXPECT_EQ(norm.eps().value, 1e-5);
  norm.gamma() = normals<T>(1, 70, 3).row(0);
  norm.beta() = normals<T>(1, 70, 4).row(0);
  const matrix<float> x = normals<float>(3, 70, 5);
  matrix<float> y(3, 70), expected(3, 70);
  norm.forward(x, y);
  rn::layer_norm(x, norm.gamma(), norm.beta(), expected, 1e-5);
  EXPECT_TRUE(same_bits(y, expected));
}

// -----------------------------------------------------------------------------------------------
// Gradients.
// -----------------------------------------------------------------------------------------------

/// What a backward call gives.
template <class T>
struct gradients {
  matrix<float> dx = normals<float>(3, 70, 10);  // an add's gradient is added to this
  rn::gradient_vector<T> dgamma = rn::gradient_vector<T>::Zero(70), dbeta = dgamma;
};

template <class T>
void check_rms_norm(rn::epsilon eps) {
  rn::RMSNorm<T> norm(70, eps);
  norm.gamma() = normals<T>(1, 70, 11).row(0);
  const matrix<float> x = normals<float>(3, 70, 12), dy = normals<float>(3, 70, 13);
  matrix<float> y(3, 70), y_expected(3, 70), h = x, h_expected = x;
  std::vector<double> rstd(3);
  gradients<T> d, expected;
  const auto backward = [&](const auto& statistics, bool add) {
    if (add)
      rn::add_rms_norm_backward(dy, h, norm.gamma(), expected.dx, expected.dgamma, statistics);
    else rn::rms_norm_backward(dy, x, norm.gamma(), expected.dx, expected.dgamma, statistics);
  };
  for (const bool add : {false, true}) {
    if (add) {
      norm.add_forward(dy, h, y);
      norm.add_backward(dy, h, d.dx);
      rn::add_rms_norm(dy, h_expected, norm.gamma(), y_expected, eps, rstd);
    } else {
      norm.forward(x, y);
      norm.backward(dy, x, d.dx);
      rn::rms_norm(x, norm.gamma(), y_expected, eps, rstd);
    }
    if (eps.outside) backward(eps, add);
    else backward(rn::saved(rstd), add);
    EXPECT_TRUE(same_bits(y, y_expected)) << add;
    EXPECT_TRUE(same_bits(h, h_expected)) << add;
    EXPECT_TRUE(same_bits(d.dx, expected.dx)) << add;
    EXPECT_TRUE(same_bits(norm.dgamma(), expected.dgamma))
        << add;  // of both calls, the second time
  }
  norm.zero_grad();
  EXPECT_EQ(values(norm.dgamma()), reference::row(70, 0));
}
TEST(Module, RmsNormBackward) {
  for (const rn::epsilon eps : {rn::epsilon(1e-6), rn::epsilon(rn::outside_root(0.37))}) {
    check_rms_norm<float>(eps);
    check_rms_norm<Eigen::bfloat16>(eps);
  }
}

template <class T>
void check_layer_norm(rn::epsilon eps) {
  rn::LayerNorm<T> norm(70, eps);
  norm.gamma() = normals<T>(1, 70, 14).row(0);
  norm.beta() = normals<T>(1, 70, 15).row(0);
  const matrix<float> x = normals<float>(3, 70, 16), dy = normals<float>(3, 70, 17);
  matrix<float> y(3, 70), y_expected(3, 70), h = x, h_expected = x;
  std::vector<double> mean(3), rstd(3);
  gradients<T> d, expected;
  const auto backward = [&](const auto& statistics, bool add) {
    if (add)
      rn::add_layer_norm_backward(dy, h, norm.gamma(), expected.dx, expected.dgamma, expected.dbeta,
                                  statistics);
    else
      rn::layer_norm_backward(dy, x, norm.gamma(), expected.dx, expected.dgamma, expected.dbeta,
                              statistics);
  };
  for (const bool add : {false, true}) {
    if (add) {
      norm.add_forward(dy, h, y);
      norm.add_backward(dy, h, d.dx);
      rn::add_layer_norm(dy, h_expected, norm.gamma(), norm.beta(), y_expected, eps, mean, rstd);
    } else {
      norm.forward(x, y);
      norm.backward(dy, x, d.dx);
      rn::layer_norm(x, norm.gamma(), norm.beta(), y_expected, eps, mean, rstd);
    }
    if (eps.outside) backward(eps, add);
    else backward(rn::saved(mean, rstd), add);
    EXPECT_TRUE(same_bits(y, y_expected)) << add;
    EXPECT_TRUE(same_bits(h, h_expected)) << add;
    EXPECT_TRUE(same_bits(d.dx, expected.dx)) << add;
    EXPECT_TRUE(same_bits(norm.dgamma(), expected.dgamma)) << add;
    EXPECT_TRUE(same_bits(norm.dbeta(), expected.dbeta)) << add;
  }
  norm.zero_grad();
  EXPECT_EQ(values(norm.dgamma()), reference::row(70, 0));
  EXPECT_EQ(values(norm.dbeta()), reference::row(70, 0));
}
TEST(Module, LayerNormBackward) {
  for (const rn::epsilon eps : {rn::epsilon(1e-5), rn::epsilon(rn::outside_root(0.37))}) {
    check_layer_norm<float>(eps);
    check_layer_norm<Eigen::bfloat16>(eps);
  }
}

static_assert(std::is_same_v<rn::gradient_vector<Eigen::bfloat16>, rn::gradient_vector<float>>);
static_assert(std::is_same_v<rn::gradient_vector<double>, Eigen::RowVectorXd>);

/// Steps of gradient descent on half the mean square between norm(x) and `target`; the losses.
template <class Norm, class Step>
std::vector<double> train(Norm& norm, const matrix<float>& x, const matrix<float>& target,
                          Step step) {
  std::vector<double> losses;
  matrix<float> y(x.rows(), x.cols()), dy(x.rows(), x.cols()), dx(x.rows(), x.cols());
  for (int i = 0; i < 60; ++i) {
    norm.forward(x, y);
    double loss = 0;
    for (Eigen::Index k = 0; k < y.size(); ++k) {
      const float off = y.data()[k] - target.data()[k];
      loss += static_cast<double>(off * off) / 2;
      dy.data()[k] = off / static_cast<float>(x.rows());
    }
    losses.push_back(loss / static_cast<double>(x.rows()));
    norm.zero_grad();
    norm.backward(dy, x, dx);
    step();
  }
  return losses;
}

TEST(Module, RmsNormLearnsAGain) {
  const matrix<float> x = normals<float>(64, 10, 20), gain = normals<float>(1, 10, 21);
  matrix<float> target(64, 10);
  rn::rms_norm(x, gain, target);
  rn::RMSNorm<> norm(10);
  const auto losses = train(norm, x, target, [&] { norm.gamma() -= 0.3f * norm.dgamma(); });
  EXPECT_GT(losses.front(), 1);
  EXPECT_LT(losses.back(), 1e-5 * losses.front());
  for (Eigen::Index j = 0; j < 10; ++j) EXPECT_NEAR(norm.gamma()[j], gain(0, j), 0.01f);
}

TEST(Module, LayerNormLearnsAGainAndAShift) {
  const matrix<float> x = normals<float>(64, 10, 22), gain = normals<float>(1, 10, 23),
                      shift = normals<float>(1, 10, 24);
  matrix<float> target(64, 10);
  rn::layer_norm(x, gain, shift, target);
  rn::LayerNorm<> norm(10);
  const auto losses = train(norm, x, target, [&] {
    norm.gamma() -= 0.3f * norm.dgamma();
    norm.beta() -= 0.3f * norm.dbeta();
  });
  EXPECT_GT(losses.front(), 1);
  EXPECT_LT(losses.back(), 1e-5 * losses.front());
  for (Eigen::Index j = 0; j < 10; ++j) {
    EXPECT_NEAR(norm.gamma()[j], gain(0, j), 0.01f);
    EXPECT_NEAR(norm.beta()[j], shift(0, j), 0.01f);
  }
}

// -----------------------------------------------------------------------------------------------
// What forward keeps, and errors.
// -----------------------------------------------------------------------------------------------

TEST(Module, BackwardIsOfTheLastForward) {
  const matrix<float> x = normals<float>(3, 9, 30), gamma = normals<float>(1, 9, 31);
  matrix<float> y(3, 9), y_of_const(3, 9), dx(3, 9);
  rn::RMSNorm<> rms(9);
  rn::LayerNorm<> layer(9);
  rms.gamma() = layer.gamma() = gamma.row(0);
  std::as_const(rms).forward(x, y_of_const);
  EXPECT_EQ(error_of([&] { rms.backward(x, x, dx); }),
            "RMSNorm::backward: x has 3 rows, the last forward had 0");
  rms.forward(x, y);
  EXPECT_TRUE(same_bits(y, y_of_const));
  EXPECT_EQ(error_of([&] { rms.backward(x.topRows(1), x.topRows(1), dx.topRows(1)); }),
            "RMSNorm::backward: x has 1 row, the last forward had 3");
  EXPECT_EQ(error_of([&] { rms.add_backward(x.topRows(2), x.topRows(2), dx.topRows(2)); }),
            "RMSNorm::add_backward: x has 2 rows, the last forward had 3");
  std::as_const(layer).forward(x, y_of_const);
  EXPECT_EQ(error_of([&] { layer.backward(x, x, dx); }),
            "LayerNorm::backward: x has 3 rows, the last forward had 0");
  layer.forward(x, y);
  EXPECT_TRUE(same_bits(y, y_of_const));
  EXPECT_EQ(error_of([&] { layer.add_backward(x.topRows(2), x.topRows(2), dx.topRows(2)); }),
            "LayerNorm::add_backward: x has 2 rows, the last forward had 3");
  // Inference in between leaves what forward kept.
  std::as_const(rms).forward(x.topRows(1), y_of_const.topRows(1));
  EXPECT_EQ(error_of([&] { rms.backward(x, x, dx); }), "no error");
}

/// Of the forward calls of a module: the plain one, or where `add`, the one with the residual.
template <class Norm, class X, class Y>
void forward(Norm& norm, bool add, const X& x, Y&& y) {
  if (add) {
    matrix<float> residual = matrix<float>::Ones(y.rows(), 8);
    norm.add_forward(x, residual, y);
  } else {
    norm.forward(x, y);
  }
}
template <class Norm>
matrix<float> gradient_at(Norm& norm, bool add, const matrix<float>& x) {
  const matrix<float> h = add ? (x.array() + 1).matrix().eval() : x;
  const matrix<float> dy = normals<float>(static_cast<std::size_t>(x.rows()), 8, 40);
  matrix<float> dx = matrix<float>::Zero(x.rows(), 8);
  if (add) norm.add_backward(dy, h, dx);
  else norm.backward(dy, h, dx);
  return dx;
}

template <class Norm>
class Keeping : public testing::Test {};
using modules = testing::Types<rn::RMSNorm<>, rn::LayerNorm<>>;
TYPED_TEST_SUITE(Keeping, modules);

TYPED_TEST(Keeping, AForwardThatThrowsChangesNothing) {
  const matrix<float> x = normals<float>(5, 8, 41), other = normals<float>(5, 8, 42);
  matrix<float> y(5, 8), y_short(5, 7);
  for (const bool add : {false, true}) {
    TypeParam norm(8), expected(8);
    EXPECT_THROW(forward(norm, add, x, y_short), std::invalid_argument);
    EXPECT_NE(error_of([&] { gradient_at(norm, add, x); }).find("the last forward had 0"),
              std::string::npos);
    forward(norm, add, x, y);
    forward(expected, add, x, y);
    EXPECT_THROW(forward(norm, add, other, y_short), std::invalid_argument);
    EXPECT_THROW(forward(norm, add, other.topRows(3), y_short.topRows(3)), std::invalid_argument);
    EXPECT_THROW(forward(norm, add, other, y.topRows(3)), std::invalid_argument);
    // More rows than a number for each could be kept of: it is x that the error is about.
    const rn::rows<const float> many(x.data(), static_cast<std::size_t>(-1) / 8, 8);
    const std::string error = error_of([&] { forward(norm, add, many, y); });
    EXPECT_NE(error.find("_norm: x has 2305843009213693951 rows and a stride of 32 bytes"),
              std::string::npos)
        << error;
    EXPECT_TRUE(same_bits(gradient_at(norm, add, x), gradient_at(expected, add, x)));
  }
}

TYPED_TEST(Keeping, NoRowsAndNoNumbers) {
  TypeParam norm(8), of_nothing(0);
  matrix<float> none(0, 8), y(3, 8), nothing(5, 0);
  for (const bool add : {false, true}) {
    forward(norm, add, matrix<float>::Ones(3, 8).eval(), y);
    forward(norm, add, none, none);
    EXPECT_EQ(gradient_at(norm, add, none).rows(), 0);
    EXPECT_NE(error_of([&] { gradient_at(norm, add, y); }).find("the last forward had 0"),
              std::string::npos);
  }
  of_nothing.forward(nothing, nothing);
  of_nothing.backward(nothing, nothing, nothing);
  EXPECT_NE(error_of([&] {
              of_nothing.backward(nothing.topRows(4), nothing.topRows(4), nothing.topRows(4));
            }).find("x has 4 rows, the last forward had 5"),
            std::string::npos);
}

TYPED_TEST(Keeping, ACopyHasItsOwn) {
  const matrix<float> x = normals<float>(5, 8, 43), other = normals<float>(5, 8, 44);
  matrix<float> y(5, 8);
  TypeParam norm(8);
  norm.forward(x, y);
  const matrix<float> expected = gradient_at(norm, false, x);
  TypeParam copy = norm;
  norm.forward(other, y);
  EXPECT_TRUE(same_bits(gradient_at(copy, false, x), expected));
  TypeParam moved = std::move(copy);
  EXPECT_TRUE(same_bits(gradient_at(moved, false, x), expected));
  EXPECT_THROW(gradient_at(copy, false, x), std::invalid_argument);
  copy = moved;
  EXPECT_TRUE(same_bits(gradient_at(copy, false, x), expected));
}

TYPED_TEST(Keeping, AllocatesForMoreRowsAlone) {
  const matrix<float> x = normals<float>(5, 8, 45);
  matrix<float> y(5, 8), residual = x;
  TypeParam norm(8);
  const auto allocated = [&](auto call) {
    const std::size_t before = allocations;
    call();
    return allocations - before;
  };
  EXPECT_EQ(allocated([&] { std::as_const(norm).forward(x, y); }), 0u);
  EXPECT_GT(allocated([&] { norm.forward(x, y); }), 0u);
  norm.forward(x, y);
  EXPECT_EQ(allocated([&] {
              norm.forward(x, y);
              norm.forward(x.topRows(2), y.topRows(2));
              norm.add_forward(x, residual, y);
              norm.forward(x, y);
              std::as_const(norm).forward(x, y);
            }),
            0u);
}

TEST(Module, KeepsItsEps) {
  const matrix<float> x = normals<float>(3, 9, 6);
  matrix<float> y(3, 9), expected(3, 9);
  rn::RMSNorm<>(9, rn::outside_root(0.5)).forward(x, y);
  rn::rms_norm(x, rn::none, expected, rn::outside_root(0.5));
  EXPECT_TRUE(same_bits(y, expected));
  rn::LayerNorm<>(9, 0.5).forward(x, y);
  rn::layer_norm(x, rn::none, rn::none, expected, 0.5);
  EXPECT_EQ(y, expected);
}

TEST(Module, AsksForRowsOfItsLength) {
  const matrix<float> x = normals<float>(3, 9, 7);
  matrix<float> y(3, 9);
  EXPECT_THROW(rn::RMSNorm<>(8).forward(x, y), std::invalid_argument);
  EXPECT_THROW(rn::LayerNorm<>(8).forward(x, y), std::invalid_argument);
  const rn::RMSNorm<> norm(8);
  EXPECT_EQ(error_of([&] { norm.forward(x, y); }),
            "rms_norm: gamma has 8 numbers, the rows of x have 9");
}

}  // namespace
