// SPDX-License-Identifier: MIT
// rownorm::dispatch: the bits of the header calls, their errors, and which ISA is chosen. CMake
// runs it for several ROWNORM_ISA; EXPECTED_ISA says what isa() must then be.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <rownorm/dispatch.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace {

const std::size_t ns[] = {1, 7, 16, 33, 64, 100, 768, 1025, 5000};

/// SSE2 has no fused multiply-add: its bits are those of the header calls for SSE2 alone.
bool same_promise() {
#if defined(ROWNORM_SSE2)
  return std::string(rn::dispatch::isa()) == "base";
#elif defined(ROWNORM_SCALAR)
  return true;
#else
  return std::string(rn::dispatch::isa()) != "base";
#endif
}
#define SKIP_BETWEEN_PROMISES() \
  if (!same_promise()) GTEST_SKIP() << "this file is not compiled for " << rn::dispatch::isa()

/// header(x, residual, gamma, beta, y, mean, rstd) and dispatched(...) give the same bits, for rows
/// in and out of range, in place or not, with strides.
template <class S, class G, class R, class Header, class Dispatched>
void check_bits(Header header, Dispatched dispatched) {
  SKIP_BETWEEN_PROMISES();
  for (const std::size_t n : ns) {
    matrix<S> x = normals<S>(5, n, 1);
    const matrix<S> before = normals<S>(5, n, 2);
    const matrix<G> gamma = normals<G>(1, n, 3), beta = normals<G>(1, n, 4);
    x.row(1) *= number<S>(sizeof(S) == 8 ? 1e200 : sizeof(S) == 2 ? 1e4 : 1e30);
    x.row(2) *= number<S>(sizeof(S) == 8 ? 1e-310 : sizeof(S) == 2 ? 1e-6 : 1e-42);
    x.row(3).setConstant(S(0));
    const auto row = [](const matrix<G>& m) {
      return rn::rows<const G>(m.data(), 1, static_cast<std::size_t>(m.size()));
    };
    for (const bool in_place : {false, true}) {
      guarded<S> in[] = {{x, n + 3, 1}, {x, n + 3, 1}};
      guarded<S> residual[] = {{before, n + 1, 2}, {before, n + 1, 2}};
      guarded<S> out[] = {{5, n, n + 2, 5}, {5, n, n + 2, 5}};
      std::vector<R> mean[] = {std::vector<R>(5), std::vector<R>(5)}, rstd[] = {mean[0], mean[0]};
      const auto y = [&](int i) { return in_place ? in[i].rows() : out[i].rows(); };
      header(in[0].rows(), residual[0].rows(), row(gamma), row(beta), y(0), mean[0], rstd[0]);
      dispatched(in[1].rows(), residual[1].rows(), row(gamma), row(beta), y(1), mean[1], rstd[1]);
      EXPECT_TRUE(same_bits(rn::rows<const S>(y(1)), rn::rows<const S>(y(0)))) << n;
      EXPECT_TRUE(same_bits(residual[1].map(), residual[0].map())) << n;
      EXPECT_EQ(mean[1], mean[0]) << n;
      EXPECT_EQ(rstd[1], rstd[0]) << n;
      EXPECT_TRUE(in[1].untouched() && residual[1].untouched()) << n;
      EXPECT_TRUE(in_place || out[1].untouched()) << n;
    }
  }
}

