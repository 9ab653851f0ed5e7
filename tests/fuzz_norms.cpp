// SPDX-License-Identifier: MIT
// Rows of any numbers, in any place, through every word: against the formula where the row is
// finite, against the rules for NaN and Inf where not; the bits do not depend on the place. Then
// one of what the plain calls have besides: addresses and streaming, saved, int8, gradients, gates.
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

/// Plain x86-64 has no fused multiply-add.
#if defined(__x86_64__) && !defined(__FMA__)
constexpr bool fused = false;
#else
constexpr bool fused = true;
#endif

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
    // What leaves the range of the arithmetic before gamma brings it back is no promise; nor, where
    // the product and the sum are two roundings, before beta does.
    const real largest_step =
        fused || b == 0 ? std::abs(z) : std::max(std::abs(z), std::abs(z * g));
    if (!std::isfinite(g) || largest_step > real{std::numeric_limits<A>::max()} / 2) continue;
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
    // Beyond the largest number of Y stands Inf: on the side of a number that is near enough to it.
    const real most = exact(std::numeric_limits<Y>::max());
    if (std::isinf(got) && (got > 0 ? expected : -expected) + error >= most) continue;
    if (!(std::abs(got - expected) <= error)) fail(p, n, "y", i, got, expected, error);
  }
}

