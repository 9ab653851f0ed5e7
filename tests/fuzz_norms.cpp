// SPDX-License-Identifier: MIT
// Rows of any numbers, in any place, through every word: against the formula where the row is
// finite, against the rules for NaN and Inf where not; the bits do not depend on the place.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <rownorm/rownorm.hpp>
#include <vector>

#include "reference.hpp"

namespace rn = rownorm;
using test::exact;
using test::real;

namespace {

enum operation { rms, partial_rms, add_rms, layer, add_layer, operations };
enum word { none, plain, one_plus, after_rounding, words };

/// Numbers of T: any bits, or a few steps around one number, which is where sums cancel.
template <class T>
struct numbers {
  std::vector<std::uint8_t> bytes;
  bool around;
  T centre{}, step{};

  explicit numbers(FuzzedDataProvider& from) : around(from.ConsumeBool()) {
    bytes = from.ConsumeBytes<std::uint8_t>(from.ConsumeIntegralInRange<std::size_t>(1, 64));
    bytes.resize(std::max(bytes.size(), sizeof(T)));
    centre = bits(0);
    step = bits(bytes.size() - sizeof(T));
  }
  T bits(std::size_t at) const {
    std::uint8_t b[sizeof(T)];
    for (std::size_t i = 0; i < sizeof(T); ++i) b[i] = bytes[(at + i) % bytes.size()];
    T v;
    std::memcpy(static_cast<void*>(&v), b, sizeof(T));
    return v;
  }
  T operator[](std::size_t i) const {
    if (!around) return bits(i * sizeof(T));
    const int steps = static_cast<std::int8_t>(bytes[i % bytes.size()]);
    return test::number<T>(static_cast<double>(exact(centre) + steps * exact(step)));
  }
  T finite(std::size_t i) const {
    const T v = (*this)[i];
    return std::isfinite(exact(v)) ? v : T(1);
  }
};

struct problem {
  operation op = rms;
  word gain = none;
  bool beta = false;
  rn::epsilon eps{0.0};
  std::size_t k = 0;
};

[[noreturn]] void fail(const problem& p, std::size_t n, const char* what, std::size_t at, real got,
                       real expected, real error) {
  std::fprintf(stderr,
               "%s at %zu of %zu: %.21Lg, expected %.21Lg, off by %Lg, allowed %Lg (operation %d, "
               "word %d, eps %g%s, k %zu)\n",
               what, at, n, got, expected, std::abs(got - expected), error, p.op, p.gain,
               p.eps.value, p.eps.outside ? " outside the root" : "", p.k);
  std::abort();
}

template <class T>
bool same(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0 || (std::isnan(exact(a)) && std::isnan(exact(b)));
}

/// A row's y, mean and rstd; x is what the statistic was taken from (after an add, the sum).
template <class A, class X, class G, class Y>
void check_row(const problem& p, const std::vector<X>& x, const std::vector<G>& gamma,
               const std::vector<G>& beta, const std::vector<Y>& y, double mean, double rstd) {
  const std::size_t n = x.size();
  const reference::row values = test::values(x);
  const bool centred = p.op == layer || p.op == add_layer;
  const auto is_nan = [](real v) { return std::isnan(v); };
  const auto is_inf = [](real v) { return std::isinf(v); };
  const auto k = values.begin() + static_cast<std::ptrdiff_t>(p.k);
  const bool nan = std::any_of(values.begin(), k, is_nan),
             inf = std::any_of(values.begin(), k, is_inf);
  const reference::normalized r = centred ? reference::layer_norm(values, {}, {}, p.eps)
                                          : reference::partial_rms_norm(values, p.k, {}, p.eps);
  if (!nan && !inf) {
    const auto largest = real{std::numeric_limits<double>::max()};
    // Where the variance is all of it, rstd has the variance's error.
    const real error = 2 * test::rstd_error<A> * r.rstd + std::numeric_limits<double>::denorm_min();
    if (r.rstd < largest / 2 && !(std::abs(rstd - r.rstd) <= error))
      fail(p, n, "rstd", 0, rstd, r.rstd, error);
    if (centred) {
      real size = 0;
      for (const real v : values) size = std::max(size, std::abs(v));
      const real mean_error = 4 * test::step<A> * size + test::ulp<double>(0);
      if (!(std::abs(mean - r.mean) <= mean_error)) fail(p, n, "mean", 0, mean, r.mean, mean_error);
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    const real got = exact(y[i]);
    // The row is spoiled by what its statistic met, or the number by itself (Inf in a row of
    // zeros).
    if (nan || is_nan(values[i]) || (inf && (centred || is_inf(values[i]))) ||
        (!inf && is_nan(r.y[i]))) {
      if (!is_nan(got)) fail(p, n, "a number that should be NaN", i, got, NAN, 0);
      continue;
    }
    A g = static_cast<A>(exact(gamma[i]));
    if (p.gain == one_plus) g = A(1) + g;
    if (p.gain == none) g = 1;
    const real b = p.beta ? exact(beta[i]) : real{0};
    const real z = inf ? real{0} : r.y[i];
    // What leaves the range of the arithmetic before gamma brings it back is no promise.
    if (!std::isfinite(g) || std::abs(z) > real{std::numeric_limits<A>::max()} / 2) continue;
    const real expected = z * g + b;
    real z_error = 5 * test::ulp<A>(0);
    if (p.gain == after_rounding && sizeof(X) < sizeof(A)) {
      if (std::abs(z) > real{std::numeric_limits<X>::max()}) continue;
      z_error += test::stored_error<A, X>(z);
    }
    const real scale = centred ? std::max({std::abs(expected), std::abs(real{g}), std::abs(b)})
                               : std::abs(expected);
    const real error = z_error * std::max<real>(1, std::abs(g)) +
                       (p.gain == after_rounding ? test::rstd_error<A> * std::abs(expected) : 0) +
                       (centred ? test::layer_norm_error<A, Y>(expected, scale)
                                : test::rms_norm_error<A, Y>(expected));
    const real most = exact(std::numeric_limits<Y>::max());
    if (std::isinf(got) && std::abs(expected) + error >= most && (got > 0) == (expected > 0))
      continue;
    if (!(std::abs(got - expected) <= error)) fail(p, n, "y", i, got, expected, error);
  }
}

/// In arithmetic of A.
template <class A, class X, class G, class Y>
void try_norms(FuzzedDataProvider& from) {
  problem p;
  p.op = static_cast<operation>(from.ConsumeIntegralInRange(0, operations - 1));
  const bool add = p.op == add_rms || p.op == add_layer;
  p.gain = static_cast<word>(from.ConsumeIntegralInRange(0, words - 1));
  if (add || (p.op == layer && p.gain != none)) p.gain = plain;
  p.beta = p.op == add_layer || (p.op == layer && p.gain == plain);
  const std::size_t count = from.ConsumeIntegralInRange<std::size_t>(1, 3);
  const std::size_t n = from.ConsumeIntegralInRange<std::size_t>(0, 9) == 0
                            ? from.ConsumeIntegralInRange<std::size_t>(1, 9000)
                            : from.ConsumeIntegralInRange<std::size_t>(1, 200);
  p.k = p.op == partial_rms ? from.ConsumeIntegralInRange<std::size_t>(1, n) : n;
  // Beyond 2^400 the factor of a row of tiny doubles falls below every double.
  const double epsilons[] = {0, 1e-6, 1e-5, 1,
                             std::min(std::abs(from.ConsumeFloatingPoint<double>()), 0x1p400)};
  const double eps = from.PickValueInArray(epsilons);
  p.eps = from.ConsumeBool() ? rn::epsilon(eps) : rn::outside_root(eps);
  const auto place = [&] { return from.ConsumeIntegralInRange<std::size_t>(0, 17); };
  test::guarded<X> x(count, n, n + place(), place());
  test::guarded<X> residual(count, n, n + place(), place());
  test::guarded<Y> y(count, n, n + place(), place());
  const numbers<X> x_numbers(from), residual_numbers(from);
  const numbers<G> gamma_numbers(from), beta_numbers(from);
  std::vector<G> gamma(n), beta(n);
  for (std::size_t j = 0; j < n; ++j) {
    gamma[j] = gamma_numbers.finite(j);
    beta[j] = beta_numbers.finite(j);
    for (std::size_t i = 0; i < count; ++i) {
      x.rows().data[i * x.rows().stride + j] = x_numbers[i * n + j];
      residual.rows().data[i * residual.rows().stride + j] = residual_numbers[j + i];
    }
  }
  const std::vector<double> zeros(count);
  std::vector<double> mean = zeros, rstd = zeros;

  // Not every pair of words: each is a kernel more to compile.
  const auto run = [&](const auto& in, const auto& sum, const auto& out, auto& mu, auto& root) {
    const auto rms_with = [&](const auto& gain) {
      if (p.op == rms) rn::rms_norm<A>(in, gain, out, p.eps, root);
      else rn::partial_rms_norm<A>(in, p.k, gain, out, p.eps, root);
    };
    if (p.op == add_rms) rn::add_rms_norm<A>(in, sum, gamma, out, p.eps, root);
    else if (p.op == add_layer) rn::add_layer_norm<A>(in, sum, gamma, beta, out, p.eps, mu, root);
    else if (p.op == layer && p.gain == none)
      rn::layer_norm<A>(in, rn::none, rn::none, out, p.eps, mu, root);
    else if (p.op == layer) rn::layer_norm<A>(in, gamma, beta, out, p.eps, mu, root);
    else if (p.gain == none) rms_with(rn::none);
    else if (p.gain == plain) rms_with(gamma);
    else if (p.gain == one_plus) rms_with(rn::one_plus(gamma));
    else rms_with(rn::after_rounding(gamma));
  };
  const auto row_of = [&](const auto& rows, std::size_t i) {
    const auto* begin = rows.data + i * rows.stride;
    return std::vector<std::remove_const_t<std::remove_reference_t<decltype(*begin)>>>(begin,
                                                                                       begin + n);
  };

  std::vector<std::vector<X>> before;
  for (std::size_t i = 0; i < count; ++i) before.push_back(row_of(residual.rows(), i));
  run(std::as_const(x).rows(), residual.rows(), y.rows(), mean, rstd);
  if (!x.untouched() || !residual.untouched() || !y.untouched())
    fail(p, n, "a number beside the rows", 0, 0, 0, 0);

  for (std::size_t i = 0; i < count; ++i) {
    const std::vector<X> in = row_of(x.rows(), i), sum = row_of(residual.rows(), i);
    for (std::size_t j = 0; j < n; ++j) {
      const X expected = add ? test::number<X>(static_cast<A>(static_cast<A>(exact(before[i][j])) +
                                                              static_cast<A>(exact(in[j]))))
                             : before[i][j];
      if (!same(sum[j], expected)) fail(p, n, "residual", j, exact(sum[j]), exact(expected), 0);
    }
    const std::vector<Y> out = row_of(y.rows(), i);
    check_row<A>(p, add ? sum : in, gamma, beta, out, mean[i], rstd[i]);

    // The row alone, elsewhere.
    std::vector<X> sum_alone = before[i];
    std::vector<Y> y_alone(n);
    double mean_alone[1] = {}, rstd_alone[1] = {};
    const rn::rows<double> mu(mean_alone, 1, 1), root(rstd_alone, 1, 1);
    run(in, rn::rows<X>(sum_alone.data(), 1, n), rn::rows<Y>(y_alone.data(), 1, n), mu, root);
    for (std::size_t j = 0; j < n; ++j)
      if (!same(out[j], y_alone[j]))
        fail(p, n, "y elsewhere", j, exact(y_alone[j]), exact(out[j]), 0);
    if (!same(rstd[i], rstd_alone[0]) || !same(mean[i], mean_alone[0]))
      fail(p, n, "a statistic elsewhere", 0, rstd_alone[0], rstd[i], 0);
  }

  // In place.
  if constexpr (std::is_same_v<X, Y>) {
    std::vector<double> mu = zeros, root = zeros;
    for (std::size_t i = 0; i < count; ++i)
      std::copy(before[i].begin(), before[i].end(),
                residual.rows().data + i * residual.rows().stride);
    run(std::as_const(x).rows(), residual.rows(), x.rows(), mu, root);
    for (std::size_t i = 0; i < count; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        const X got = x.rows().data[i * x.rows().stride + j];
        const Y expected = y.rows().data[i * y.rows().stride + j];
        if (!same(got, expected)) fail(p, n, "y in place", j, exact(got), exact(expected), 0);
      }
    if (!x.untouched()) fail(p, n, "a number beside the rows, in place", 0, 0, 0, 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider from(data, size);
  using Eigen::bfloat16, Eigen::half;
  switch (from.ConsumeIntegralInRange(0, 4)) {
    case 0:
      try_norms<float, float, float, float>(from);
      break;
    case 1:
      try_norms<double, double, double, double>(from);
      break;
    case 2:
      try_norms<double, float, float, float>(from);
      break;
    case 3:
      try_norms<float, bfloat16, bfloat16, bfloat16>(from);
      break;
    default:
      try_norms<float, half, float, half>(from);
      break;
  }
  return 0;
}