/// The same for gradients: header(dy, x, gamma, dx, dgamma, dbeta, mean, rstd), where dx is apart,
/// dy or x, and there is more than one block of rows.
template <class S, class G, class D, class Header, class Dispatched>
void check_gradient_bits(Header header, Dispatched dispatched) {
  SKIP_BETWEEN_PROMISES();
  const std::size_t count = 35;
  for (const std::size_t n : ns) {
    matrix<S> dy = normals<S>(count, n, 11), x = normals<S>(count, n, 12);
    const matrix<S> before = normals<S>(count, n, 13);
    const matrix<G> gamma = normals<G>(1, n, 14);
    const matrix<D> start = normals<D>(2, n, 15);
    x.row(1) *= number<S>(sizeof(S) == 8 ? 1e200 : sizeof(S) == 2 ? 1e4 : 1e30);
    x.row(2) *= number<S>(sizeof(S) == 8 ? 1e-310 : sizeof(S) == 2 ? 1e-6 : 1e-42);
    x.row(3).setConstant(S(0));
    dy.row(4).setConstant(S(0));
    const rn::rows<const G> gain(gamma.data(), 1, n);
    std::vector<std::conditional_t<std::is_same_v<S, float>, float, double>> mean(count);
    std::vector<std::conditional_t<sizeof(S) == 2, float, double>> rstd(count);
    rn::layer_norm(x, rn::none, rn::none, matrix<S>(x), 1e-5, mean, rstd);
    for (const int place : {0, 1, 2}) {
      guarded<S> from[] = {{dy, n + 1, 1}, {dy, n + 1, 1}};
      guarded<S> in[] = {{x, n + 3, 2}, {x, n + 3, 2}};
      guarded<S> out[] = {{before, n + 2, 3}, {before, n + 2, 3}};
      guarded<D> dgamma[] = {{start.topRows(1), n, 1}, {start.topRows(1), n, 1}};
      guarded<D> dbeta[] = {{start.bottomRows(1), n, 2}, {start.bottomRows(1), n, 2}};
      const auto dx = [&](int i) { return (place == 0 ? out : place == 1 ? from : in)[i].rows(); };
      header(from[0].rows(), in[0].rows(), gain, dx(0), dgamma[0].rows(), dbeta[0].rows(), mean,
             rstd);
      dispatched(from[1].rows(), in[1].rows(), gain, dx(1), dgamma[1].rows(), dbeta[1].rows(), mean,
                 rstd);
      EXPECT_TRUE(same_bits(rn::rows<const S>(dx(1)), rn::rows<const S>(dx(0)))) << n;
      EXPECT_TRUE(same_bits(dgamma[1].map(), dgamma[0].map())) << n;
      EXPECT_TRUE(same_bits(dbeta[1].map(), dbeta[0].map())) << n;
      EXPECT_TRUE(from[1].untouched() && in[1].untouched() && out[1].untouched()) << n;
      EXPECT_TRUE(dgamma[1].untouched() && dbeta[1].untouched()) << n;
    }
  }
}

/// Both sides of check_bits from one expression: `call` is a call's name and arguments.
#define BOTH(call)                                                                       \
  [](auto x, auto residual, auto gamma, auto beta, auto y, auto& mean, auto& rstd) {     \
    (void)residual, (void)gamma, (void)beta, (void)mean, (void)rstd;                     \
    rn::call;                                                                            \
  },                                                                                     \
      [](auto x, auto residual, auto gamma, auto beta, auto y, auto& mean, auto& rstd) { \
        (void)residual, (void)gamma, (void)beta, (void)mean, (void)rstd;                 \
        rn::dispatch::call;                                                              \
      }

/// The type of gamma too: that of x, or float.
template <class S, class G = S>
struct types {
  using x = S;
  using gamma = G;
};
struct types_name {
  template <class T>
  static std::string GetName(int) {
    return std::string(format<typename T::x>::name) + "_" + format<typename T::gamma>::name;
  }
};
#if defined(ROWNORM_SSE2)
// Fewer, since they take long to compile.
using all_types = testing::Types<types<float>, types<double>, types<Eigen::half, float>>;
#else
using all_types =
    testing::Types<types<float>, types<double>, types<Eigen::half>, types<Eigen::bfloat16>,
                   types<Eigen::half, float>, types<Eigen::bfloat16, float>>;
#endif
template <class T>
class Dispatch : public testing::Test {
 public:
  using S = typename T::x;
  using G = typename T::gamma;
};
TYPED_TEST_SUITE(Dispatch, all_types, types_name);

#define CHECK_GRADIENT(D, call)                                                           \
  check_gradient_bits<typename TypeParam::x, typename TypeParam::gamma, D>(               \
      [](auto dy, auto x, auto gamma, auto dx, auto dgamma, auto dbeta, const auto& mean, \
         const auto& rstd) {                                                              \
        (void)gamma, (void)dgamma, (void)dbeta, (void)mean, (void)rstd;                   \
        rn::call;                                                                         \
      },                                                                                  \
      [](auto dy, auto x, auto gamma, auto dx, auto dgamma, auto dbeta, const auto& mean, \
         const auto& rstd) {                                                              \
        (void)gamma, (void)dgamma, (void)dbeta, (void)mean, (void)rstd;                   \
        rn::dispatch::call;                                                               \
      })
#define CHECK(R, call) check_bits<typename TypeParam::x, typename TypeParam::gamma, R>(BOTH(call))

