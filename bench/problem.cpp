// SPDX-License-Identifier: MIT
// The numbers of a problem and its exact answers, by the formulas in long double.
#include "problem.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>

namespace bench {

namespace {

constexpr std::size_t page = 4096;

std::size_t size_of(type t) {
  return with_type(t, [](auto s) { return sizeof s; });
}

/// The step of a type at 1, and its least normal number: Eigen's numeric_limits<half> has another
/// step.
struct precision {
  double step, least;
};
precision precision_of(type t) {
  switch (t) {
    case type::f32:
      return {0x1p-23, 0x1p-126};
    case type::f64:
      return {0x1p-52, 0x1p-1022};
    case type::bf16:
      return {0x1p-7, 0x1p-126};
    default:
      return {0x1p-10, 0x1p-14};
  }
}

template <class S>
long double wide(S v) {
  if constexpr (std::is_same_v<S, double>) return v;
  else return static_cast<float>(v);
}

/// count numbers of N(mean, deviation^2): some that were drawn, over and over.
template <class S>
void fill(S* to, std::size_t count, double mean, double deviation, unsigned seed) {
  constexpr std::size_t drawn = 65521;  // prime, so that no two rows of a matrix are the same
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(mean, deviation);
  for (std::size_t i = 0; i < std::min(count, drawn); ++i)
    to[i] = static_cast<S>(normal(generator));
  for (std::size_t i = drawn; i < count; ++i) to[i] = to[i - drawn];
}

template <class S>
statistic statistic_of(op o, const S* x, std::size_t n) {
  const auto length = static_cast<long double>(n);
  long double mean = 0, variance = 0;
  if (o == op::layer_norm) {
    for (std::size_t j = 0; j < n; ++j) mean += wide(x[j]);
    mean /= length;
  }
  for (std::size_t j = 0; j < n; ++j) {
    const long double d = wide(x[j]) - mean;
    variance += d * d;
  }
  variance /= length;
  return {mean, variance, 1 / std::sqrt(variance + epsilon(o))};
}

}  // namespace

std::string name(op o) {
  return o == op::rms_norm ? "rms_norm" : "layer_norm";
}

std::string name(type t) {
  switch (t) {
    case type::f32:
      return "float";
    case type::f64:
      return "double";
    case type::bf16:
      return "bf16";
    default:
      return "fp16";
  }
}

std::string name(shape s) {
  return std::to_string(s.rows) + "x" + std::to_string(s.length);
}

problem::buffer::buffer(std::size_t size, std::size_t offset)
    : memory(new std::byte[size + 2 * page]()) {
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.get());
  data = memory.get() + (page - begin % page) + offset;
}

problem::problem(type t, shape s)
    : numbers(t),
      rows(s.rows),
      length(s.length),
      x_(bytes(), 0),
      gamma_(length * size_of(t), 832),
      beta_(length * size_of(t), 1472),
      y_(bytes(), 2368) {
  with_type(t, [&](auto zero) {
    using S = decltype(zero);
    fill(reinterpret_cast<S*>(x_.data), rows * length, 0, 1, 1);
    fill(reinterpret_cast<S*>(gamma_.data), length, 1, 0.1, 2);
    fill(reinterpret_cast<S*>(beta_.data), length, 0, 0.1, 3);
  });
}

std::size_t problem::bytes() const {
  return rows * length * size_of(numbers);
}

void problem::forget_result() const {
  std::memset(y_.data, 0xff, bytes());
}

const std::vector<statistic>& problem::statistics(op o) const {
  std::vector<statistic>& of = statistics_[o == op::rms_norm ? 0 : 1];
  if (of.empty())
    with_type(numbers, [&](auto zero) {
      using S = decltype(zero);
      for (std::size_t i = 0; i < rows; ++i)
        of.push_back(statistic_of(o, x<S>() + i * length, length));
    });
  return of;
}

double problem::error(op o, const void* result) const {
  const std::vector<statistic>& of = statistics(o);
  return with_type(numbers, [&](auto zero) {
    using S = decltype(zero);
    const bool centred = o == op::layer_norm;
    const auto [step, least] = precision_of(numbers);
    double worst = 0;
    for (std::size_t i = 0; i < rows; ++i) {
      const S* in = x<S>() + i * length;
      const S* out = static_cast<const S*>(result) + i * length;
      for (std::size_t j = 0; j < length; ++j) {
        const auto g = wide(gamma<S>()[j]);
        const auto b = centred ? wide(beta<S>()[j]) : 0;
        const auto right = g * ((wide(in[j]) - of[i].mean) * of[i].rstd) + b;
        const auto difference = static_cast<double>(std::fabs(wide(out[j]) - right));
        auto scale = std::max(std::fabs(static_cast<double>(right)), least);
        if (centred)
          scale = std::max(
              {scale, std::fabs(static_cast<double>(g)), std::fabs(static_cast<double>(b))});
        const double e = difference / scale;
        if (std::isnan(e)) return std::numeric_limits<double>::infinity();
        worst = std::max(worst, e);
      }
    }
    return worst / step;
  });
}

}  // namespace bench
