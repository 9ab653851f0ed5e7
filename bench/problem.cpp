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

std::size_t size_of_real(type t) {
  return with_type(t, [](auto s) { return sizeof(real<decltype(s)>); });
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

/// The largest error that was taken; a NaN is an infinite one.
class largest {
 public:
  explicit largest(precision of) : of_(of) {}
  /// Relative to the exact number, or to `size` where that is larger.
  void take(long double out, long double right, long double size = 0) {
    const auto difference = static_cast<double>(std::fabs(out - right));
    const double scale = std::max(
        {static_cast<double>(std::fabs(right)), static_cast<double>(std::fabs(size)), of_.least});
    const double e = difference / scale;
    worst_ = std::isnan(e) ? std::numeric_limits<double>::infinity() : std::max(worst_, e);
  }
  double steps() const { return worst_ / of_.step; }

 private:
  precision of_;
  double worst_ = 0;
};

/// number(j) gives the numbers of a row of n.
template <class Number>
statistic statistic_of(op o, std::size_t n, Number number) {
  const auto length = static_cast<long double>(n);
  long double mean = 0, variance = 0;
  if (centred(o)) {
    for (std::size_t j = 0; j < n; ++j) mean += number(j);
    mean /= length;
  }
  for (std::size_t j = 0; j < n; ++j) {
    const long double d = number(j) - mean;
    variance += d * d;
  }
  variance /= length;
  return {mean, variance, 1 / std::sqrt(variance + epsilon(o))};
}

/// 32 query heads with 8 of keys and 8 of values, or as many as divide the rows.
packing packing_of(shape s) {
  std::size_t heads = 32;
  while (s.rows % heads != 0) heads /= 2;
  return {heads, (heads + 2 * std::max<std::size_t>(heads / 4, 1)) * s.length};
}

template <class Test>
std::size_t size_if(const std::vector<op>& which, Test test, std::size_t size) {
  return std::any_of(which.begin(), which.end(), test) ? size : 0;
}
bool is_int8(op o) {
  return o == op::rms_int8;
}
bool is_heads(op o) {
  return o == op::rms_heads;
}
bool reads_two(op o) {
  return backward(o) || adds(o);
}
/// Where the statistics are kept: LayerNorm's or not, of a sum or of x.
std::size_t kind_of(op o) {
  return 2 * std::size_t{adds(o)} + std::size_t{centred(o)};
}

}  // namespace

