// SPDX-License-Identifier: MIT
// The largest error of both norms against the exact result, per type and length, of usual rows:
// held to what they keep (less than what is proved of every row) and printed as a table (the lines
// that begin with a bar).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <rownorm/rownorm.hpp>
#include <utility>

#include "reference.hpp"

namespace {

using random_bits = std::mt19937_64;

double normal(random_bits& bits) {
  return std::normal_distribution<double>()(bits);
}
double uniform(random_bits& bits) {
  return std::uniform_real_distribution<double>()(bits);
}

/// A kind of row: each number drawn anew (or zero, of the first 64), all of them the first, or the
/// first among zeros.
enum class fill { random, late, equal, first };
struct spread {
  const char* name;
  double (*draw)(random_bits&);
  double largest;
  fill as = fill::random;
};
constexpr double clip = 6e4;
const spread spreads[] = {
    {"N(0, 1)", normal, 10},
    {"lognormal", [](random_bits& b) { return std::exp(normal(b)); }, 1e3},
    {"Student t, 2 degrees",
     [](random_bits& b) {
       return std::clamp(normal(b) / std::sqrt(-std::log1p(-uniform(b))), -clip, clip);
     },
     clip},
    {"Cauchy", [](random_bits& b) { return std::clamp(normal(b) / normal(b), -clip, clip); }, clip},
    {"uniform in [0, 1)", uniform, 1},
    {"1e4 + N(0, 1)", [](random_bits& b) { return 1e4 + normal(b); }, 1.1e4},
    {"1e6 + N(0, 1)", [](random_bits& b) { return 1e6 + normal(b); }, 1.1e6},
    {"100 + N(0, 1) behind 64 zeros", [](random_bits& b) { return 100 + normal(b); }, 200,
     fill::late},
    {"all 0.1", [](random_bits&) { return 0.1; }, 1, fill::equal},
    {"all 1/3", [](random_bits&) { return 1.0 / 3; }, 1, fill::equal},
    {"equal numbers", [](random_bits& b) { return 1 + uniform(b); }, 2, fill::equal},
    {"one number among zeros", [](random_bits& b) { return 1 + uniform(b); }, 2, fill::first},
};
constexpr std::size_t lengths[] = {1,   3,    64,   100,   128,
                                   768, 1000, 4096, 16384, std::size_t{1} << 20};

template <class S>
test::matrix<S> draw(const spread& from, std::size_t count, std::size_t length, random_bits& bits) {
  test::matrix<S> x(static_cast<Eigen::Index>(count), static_cast<Eigen::Index>(length));
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    const S first = test::number<S>(from.draw(bits));
    for (Eigen::Index j = 0; j < x.cols(); ++j)
      x(i, j) = from.as == fill::equal ? first
                : (from.as == fill::first && j > 0) || (from.as == fill::late && j < 64)
                    ? S(0)
                    : test::number<S>(from.draw(bits));
  }
  return x;
}

/// The largest errors: in eps of the arithmetic and in ulp of the output, both at the number's
/// scale, and as a part of what is allowed.
struct worst {
  double eps = 0, ulp = 0, allowed = 0;
  void take(const worst& other) {
    eps = std::max(eps, other.eps);
    ulp = std::max(ulp, other.ulp);
    allowed = std::max(allowed, other.allowed);
  }
};

template <class T, class S>
worst error_of(S y, test::real exact, test::real scale, test::real allowed) {
  const test::real error = std::abs(test::exact(y) - exact);
  if (error == 0) return {};
  constexpr double inf = std::numeric_limits<double>::infinity();
  if (std::isnan(error)) return {inf, inf, inf};  // no maximum takes a NaN
  return {static_cast<double>(error / (test::step<T> * scale)),
          static_cast<double>(error / test::ulp<S>(scale)), static_cast<double>(error / allowed)};
}

struct both {
  worst rms_norm, layer_norm;
};