/// One of what the calls have besides, by arithmetic of A; `other` is dy, or the gate.
template <class A, class T>
void try_more(FuzzedDataProvider& from, const problem& p, rn::rows<const T> x,
              rn::rows<const T> other, const std::vector<T>& gamma) {
  enum { nothing, address, saved, int8, gradient, gate, all };
  const int more = from.ConsumeIntegralInRange(0, all - 1);
  if (more == nothing) return;
  const bool centred = from.ConsumeBool();
  const std::size_t count = x.count, n = x.length;
  const auto row_of = [&](const auto& rows, std::size_t i) {
    return test::values(rows.data + i * rows.stride, n);
  };
  const auto forward = [&](const auto& y, auto& mean, auto& rstd) {
    if (centred) rn::layer_norm<A>(x, gamma, rn::none, y, p.eps, mean, rstd);
    else rn::rms_norm<A>(x, gamma, y, p.eps, rstd);
  };
  std::vector<T> memory(count * n);
  const rn::rows<T> y(memory.data(), count, n);
  std::vector<double> mean(count), rstd(count);
  forward(y, mean, rstd);

  // Rows whose every step stays far inside the range of float.
  const auto moderate = [](real v) {
    return v == 0 || (std::abs(v) >= 1e-6L && std::abs(v) <= 1e6L);
  };
  const auto all_moderate = [&](const reference::row& r) {
    return std::all_of(r.begin(), r.end(), moderate);
  };
  const reference::row gain = test::values(gamma);
  const auto plain_row = [&](std::size_t i) {
    return all_moderate(row_of(x, i)) && all_moderate(row_of(other, i)) && all_moderate(gain) &&
           rstd[i] != 0 && moderate(rstd[i]);
  };
  const real tiny = std::numeric_limits<A>::min();

  if (more == address) {  // y at any number of a line, by either kind of stores
    const std::size_t line = 64 / sizeof(T),
                      stride = n + from.ConsumeIntegralInRange<std::size_t>(0, 33),
                      offset = from.ConsumeIntegralInRange<std::size_t>(0, line - 1);
    std::vector<T> there(count * stride + 3 * line);
    std::memset(static_cast<void*>(there.data()), 0xff, there.size() * sizeof(T));
    std::vector<T> expected = there;
    const auto past_line = reinterpret_cast<std::uintptr_t>(there.data()) % 64 / sizeof(T);
    const std::size_t begin = line - past_line + offset;
    for (std::size_t i = 0; i < count; ++i)
      std::copy_n(y.data + i * n, n,
                  expected.begin() + static_cast<std::ptrdiff_t>(begin + i * stride));
    const rn::rows<T> rows(there.data() + begin, count, n, stride);
    if (from.ConsumeBool()) forward(rn::streaming(rows), mean, rstd);
    else forward(rn::cached(rows), mean, rstd);
    for (std::size_t j = 0; j < there.size(); ++j)
      if (!same(there[j], expected[j]))
        fail(p, n, "y at another address", j, exact(there[j]), exact(expected[j]), 0);
  } else if (more == saved) {
    // LayerNorm's mean of doubles is kept in two numbers, of which the caller is given the sum.
    if (centred && std::is_same_v<A, double>) return;
    std::vector<T> again(count * n);
    const rn::rows<T> out(again.data(), count, n);
    if (centred) rn::layer_norm<A>(x, gamma, rn::none, out, rn::saved(mean, rstd));
    else rn::rms_norm<A>(x, gamma, out, rn::saved(rstd));
    for (std::size_t j = 0; j < count * n; ++j)
      if (plain_row(j / n) && !same(again[j], memory[j]))
        fail(p, n, "y by saved statistics", j, exact(again[j]), exact(memory[j]), 0);
  } else if (more == int8) {
    if constexpr (std::is_same_v<A, T>) {
      std::vector<std::int8_t> q(count * n);
      std::vector<double> scales(count);
      forward(rn::quantized(rn::rows<std::int8_t>(q.data(), count, n), scales), mean, rstd);
      for (std::size_t i = 0; i < count; ++i) {
        const reference::row v = row_of(y, i), in = row_of(x, i);
        const bool finite =
            std::all_of(in.begin(), in.end(), [](real number) { return std::isfinite(number); });
        real peak = 0;
        for (const real number : v) peak = std::max(peak, std::abs(number));
        const real scale = scales[i], error = 2 * test::step<A> * peak / 127;
        // What y lost below or above the range of its type, the scale still has.
        if (finite && (peak > 1e30L || (peak < 1e6L * tiny && scale < 1e6L * tiny))) continue;
        if (finite ? !(std::abs(scale - peak / 127) <= error) : !std::isnan(scale))
          fail(p, n, "the scale of int8", i, scale, finite ? peak / 127 : NAN, error);
        for (std::size_t j = 0; j < n; ++j) {
          const real quotient = finite ? v[j] / scale : 0,
                     from_tie = std::abs(std::abs(quotient - std::trunc(quotient)) - 0.5L),
                     off = from_tie < 1e-4L ? 1 : 0;
          if (!(std::abs(q[i * n + j] - std::nearbyint(quotient)) <= off))
            fail(p, n, "int8", j, q[i * n + j], quotient, off);
        }
      }
    }
  } else if (more == gradient) {
    std::vector<T> dx(count * n);
    std::vector<A> dgamma(n);
    const rn::rows<T> out(dx.data(), count, n);
    const bool by_eps = !from.ConsumeBool() || p.eps.outside;
    if (centred && by_eps)
      rn::layer_norm_backward<A>(other, x, gamma, out, dgamma, rn::none, p.eps);
    else if (centred)
      rn::layer_norm_backward<A>(other, x, gamma, out, dgamma, rn::none, rn::saved(mean, rstd));
    else if (by_eps) rn::rms_norm_backward<A>(other, x, gamma, out, dgamma, p.eps);
    else rn::rms_norm_backward<A>(other, x, gamma, out, dgamma, rn::saved(rstd));
    reference::row sum(n), sum_error(n, tiny);
    bool plain = true;
    for (std::size_t i = 0; i < count; ++i) {
      if (!plain_row(i)) {
        plain = false;
        continue;
      }
      const reference::row dy = row_of(other, i), got = row_of(out, i);
      const reference::gradient d =
          centred ? reference::layer_norm_backward(dy, row_of(x, i), gain, p.eps)
                  : reference::rms_norm_backward(dy, row_of(x, i), gain, p.eps);
      for (std::size_t j = 0; j < n; ++j) {
        // Rows written against both sums of a gradient have 10.7 steps.
        const real error =
            16 * test::step<A> * d.size[j] + test::stored_error<A, T>(d.dx[j]) + tiny;
        if (!(std::abs(got[j] - d.dx[j]) <= error)) fail(p, n, "dx", j, got[j], d.dx[j], error);
        sum[j] += dy[j] * d.h[j];
        sum_error[j] +=
            8 * test::step<A> * std::abs(dy[j]) * std::max(std::abs(d.h[j]), real(centred));
      }
    }
    for (std::size_t j = 0; plain && j < n; ++j)
      if (!(std::abs(exact(dgamma[j]) - sum[j]) <= sum_error[j]))
        fail(p, n, "dgamma", j, exact(dgamma[j]), sum[j], sum_error[j]);
  } else if (more == gate) {
    const rn::gate_order order = centred ? rn::gate_first : rn::norm_first;
    rn::gated_rms_norm<A>(x, other, gamma, y, p.eps, order);
    for (std::size_t i = 0; i < count; ++i) {
      const reference::row z = row_of(other, i), got = row_of(y, i);
      // The factor of a gate below -60 is less than 1e-24.
      if (!plain_row(i) || *std::min_element(z.begin(), z.end()) < -60) continue;
      reference::row in = row_of(x, i);
      const auto silu = [&](std::size_t j) { return z[j] / (1 + std::exp(-z[j])); };
      for (std::size_t j = 0; j < n && order == rn::gate_first; ++j) in[j] *= silu(j);
      reference::row r = reference::rms_norm(in, gain, p.eps).y;
      for (std::size_t j = 0; j < n; ++j) {
        if (order == rn::norm_first) r[j] *= silu(j);
        const real error =
            10 * test::step<A> * std::abs(r[j]) + test::stored_error<A, T>(r[j]) + tiny;
        if (!(std::abs(got[j] - r[j]) <= error)) fail(p, n, "gated y", j, got[j], r[j], error);
      }
    }
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

  // Drawn behind all else: what an input meant before it means still. Of the usual types alone, for
  // the compiler's sake.
  if constexpr (std::is_same_v<X, G> && (std::is_same_v<A, X> || sizeof(X) == 2))
    try_more<A, X>(from, p, std::as_const(x).rows(), std::as_const(residual).rows(), gamma);

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