TYPED_TEST(Dispatch, RmsNorm) {
  CHECK(float, rms_norm(x, gamma, y, 1e-6, rstd));
  CHECK(double, rms_norm(x, rn::none, rn::streaming(y), 0));
}
TYPED_TEST(Dispatch, RmsNormWithWords) {
  CHECK(double, rms_norm(x, rn::one_plus(gamma), y, 1e-6, rstd));
  CHECK(float, rms_norm(x, rn::after_rounding(gamma), rn::cached(y), rn::outside_root(1e-6), rstd));
}
TYPED_TEST(Dispatch, PartialRmsNorm) {
  CHECK(float, partial_rms_norm(x, (x.length + 2) / 3, gamma, y, 0, rstd));
}
TYPED_TEST(Dispatch, AddRmsNorm) {
  CHECK(float, add_rms_norm(x, residual, gamma, y, 0, rstd));
}
TYPED_TEST(Dispatch, LayerNorm) {
  CHECK(float, layer_norm(x, gamma, beta, y, 1e-5, mean, rstd));
  CHECK(float, layer_norm(x, gamma, rn::none, y, 0, mean, rstd));
  CHECK(float, layer_norm(x, rn::none, beta, rn::streaming(y), 1e-5, rn::none, rstd));
}
TYPED_TEST(Dispatch, LayerNormWithWords) {
  if constexpr (std::is_same_v<typename TypeParam::x, typename TypeParam::gamma>) {
    CHECK(float, layer_norm(x, rn::one_plus(gamma), beta, y, rn::outside_root(1e-5), mean, rstd));
    CHECK(float, layer_norm(x, rn::after_rounding(gamma), rn::none, y, 0, mean, rstd));
  }
}
TYPED_TEST(Dispatch, AddLayerNorm) {
  CHECK(double, add_layer_norm(x, residual, gamma, beta, y, 0, mean, rstd));
}

// All there is in four calls, and for SSE2 with two types, since they take long to compile.
#if defined(ROWNORM_SSE2)
using gradient_types = testing::Types<types<float>, types<Eigen::half, float>>;
#else
using gradient_types = testing::Types<types<float>, types<double>, types<Eigen::half>,
                                      types<Eigen::bfloat16>, types<Eigen::bfloat16, float>>;
#endif
template <class T>
class DispatchGradient : public testing::Test {};
TYPED_TEST_SUITE(DispatchGradient, gradient_types, types_name);

TYPED_TEST(DispatchGradient, RmsNorm) {
  CHECK_GRADIENT(typename TypeParam::gamma,
                 rms_norm_backward(dy, x, gamma, dx, dgamma, rn::saved(rstd)));
}
TYPED_TEST(DispatchGradient, AddRmsNorm) {
  CHECK_GRADIENT(
      float, add_rms_norm_backward(dy, x, rn::one_plus(gamma), dx, dgamma, rn::outside_root(0.1)));
}
TYPED_TEST(DispatchGradient, LayerNorm) {
  CHECK_GRADIENT(double, layer_norm_backward(dy, x, rn::none, dx, rn::none, dbeta, 0));
}
TYPED_TEST(DispatchGradient, AddLayerNorm) {
  CHECK_GRADIENT(Eigen::half, add_layer_norm_backward(dy, x, rn::after_rounding(gamma), dx, dgamma,
                                                      dbeta, rn::saved(mean, rstd)));
}

TEST(Dispatch, HeadsAndAGainForEach) {
  SKIP_BETWEEN_PROMISES();
  const std::size_t tokens = 3, n = 72;
  const matrix<float> packed = normals<float>(tokens, 4 * n, 5), gamma = normals<float>(2, n, 6);
  matrix<float> a = packed, b = packed;
  const auto heads = [&](matrix<float>& m) {
    return rn::heads<float>(m.data() + n, tokens, 2, n, 4 * n);
  };
  rn::rms_norm(heads(a), gamma, heads(a));
  rn::dispatch::rms_norm(heads(b), gamma, heads(b));
  EXPECT_TRUE(same_bits(b, a));
  rn::layer_norm(heads(a), gamma, gamma, heads(a));
  rn::dispatch::layer_norm(heads(b), gamma, gamma, heads(b));
  EXPECT_TRUE(same_bits(b, a));
  matrix<float> sums[] = {normals<float>(2, 2 * n + 3, 7), {}};
  sums[1] = sums[0];
  const auto dgamma = [&](int i) { return sums[i].leftCols(n); };
  const auto dbeta = [&](int i) { return sums[i].rightCols(n); };
  rn::layer_norm_backward(heads(a), heads(a), gamma, heads(a), dgamma(0), dbeta(0));
  rn::dispatch::layer_norm_backward(heads(b), heads(b), gamma, heads(b), dgamma(1), dbeta(1));
  EXPECT_TRUE(same_bits(b, a));
  EXPECT_TRUE(same_bits(sums[1], sums[0]));
}