std::string name(op o) {
  switch (o) {
    case op::rms_norm:
      return "rms_norm";
    case op::layer_norm:
      return "layer_norm";
    case op::rms_backward:
      return "rms_backward";
    case op::layer_backward:
      return "layer_backward";
    case op::add_rms:
      return "add_rms";
    case op::add_layer:
      return "add_layer";
    case op::rms_int8:
      return "rms_int8";
    default:
      return "rms_heads";
  }
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

problem::problem(type t, shape s, const std::vector<op>& which, std::size_t shift)
    : numbers(t),
      rows(s.rows),
      length(s.length),
      packed(packing_of(s)),
      x_(bytes(), shift),
      gamma_(length * size_of(t), 832 + shift),
      beta_(length * size_of(t), 1472 + shift),
      y_(bytes(), 2368 + shift),
      dy_(size_if(which, reads_two, bytes()), 3200 + shift),
      residual_(size_if(which, adds, bytes()), 3712 + shift),
      dgamma_(size_if(which, backward, length * size_of_real(t)), 448 + shift),
      dbeta_(size_if(which, backward, length * size_of_real(t)), 2816 + shift),
      int8_(size_if(which, is_int8, rows * length), 1984 + shift),
      scales_(size_if(which, is_int8, rows * size_of_real(t)), 1216 + shift),
      packed_x_(size_if(which, is_heads, packed_bytes()), 192 + shift),
      packed_y_(size_if(which, is_heads, packed_bytes()), 2624 + shift) {
  with_type(t, [&](auto zero) {
    using S = decltype(zero);
    fill(reinterpret_cast<S*>(x_.data), rows * length, 0, 1, 1);
    fill(reinterpret_cast<S*>(gamma_.data), length, 1, 0.1, 2);
    fill(reinterpret_cast<S*>(beta_.data), length, 0, 0.1, 3);
    if (size_if(which, reads_two, 1)) fill(reinterpret_cast<S*>(dy_.data), rows * length, 0, 1, 4);
    if (size_if(which, is_heads, 1))
      for (std::size_t i = 0; i < rows; ++i)
        std::copy_n(x<S>() + i * length, length,
                    reinterpret_cast<S*>(packed_x_.data) + place_of_head(i));
  });
}

std::size_t problem::bytes() const {
  return rows * length * size_of(numbers);
}

std::size_t problem::packed_bytes() const {
  return rows / packed.heads * packed.token_stride * size_of(numbers);
}

std::size_t problem::place_of_head(std::size_t i) const {
  return i / packed.heads * packed.token_stride + i % packed.heads * length;
}

answer problem::places(op o) const {
  const void* const y = is_int8(o) ? int8_.data : is_heads(o) ? packed_y_.data : y_.data;
  return {y, residual_.data, dgamma_.data, dbeta_.data, scales_.data};
}

void problem::forget_result(op o) const {
  constexpr int nan = 0xff;  // in every byte of a number
  std::memset(y_.data, nan, bytes());
  if (is_int8(o)) {
    std::memset(int8_.data, nan, rows * length);
    std::memset(scales_.data, nan, rows * size_of_real(numbers));
  }
  if (is_heads(o)) std::memset(packed_y_.data, nan, packed_bytes());
  if (adds(o)) std::memcpy(residual_.data, dy_.data, bytes());
  if (backward(o)) {
    std::memset(dgamma_.data, 0, length * size_of_real(numbers));
    std::memset(dbeta_.data, 0, length * size_of_real(numbers));
  }
}

template <class S>
void problem::find_statistics(op o) const {
  for (std::size_t i = 0; i < rows; ++i) {
    statistics_[kind_of(o)].push_back(statistic_of(o, length, [&](std::size_t j) {
      const std::size_t at = i * length + j;
      // A float holds the sum of two 16-bit numbers well enough to be rounded once more.
      return wide(adds(o) ? static_cast<S>(real<S>(x<S>()[at]) + real<S>(dy<S>()[at]))
                          : x<S>()[at]);
    }));
  }
}

const std::vector<statistic>& problem::statistics(op o) const {
  if (statistics_[kind_of(o)].empty())
    with_type(numbers, [&](auto zero) { find_statistics<decltype(zero)>(o); });
  return statistics_[kind_of(o)];
}

template <class S>
void problem::find_slopes(op o) const {
  const auto count = static_cast<long double>(length);
  std::vector<gradient>& columns = gradients_[centred(o)];
  columns.resize(length);
  for (std::size_t i = 0; i < rows; ++i) {
    const statistic& row = statistics(o)[i];
    slope s{};
    for (std::size_t j = 0; j < length; ++j) {
      const long double d = wide(dy<S>()[i * length + j]), g = wide(gamma<S>()[j]) * d;
      const long double h = (wide(x<S>()[i * length + j]) - row.mean) * row.rstd;
      s.of_h += g * h;
      s.size_of_h += std::fabs(g * h);
      s.of_one += g;
      s.size_of_one += std::fabs(g);
      columns[j].gamma += d * h;
      // LayerNorm's h have size 1 in a row of equal numbers too, as what cancels there.
      columns[j].size_of_gamma += std::fabs(d) * std::max(std::fabs(h), centred(o) ? 1.0L : 0.0L);
      columns[j].beta += d;
      columns[j].size_of_beta += std::fabs(d);
    }
    const long double of_one = centred(o) ? 1 / count : 0;
    slopes_[centred(o)].push_back(
        {s.of_h / count, s.size_of_h / count, s.of_one * of_one, s.size_of_one * of_one});
  }
}

const std::vector<slope>& problem::slopes(op o) const {
  if (slopes_[centred(o)].empty())
    with_type(numbers, [&](auto zero) { find_slopes<decltype(zero)>(o); });
  return slopes_[centred(o)];
}

const std::vector<gradient>& problem::gradients(op o) const {
  slopes(o);
  return gradients_[centred(o)];
}

template <class S>
double problem::rows_error(op o, const answer& a) const {
  largest worst(precision_of(numbers));
  const S *const sums = static_cast<const S*>(a.residual), *const y = static_cast<const S*>(a.y);
  for (std::size_t i = 0; i < rows; ++i) {
    const statistic& row = statistics(o)[i];
    const std::size_t in = i * length, out = is_heads(o) ? place_of_head(i) : in;
    for (std::size_t j = 0; j < length; ++j) {
      const auto v = wide(x<S>()[in + j]), g = wide(gamma<S>()[j]);
      const auto b = centred(o) ? wide(beta<S>()[j]) : 0;
      if (adds(o)) worst.take(wide(sums[in + j]), v + wide(dy<S>()[in + j]));
      const auto h = ((adds(o) ? wide(sums[in + j]) : v) - row.mean) * row.rstd;
      worst.take(wide(y[out + j]), g * h + b,
                 centred(o) ? std::max(std::fabs(g), std::fabs(b)) : 0);
    }
  }
  return worst.steps();
}

template <class S>
double problem::gradient_error(op o, const answer& a) const {
  largest worst(precision_of(numbers));
  for (std::size_t i = 0; i < rows; ++i) {
    const statistic& row = statistics(o)[i];
    const slope& s = slopes(o)[i];
    for (std::size_t j = 0; j < length; ++j) {
      const auto g = wide(gamma<S>()[j]) * wide(dy<S>()[i * length + j]);
      const auto h = (wide(x<S>()[i * length + j]) - row.mean) * row.rstd;
      worst.take(wide(static_cast<const S*>(a.y)[i * length + j]),
                 row.rstd * (g - s.of_one - h * s.of_h),
                 row.rstd * (std::fabs(g) + s.size_of_one + std::fabs(h) * s.size_of_h));
    }
  }
  for (std::size_t j = 0; j < length; ++j) {
    const gradient& column = gradients(o)[j];
    worst.take(static_cast<const real<S>*>(a.dgamma)[j], column.gamma, column.size_of_gamma);
    if (centred(o))
      worst.take(static_cast<const real<S>*>(a.dbeta)[j], column.beta, column.size_of_beta);
  }
  return worst.steps();
}

template <class S>
double problem::int8_error(op o, const answer& a) const {
  double worst = 0;
  std::vector<long double> right(length);
  for (std::size_t i = 0; i < rows; ++i) {
    long double peak = 0;
    for (std::size_t j = 0; j < length; ++j) {
      right[j] = wide(x<S>()[i * length + j]) * statistics(o)[i].rstd * wide(gamma<S>()[j]);
      peak = std::max(peak, std::fabs(right[j]));
    }
    const std::int8_t* const q = static_cast<const std::int8_t*>(a.y) + i * length;
    const long double scale = static_cast<const real<S>*>(a.scales)[i];
    for (std::size_t j = 0; j < length; ++j) {
      const auto e = static_cast<double>(std::fabs(q[j] * scale - right[j]) / (peak / 127));
      if (std::isnan(e)) return std::numeric_limits<double>::infinity();
      worst = std::max(worst, e);
    }
  }
  return worst;
}

double problem::error(op o, const answer& a) const {
  return with_type(numbers, [&](auto zero) {
    using S = decltype(zero);
    return backward(o)  ? gradient_error<S>(o, a)
           : is_int8(o) ? int8_error<S>(o, a)
                        : rows_error<S>(o, a);
  });
}

}  // namespace bench
