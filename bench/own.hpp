// SPDX-License-Identifier: MIT
// What rownorm's own contenders and the limits share: one that writes an answer, and one that finds
// sums of rows.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "contender.hpp"

namespace bench {

/// Sums of a row come out here, so that they are needed: its mean and variance, and in the backward
/// pass the means of gamma * dy * (x - mean) and of gamma * dy.
struct found {
  double mean, variance;
  double product = 0, level = 0;
};

/// The largest relative error of what was found: of means relative to the standard deviation, of
/// products to what would be there if nothing cancelled.
template <class S>
double error_of(const std::vector<found>& of, const problem& p, op what) {
  long double worst = 0;
  const auto take = [&](long double e) {
    worst = std::isnan(e) ? std::numeric_limits<long double>::infinity() : std::max(worst, e);
  };
  for (std::size_t i = 0; i < of.size(); ++i) {
    const statistic& right = p.statistics(what)[i];
    take(std::fabs(of[i].mean - right.mean) * right.rstd);
    take(std::fabs(of[i].variance - right.variance) * right.rstd * right.rstd);
    if (!backward(what)) continue;
    const slope& s = p.slopes(what)[i];
    take(std::fabs(of[i].product * right.rstd - s.of_h) / s.size_of_h);
    if (centred(what)) take(std::fabs(of[i].level - s.of_one) / s.size_of_one);
  }
  return static_cast<double>(worst / std::numeric_limits<real<S>>::epsilon());
}

/// find(i) gives what is found of row i.
template <class S, class Find>
contender finder(const char* called, role part, const problem& p, op what, Find find) {
  const auto results = std::make_shared<std::vector<found>>(p.rows);
  const auto f = [&p, find, out = results->data()] {
    for (std::size_t i = 0; i < p.rows; ++i) out[i] = find(i);
  };
  const auto error = [&p, what, f, results] {
    p.forget_result(what);
    f();
    return error_of<S>(*results, p, what);
  };
  return {called, part, what, repeated(f), error, 1000};
}

/// A contender that writes the answer.
template <class F>
contender writer(const char* called, role part, const problem& p, op what, double tolerance, F f) {
  contender c = peer(called, p, what, f);
  c.part = part;
  c.tolerance = tolerance;
  return c;
}

/// Stands in the line of another op, and is checked as what it is.
inline contender in_line_of(op what, contender c) {
  c.what = what;
  return c;
}

std::vector<contender> rownorm_calls(const problem& p, op what);
/// memcpy, or the bare loop that moves as many matrices; the bare halves.
std::vector<contender> limits_of(const problem& p, op what);

}  // namespace bench
