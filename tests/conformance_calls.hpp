// SPDX-License-Identifier: MIT
// A case of a conformance set as rownorm's public calls: which rows, which words, which outputs.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace conformance {

using shape = std::vector<std::size_t>;

/// Thrown where no public call says what a case asks for.
struct not_run : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// An array as its file holds it, and how it is looked at: element strides from an offset.
struct tensor {
  std::string dtype;
  conformance::shape shape;
  std::vector<std::ptrdiff_t> strides;
  std::size_t offset = 0;
  std::vector<char> bytes;
};

std::size_t product(const shape& s);
std::vector<std::ptrdiff_t> c_strides(const shape& s);
/// The same numbers seen in a larger shape, by NumPy's rules.
tensor broadcast(tensor t, const shape& to);
/// Where each number of t stands in its file, in C order of t's shape.
std::vector<std::size_t> places(const tensor& t);

/// Rows that one call takes: `count` of them, `stride` numbers apart, the first is row `first`.
struct block {
  std::size_t offset, count, stride, first;
};

/// gamma or beta: a row of numbers for all rows, or one for each; `source` says which number of the
/// given array each one is.
struct parameter {
  tensor given;
  std::vector<std::size_t> source;
  bool per_row = false;
};

enum class word { none, plain, one_plus, after_rounding };

struct problem {
  std::string op, kind;
  double eps = 0;
  std::size_t rows = 0, length = 0;
  std::vector<block> blocks;
  tensor x;
  word gain = word::none;
  parameter gamma, beta;
  bool has_beta = false;
  std::map<std::string, tensor> other;  // skip, bias, dy in x's shape; mean_in, var_in per row
  bool stats_constant = false;
};

/// Every output that the calls gave, in C order, widened.
using results = std::map<std::string, std::vector<double>>;

template <class F>
auto with_type(const std::string& dtype, F f) {
  if (dtype == "f64") return f(double{});
  if (dtype == "f32") return f(float{});
  if (dtype == "f16") return f(Eigen::half{});
  if (dtype == "bf16") return f(Eigen::bfloat16{});
  throw not_run("numbers of type " + dtype);
}

template <class T>
double wide(T v) {
  if constexpr (std::is_same_v<T, double>) return v;
  else return static_cast<double>(static_cast<float>(v));
}
template <class T>
std::vector<double> wide(const std::vector<T>& v) {
  std::vector<double> w;
  w.reserve(v.size());
  for (const T& a : v) w.push_back(wide(a));
  return w;
}

/// The numbers of the file, as they are.
template <class T>
std::vector<T> numbers(const tensor& t) {
  std::vector<T> v(t.bytes.size() / sizeof(T));
  if (!v.empty()) std::memcpy(static_cast<void*>(v.data()), t.bytes.data(), t.bytes.size());
  return v;
}
/// The numbers at these places of the file, in a type that holds them.
template <class T>
std::vector<T> numbers_at(const tensor& t, const std::vector<std::size_t>& at) {
  if (at.empty()) return {};
  return with_type(t.dtype, [&](auto type) {
    const auto all = numbers<decltype(type)>(t);
    std::vector<T> v;
    v.reserve(at.size());
    for (const std::size_t i : at) v.push_back(static_cast<T>(wide(all[i])));
    return v;
  });
}

/// The means (0 where a case has none) and 1 / sqrt(variance + eps) that a case gives for each row.
inline std::pair<std::vector<double>, std::vector<double>> given_statistics(const problem& p) {
  const tensor& var = p.other.at("var_in");
  std::vector<double> mean(p.rows), rstd = numbers_at<double>(var, places(var));
  for (double& r : rstd) r = 1 / std::sqrt(r + p.eps);
  if (const auto given = p.other.find("mean_in"); given != p.other.end())
    mean = numbers_at<double>(given->second, places(given->second));
  return {mean, rstd};
}

/// The calls of the forward pass and those of the gradient, with x of type X, gamma and beta of
/// type `gamma`, y and dy of type `y`; each X is compiled by itself.
template <class X>
results run_forward(const problem& p, const std::string& gamma, const std::string& y);
template <class X>
results run_backward(const problem& p, const std::string& gamma, const std::string& y);

/// Not every mixture is built: all double; one 16-bit type, alone or with float.
template <class X, class G, class Y>
constexpr bool is_built() {
  if (std::is_same_v<X, double>) return std::is_same_v<G, double> && std::is_same_v<Y, double>;
  if (std::is_same_v<Y, double> || std::is_same_v<G, double>) return false;
  if (std::is_same_v<X, Y>) return std::is_same_v<G, X> || std::is_same_v<G, float>;
  if (std::is_same_v<X, float>) return std::is_same_v<G, Y> || std::is_same_v<G, float>;
  return std::is_same_v<Y, float> && std::is_same_v<G, float>;
}

/// call(G{}, Y{}) for the types that are named so.
template <class X, class Call>
results with_built_types(const std::string& gamma, const std::string& y, Call call) {
  return with_type(gamma, [&](auto g) {
    using G = decltype(g);
    return with_type(y, [&](auto v) -> results {
      using Y = decltype(v);
      if constexpr (is_built<X, G, Y>()) return call(g, v);
      throw not_run("gamma of " + gamma + " and y of " + y + " are not built here for this x");
    });
  });
}

}  // namespace conformance
