// SPDX-License-Identifier: MIT
// The clock: checks, repeats, rounds, medians.
#include "measure.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <stdexcept>
#if defined(__linux__)
#include <sched.h>
#endif

namespace bench {

namespace {

using steady = std::chrono::steady_clock;

double seconds_of(const contender& c, std::size_t times) {
  const auto begin = steady::now();
  c.run(times);
  return std::chrono::duration<double>(steady::now() - begin).count();
}

/// How often it must run for one sample, so that the clock's own cost is nothing beside it.
std::size_t repeats(const contender& c, double sample) {
  std::size_t times = 1;
  while (seconds_of(c, times) < sample) times *= 2;
  return times;
}

/// Runs until the caches hold what it leaves in them itself: a last-level cache that is filled by
/// what the second drops takes some ten runs to forget the contender before (512x2048 floats, Zen
/// 3: half as slow again after one run).
void warm_up(const contender& c) {
  constexpr double enough = 0.01;
  double spent = 0;
  for (int run = 0; run < 20 && spent < enough; ++run) spent += seconds_of(c, 1);
}

}  // namespace

void pin() {
#if defined(__linux__)
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(sched_getcpu()), &one);
  sched_setaffinity(0, sizeof one, &one);
#endif
}

std::vector<result> checked(const std::vector<contender>& all, const problem& p) {
  std::vector<result> right;
  for (const contender& c : all) {
    const std::string which =
        c.name + ", " + name(c.what) + " " + name(p.numbers) + " " + name(shape{p.rows, p.length});
    double error = 0;
    try {
      error = c.error();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "%s: left out: %s\n", which.c_str(), e.what());
      continue;
    }
    if (error <= c.tolerance) {
      right.push_back({c, error, {}});
      continue;
    }
    const std::string text = which + ": wrong, off by " + std::to_string(error) + " eps";
    if (c.part != role::peer) throw std::runtime_error(text);
    std::fprintf(stderr, "%s, left out\n", text.c_str());
  }
  return right;
}

std::vector<result> measure(const std::vector<contender>& all, const problem& p,
                            patience how_long) {
  std::vector<result> right = checked(all, p);
  std::vector<std::size_t> times;
  for (const result& r : right) times.push_back(repeats(r.of, how_long.sample));

  const auto begin = steady::now();
  const auto over = [&](std::size_t round) {
    const double spent = std::chrono::duration<double>(steady::now() - begin).count();
    return round >= how_long.most || (round >= how_long.least && spent > how_long.seconds);
  };
  for (std::size_t round = 0; !over(round); ++round)
    for (std::size_t k = 0; k < right.size(); ++k) {
      const std::size_t turn = (round + k) % right.size();
      const contender& c = right[turn].of;
      warm_up(c);
      const auto runs = static_cast<double>(times[turn] * p.rows);
      right[turn].ns.push_back(1e9 * seconds_of(c, times[turn]) / runs);
    }
  return right;
}

double median(std::vector<double> v) {
  const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  return *middle;
}

double ratio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> r(a.size());
  std::transform(a.begin(), a.end(), b.begin(), r.begin(),
                 [](double x, double y) { return x / y; });
  return median(r);
}

const result* find(const std::vector<result>& all, op what, role part) {
  for (const result& r : all)
    if (r.of.what == what && r.of.part == part) return &r;
  return nullptr;
}

}  // namespace bench