/// One row, whose products may go into the gradients themselves, and one block of rows.
template <class S, class D>
void check_few_rows() {
  for (const std::size_t count : {1u, 2u, 32u}) {
    const matrix<S> dy = normals<S>(count, 70, 8), x = normals<S>(count, 70, 9);
    const matrix<D> start = normals<D>(2, 70, 10);
    matrix<S> dx[] = {x, x};
    matrix<D> gradients[] = {start, start};
    const auto dgamma = [&](int i) { return gradients[i].row(0); };
    const auto dbeta = [&](int i) { return gradients[i].row(1); };
    rn::rms_norm_backward(dy, x, rn::none, dx[0], dgamma(0));
    rn::dispatch::rms_norm_backward(dy, x, rn::none, dx[1], dgamma(1));
    rn::layer_norm_backward(dy, x, rn::none, dx[0], dgamma(0), dbeta(0));
    rn::dispatch::layer_norm_backward(dy, x, rn::none, dx[1], dgamma(1), dbeta(1));
    EXPECT_TRUE(same_bits(dx[1], dx[0])) << count;
    EXPECT_TRUE(same_bits(gradients[1], gradients[0])) << count;
  }
}
TEST(Dispatch, GradientsOfFewRows) {
  SKIP_BETWEEN_PROMISES();
  check_few_rows<float, float>();
  check_few_rows<float, Eigen::bfloat16>();
  check_few_rows<float, double>();
  check_few_rows<double, double>();
}

TEST(Dispatch, LargeMatricesAreStreamed) {
  SKIP_BETWEEN_PROMISES();
  const std::size_t n = 1000, count = rn::detail::streaming_bytes() / (n * sizeof(float)) + 1;
  const matrix<float> x = normals<float>(count, n, 7);
  matrix<float> y(x.rows(), x.cols()), expected(x.rows(), x.cols());
  rn::dispatch::rms_norm(x, x.row(0), y);
  rn::rms_norm(x, x.row(0), rn::cached(expected));
  EXPECT_TRUE(same_bits(y, expected));
  rn::dispatch::rms_norm_backward(x, x, x.row(0), y, rn::none);
  matrix<float> over_x = x;
  rn::rms_norm_backward(x, over_x, x.row(0), over_x, rn::none);
  EXPECT_TRUE(same_bits(y, over_x));
}

TEST(Dispatch, WorkedExample) {
  const Eigen::RowVector4f x(1, 2, 3, 4), gamma(1, 1, 1, 1);
  Eigen::RowVector4f y;
  rn::dispatch::rms_norm(x, gamma, y);
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(y[i], (i + 1) / 2.7386128, 1e-6);
}

TEST(Dispatch, ErrorsAreThoseOfTheHeaders) {
  const matrix<float> x = normals<float>(2, 4, 8);
  const Eigen::RowVector3f short_row(1, 1, 1);
  matrix<float> y = x, before = x;
  EXPECT_EQ(error_of([&] { rn::dispatch::rms_norm(x, short_row, y); }),
            "rms_norm: gamma has 3 numbers, the rows of x have 4");
  EXPECT_EQ(error_of([&] { rn::dispatch::partial_rms_norm(x, 5, rn::none, y); }),
            "partial_rms_norm: k is 5, it must be from 1 to 4, the length of the rows of x");
  EXPECT_EQ(error_of([&] { rn::dispatch::layer_norm(x, rn::none, rn::none, y, -1.0); }),
            "layer_norm: eps is -1, it must be finite and at least 0");
  EXPECT_EQ(error_of([&] { rn::dispatch::add_layer_norm(x, y, rn::none, short_row, y); }),
            "add_layer_norm: beta has 3 numbers, the rows of x have 4");
  const std::vector<float> rstd(3, 1);
  Eigen::RowVector4f dgamma(9, 9, 9, 9);
  EXPECT_EQ(error_of([&] {
              rn::dispatch::rms_norm_backward(x, x, rn::none, y, dgamma, rn::saved(rstd));
            }),
            "rms_norm_backward: rstd has 3 numbers, x has 2 rows");
  EXPECT_EQ(error_of([&] { rn::dispatch::add_rms_norm_backward(x, x, short_row, y, dgamma); }),
            "add_rms_norm_backward: gamma has 3 numbers, the rows of h have 4");
  EXPECT_EQ(
      error_of([&] { rn::dispatch::layer_norm_backward(x, x, dgamma, y, rn::none, dgamma); }),
      "layer_norm_backward: dbeta overlaps gamma: it begins 0 bytes after gamma with a stride of "
      "16 bytes against 16, and they must lie apart");
  EXPECT_EQ(error_of([&] {
              rn::dispatch::add_layer_norm_backward(x, x, rn::none, y, dgamma, rn::none, -1.0);
            }),
            "add_layer_norm_backward: eps is -1, it must be finite and at least 0");
  EXPECT_TRUE(same_bits(y, before));
  EXPECT_EQ(dgamma, Eigen::RowVector4f(9, 9, 9, 9));
}

