// SPDX-License-Identifier: MIT
// The gradient's calls of a conformance case whose x is of type CONFORMANCE_X.
#include <rownorm/rownorm.hpp>
#include <tuple>

#include "conformance_calls.hpp"

namespace conformance {

namespace rn = rownorm;

/// The gradient of a parameter in the shape that it was given in.
template <class T>
std::vector<double> folded(const parameter& p, const std::vector<T>& gradient) {
  std::vector<double> sums(product(p.given.shape));
  for (std::size_t i = 0; i < p.source.size(); ++i) sums[p.source[i]] += wide(gradient[i]);
  return sums;
}

template <class X, class G, class Y>
results backward(const problem& p) {
  using gradient = std::conditional_t<std::is_same_v<X, double>, double, float>;
  const std::size_t n = p.length;
  const auto x_numbers = numbers<X>(p.x);
  const auto gamma_numbers = numbers_at<G>(p.gamma.given, p.gamma.source);
  const auto dy_numbers = numbers_at<Y>(p.other.at("dy"), places(p.other.at("dy")));
  std::vector<X> dx_numbers(p.rows * n);
  const bool row_by_row = p.gamma.per_row || p.beta.per_row;
  std::vector<gradient> dgammas(row_by_row ? p.rows * n : n), dbetas(dgammas.size());

  const bool rms = p.op == "rms_norm", given = p.other.count("var_in") != 0;
  if (p.op.compare(0, 4, "add_") == 0) throw not_run("the gradient of an add");
  std::vector<double> means(p.rows), rstds(p.rows);
  if (given) std::tie(means, rstds) = given_statistics(p);

  for (const block& b : p.blocks) {
    const std::size_t at = b.first * n;
    const rn::rows<const X> x(x_numbers.data() + b.offset, b.count, n, b.stride);
    const rn::rows<const Y> dy(dy_numbers.data() + at, b.count, n);
    const rn::rows<X> dx(dx_numbers.data() + at, b.count, n);
    const rn::rows<const G> gamma(gamma_numbers.data() + (p.gamma.per_row ? at : 0), 1, n);
    const rn::rows<gradient> dgamma(dgammas.data() + (row_by_row ? at : 0), 1, n),
        dbeta(dbetas.data() + (row_by_row ? at : 0), 1, n);
    const rn::rows<const double> mean(means.data() + b.first, 1, b.count),
        rstd(rstds.data() + b.first, 1, b.count);
    const auto rms_norm = [&](const auto& gain, const auto& to) {
      rn::rms_norm_backward(dy, x, gain, dx, to, p.eps);
    };
    const auto norm = [&](const auto& gain, const auto& to) {
      if (!given && rms) return rms_norm(gain, to);
      if (!given) return rn::layer_norm_backward(dy, x, gain, dx, to, dbeta, p.eps);
      if constexpr (std::is_same_v<X, Y>) {
        if (rms) return rn::rms_norm_backward(dy, x, gain, dx, to, rn::saved(rstd));
        return rn::layer_norm_backward(dy, x, gain, dx, to, dbeta, rn::saved(mean, rstd));
      }
      throw not_run("given statistics with dy of another type than x");
    };
    if (p.gain == word::none) norm(rn::none, rn::none);
    else if (p.gain == word::plain) norm(gamma, dgamma);
    else if (!rms || given) throw not_run("such a gain in this gradient is not built here");
    else if (p.gain == word::one_plus) rms_norm(rn::one_plus(gamma), dgamma);
    else rms_norm(rn::after_rounding(gamma), dgamma);
    // Statistics that do not depend on x: dx = dy * gamma * rstd, the forward call of dy.
    if (p.stats_constant && p.gain == word::none) rn::rms_norm(dy, rn::none, dx, rn::saved(rstd));
    else if (p.stats_constant) rn::rms_norm(dy, gamma, dx, rn::saved(rstd));
  }

  results r{{"dx", wide(dx_numbers)}};
  if (p.gain != word::none) r["dgamma"] = folded(p.gamma, dgammas);
  // Where beta itself is not given, its gradient has the shape of gamma's.
  if (!rms) r["dbeta"] = folded(p.has_beta ? p.beta : p.gamma, dbetas);
  return r;
}

template <class X>
results run_backward(const problem& p, const std::string& gamma, const std::string& y) {
  return with_built_types<X>(
      gamma, y, [&](auto g, auto v) { return backward<X, decltype(g), decltype(v)>(p); });
}
template results run_backward<CONFORMANCE_X>(const problem&, const std::string&,
                                             const std::string&);

}  // namespace conformance
