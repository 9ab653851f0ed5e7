// SPDX-License-Identifier: MIT
// The forward calls of a conformance case whose x is of type CONFORMANCE_X.
#include <rownorm/rownorm.hpp>
#include <tuple>

#include "conformance_calls.hpp"

namespace conformance {

namespace rn = rownorm;

/// The forward calls, block by block.
template <class X, class G, class Y>
results forward(const problem& p) {
  const std::size_t n = p.length;
  const auto x_numbers = numbers<X>(p.x);
  const auto gamma_numbers = numbers_at<G>(p.gamma.given, p.gamma.source);
  const auto beta_numbers = numbers_at<G>(p.beta.given, p.beta.source);
  std::vector<Y> y_numbers(p.rows * n);
  std::vector<double> means(p.rows), rstds(p.rows);

  // The skip connection is the residual; a bias is added to it beforehand.
  const bool add = p.op.compare(0, 4, "add_") == 0, rms = p.op.find("rms") != std::string::npos;
  std::vector<X> sums;
  if (add) {
    sums = numbers_at<X>(p.other.at("skip"), places(p.other.at("skip")));
    if (const auto bias = p.other.find("bias"); bias != p.other.end()) {
      const auto more = numbers_at<X>(bias->second, places(bias->second));
      for (std::size_t i = 0; i < sums.size(); ++i)
        sums[i] = static_cast<X>(wide(sums[i]) + wide(more[i]));
    }
  }

  const bool given = p.other.count("var_in") != 0;
  if (given) std::tie(means, rstds) = given_statistics(p);

  for (const block& b : p.blocks) {
    const rn::rows<const X> x(x_numbers.data() + b.offset, b.count, n, b.stride);
    const rn::rows<X> residual(sums.data() + (add ? b.first * n : 0), b.count, n);
    const rn::rows<Y> y(y_numbers.data() + b.first * n, b.count, n);
    const rn::rows<const G> gamma(gamma_numbers.data() + (p.gamma.per_row ? b.first * n : 0), 1, n);
    const rn::rows<const G> beta(beta_numbers.data() + (p.beta.per_row ? b.first * n : 0), 1, n);
    const rn::rows<double> mean(means.data() + b.first, 1, b.count),
        rstd(rstds.data() + b.first, 1, b.count);
    const auto with_beta = [&](auto call) { p.has_beta ? call(beta) : call(rn::none); };
    const auto layer_norm = [&](const auto& gain) {
      with_beta([&](const auto& shift) {
        if (given) rn::layer_norm(x, gain, shift, y, rn::saved(mean, rstd));
        else rn::layer_norm(x, gain, shift, y, p.eps, mean, rstd);
      });
    };
    const auto rms_norm = [&](const auto& gain) {
      if (given) rn::rms_norm(x, gain, y, rn::saved(rstd));
      else rn::rms_norm(x, gain, y, p.eps, rstd);
    };
    const auto add_norm = [&](const auto& gain) {
      if constexpr (std::is_same_v<X, Y>) {
        if (rms) return rn::add_rms_norm(x, residual, gain, y, p.eps, rstd);
        with_beta([&](const auto& shift) {
          rn::add_layer_norm(x, residual, gain, shift, y, p.eps, mean, rstd);
        });
      } else {
        throw not_run("add_norm with y of another type than x");
      }
    };
    // What no set asks for is not built: each line is a kernel more.
    if (add && p.gain == word::plain) add_norm(gamma);
    else if (add && rms && p.gain == word::none) add_norm(rn::none);
    else if (add) throw not_run("add_norm with another word than gamma");
    else if (rms && p.gain == word::none) rms_norm(rn::none);
    else if (rms && p.gain == word::plain) rms_norm(gamma);
    else if (rms && p.gain == word::one_plus) rms_norm(rn::one_plus(gamma));
    else if (rms) rms_norm(rn::after_rounding(gamma));
    else if (p.gain == word::none) layer_norm(rn::none);
    else if (p.gain == word::plain) layer_norm(gamma);
    else if (p.gain == word::after_rounding) layer_norm(rn::after_rounding(gamma));
    else throw not_run("layer_norm with one_plus(gamma)");
  }

  results r{{"y", wide(y_numbers)}, {"rstd", rstds}};
  if (!rms) r["mean"] = means;
  if (add) r["sum"] = wide(sums);
  for (const double s : rstds) r["var"].push_back(1 / (s * s) - p.eps);
  return r;
}

template <class X>
results run_forward(const problem& p, const std::string& gamma, const std::string& y) {
  return with_built_types<X>(
      gamma, y, [&](auto g, auto v) { return forward<X, decltype(g), decltype(v)>(p); });
}
template results run_forward<CONFORMANCE_X>(const problem&, const std::string&, const std::string&);

}  // namespace conformance