TEST(Dispatch, NoRowsAndNoNumbersAreNoError) {
  matrix<float> none_at_all(0, 4), empty_rows(3, 0);
  rn::dispatch::rms_norm(none_at_all, rn::none, none_at_all);
  rn::dispatch::layer_norm(empty_rows, rn::none, rn::none, empty_rows);
  Eigen::RowVector4f dgamma(9, 9, 9, 9);
  rn::dispatch::rms_norm_backward(none_at_all, none_at_all, rn::none, none_at_all, dgamma);
  EXPECT_EQ(dgamma, Eigen::RowVector4f(9, 9, 9, 9));
  matrix<float> no_numbers(1, 0);
  rn::dispatch::layer_norm_backward(empty_rows, empty_rows, rn::none, empty_rows, no_numbers,
                                    rn::none);
}

TEST(DispatchIsa, IsTheOneExpected) {
  const char* const expected = std::getenv("EXPECTED_ISA");
  const std::string isa = rn::dispatch::isa();
  if (expected != nullptr) {
    EXPECT_EQ(isa, expected);
  } else if (const char* const asked = std::getenv("ROWNORM_ISA")) {
    EXPECT_EQ(isa, asked);
  } else {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2"), avx512 = __builtin_cpu_supports("avx512vl");
    EXPECT_EQ(isa, avx512 ? "avx512" : avx2 ? "avx2" : "base");
#elif defined(__aarch64__)
    EXPECT_EQ(isa, "neon");
#endif
  }
}

// In a process of its own each, since a process chooses once.
void ask_for(const char* name) {
  setenv("ROWNORM_ISA", name, 1);
  std::fprintf(stderr, "%s\n", error_of([] { rn::dispatch::isa(); }).c_str());
  std::fprintf(stderr, "again: %s\n", error_of([] {
                                        float x = 1;
                                        rn::dispatch::rms_norm(rn::rows<float>(&x, 1, 1), rn::none,
                                                               rn::rows<float>(&x, 1, 1));
                                      }).c_str());
  std::exit(3);
}
class DispatchIsaDeathTest : public testing::Test {
 protected:
  void SetUp() override { testing::GTEST_FLAG(death_test_style) = "threadsafe"; }
};
TEST_F(DispatchIsaDeathTest, UnknownNameIsAnError) {
  EXPECT_EXIT(ask_for("sse9"), testing::ExitedWithCode(3),
              "^ROWNORM_ISA: it is \"sse9\", this library has [a-z0-9, ]+, and this CPU runs "
              "[a-z0-9, ]+\nagain: ROWNORM_ISA: it is \"sse9\"");
}
TEST_F(DispatchIsaDeathTest, OneThatTheCpuLacksIsAnError) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) GTEST_SKIP() << "this CPU has all";
  EXPECT_EXIT(ask_for("avx512"), testing::ExitedWithCode(3),
              "this library has avx512, avx2, base, and this CPU runs (avx2, )?base\n");
#else
  GTEST_SKIP() << "one ISA alone is made for this CPU";
#endif
}
TEST_F(DispatchIsaDeathTest, AnEmptyNameAsksForNone) {
  EXPECT_EXIT(ask_for(""), testing::ExitedWithCode(3), "^no error\nagain: no error\n");
}

}  // namespace