template <class T, class S>
both measure(const spread& from, std::size_t length) {
  random_bits bits(length);
  const std::size_t count =
      from.as >= fill::equal ? (length > 16384 ? 1 : 4) : 1 + (std::size_t{1} << 15) / length;
  const auto x = draw<S>(from, count, length, bits);
  const spread around_one{"gamma", [](random_bits& b) { return 1 + normal(b) / 4; }, 3};
  const spread around_zero{"beta", [](random_bits& b) { return normal(b) / 4; }, 3};
  const test::vector<S> gamma = draw<S>(around_one, 1, length, bits),
                        beta = draw<S>(around_zero, 1, length, bits);
  test::matrix<S> y(x.rows(), x.cols()), z(x.rows(), x.cols());
  rownorm::rms_norm<T>(x, gamma, y);
  rownorm::layer_norm<T>(x, gamma, beta, z);

  both w;
  const reference::row g = test::values(gamma), b = test::values(beta);
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    const reference::row row = test::values(x.row(i));
    const reference::row rms = reference::rms_norm(row, g, 1e-6).y;
    const reference::row h = reference::layer_norm(row, {}, {}, 1e-5).y;
    for (std::size_t j = 0; j < length; ++j) {
      const auto column = static_cast<Eigen::Index>(j);
      const test::real layer = h[j] * g[j] + b[j];
      const test::real scale = std::max({std::abs(layer), std::abs(g[j]), std::abs(g[j] * h[j])});
      w.rms_norm.take(
          error_of<T>(y(i, column), rms[j], std::abs(rms[j]), test::rms_norm_error<T, S>(rms[j])));
      w.layer_norm.take(
          error_of<T>(z(i, column), layer, scale, test::layer_norm_error<T, S>(layer, scale)));
    }
  }
  return w;
}

void print_header() {
  static bool printed = false;
  if (std::exchange(printed, true)) return;
  std::printf("| type | norm | rows | unit |");
  for (const std::size_t length : lengths) std::printf(" %zu |", length);
  std::printf("\n|---|---|---|---|");
  for (std::size_t d = 0; d < std::size(lengths); ++d) std::printf("---|");
  std::printf("\n");
}

/// Arithmetic T, numbers of storage S: a line of the table per norm.
template <class T, class S>
void table(const char* type) {
  print_header();
  constexpr bool one_rounding = !std::is_same_v<T, S>;
  both random[std::size(lengths)], regular[std::size(lengths)];
  for (std::size_t d = 0; d < std::size(lengths); ++d)
    for (const spread& from : spreads) {
      if (from.largest > static_cast<double>(test::exact(std::numeric_limits<S>::max()))) continue;
      const both w = measure<T, S>(from, lengths[d]);
      EXPECT_LE(w.rms_norm.allowed, 1)
          << "rms_norm, " << from.name << ", " << lengths[d] << " numbers: " << w.rms_norm.eps
          << " eps, " << w.rms_norm.ulp << " ulp";
      EXPECT_LE(w.layer_norm.allowed, 1)
          << "layer_norm, " << from.name << ", " << lengths[d] << " numbers: " << w.layer_norm.eps
          << " eps, " << w.layer_norm.ulp << " ulp";
      both& cell = (from.as < fill::equal ? random : regular)[d];
      cell.rms_norm.take(w.rms_norm);
      cell.layer_norm.take(w.layer_norm);
    }
  const auto print = [&](const char* norm, const char* rows, const both* cells, worst both::*which,
                         double worst::*unit) {
    std::printf("| %s | %s | %s | %s |", type, norm, rows, unit == &worst::eps ? "eps" : "ulp");
    for (std::size_t d = 0; d < std::size(lengths); ++d)
      std::printf(one_rounding ? " %.4f |" : " %.2f |", cells[d].*which.*unit);
    std::printf("\n");
  };
  for (double worst::*unit : {&worst::eps, &worst::ulp}) {
    if (one_rounding && unit == &worst::eps) continue;
    print("RMSNorm", "random", random, &both::rms_norm, unit);
    print("RMSNorm", "regular", regular, &both::rms_norm, unit);
    print("LayerNorm", "random", random, &both::layer_norm, unit);
    print("LayerNorm", "regular", regular, &both::layer_norm, unit);
  }
}

TEST(Accuracy, Float) {
  table<float, float>("float");
}
TEST(Accuracy, FloatInDouble) {
  table<double, float>("float, arithmetic in double");
}
TEST(Accuracy, Double) {
  table<double, double>("double");
}
TEST(Accuracy, Half) {
  table<float, Eigen::half>("fp16");
}
TEST(Accuracy, Bfloat16) {
  table<float, Eigen::bfloat16>("bf16");
}

}  // namespace
