// SPDX-License-Identifier: MIT
// The calls on one thread and on several (oneTBB's) beside memcpy on as many, and the peers that
// have threads: what each gains.
#include <tbb/task_arena.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <rownorm/parallel.hpp>

#include "measure.hpp"
#include "own.hpp"

namespace {

using namespace bench;
namespace rn = rownorm;

/// f in an arena of so many threads, all runs of a sample in one visit: they find its threads
/// awake.
template <class F>
contender over(int threads, const problem& p, op what, F f) {
  contender c = writer("rownorm", role::rownorm, p, what, 4, f);
  const auto on_threads = [arena = std::make_shared<tbb::task_arena>(threads)](auto g) {
    arena->execute(g);
  };
  return {c.name,
          c.part,
          what,
          [=](std::size_t times) { on_threads([&] { c.run(times); }); },
          [=] {
            double error = 0;
            on_threads([&] { error = c.error(); });
            return error;
          },
          c.tolerance};
}

/// The call with `where` before its arguments: par or nothing.
template <class... Where>
contender call(int threads, const problem& p, op what, const Where&... where) {
  const double eps = epsilon(what);
  const auto matrix = [&](auto* data) { return rn::rows(data, p.rows, p.length); };
  const auto vector = [&](auto* data) { return rn::rows(data, 1, p.length); };
  const auto x = matrix(p.x<float>()), dy = matrix(p.dy<float>());
  const auto gamma = vector(p.gamma<float>()), beta = vector(p.beta<float>());
  const auto y = matrix(p.y<float>());
  const auto dgamma = vector(p.dgamma<float>()), dbeta = vector(p.dbeta<float>());
  switch (what) {
    case op::rms_norm:
      return over(threads, p, what, [=] { rn::rms_norm(where..., x, gamma, y, eps); });
    case op::layer_norm:
      return over(threads, p, what, [=] { rn::layer_norm(where..., x, gamma, beta, y, eps); });
    case op::rms_backward:
      return over(threads, p, what,
                  [=] { rn::rms_norm_backward(where..., dy, x, gamma, y, dgamma, eps); });
    default:
      return over(threads, p, what,
                  [=] { rn::layer_norm_backward(where..., dy, x, gamma, y, dgamma, dbeta, eps); });
  }
}

/// memcpy of x to y, an equal part for each thread.
contender copy(int threads, const problem& p, op what) {
  const std::size_t parts = static_cast<std::size_t>(threads), bytes = p.bytes();
  const auto part = [=, x = p.x<std::byte>(), y = p.y<std::byte>()](std::size_t i) {
    const std::size_t begin = bytes * i / parts, end = bytes * (i + 1) / parts;
    std::memcpy(y + begin, x + begin, end - begin);
  };
  contender c = over(threads, p, what, [=] { rn::par.pool(parts, part); });
  c.name = "memcpy";
  c.part = role::copy;
  c.error = [] { return 0.0; };
  return c;
}

void add_peers(std::vector<contender>& all, const problem& p, op what, int threads) {
  peer_threads = threads;
  [[maybe_unused]] const auto add = [&](peers from) {
    for (const contender& c : from(p, what)) all.push_back(c);
  };
#if defined(BENCH_ONEDNN)
  add(onednn_peers);
#endif
#if defined(BENCH_TORCH)
  add(torch_peers);
#endif
}

/// Each round's time on one thread to that on several.
std::vector<double> gains(const result& one, const result& several) {
  std::vector<double> g(one.ns.size());
  std::transform(one.ns.begin(), one.ns.end(), several.ns.begin(), g.begin(),
                 [](double a, double b) { return a / b; });
  return g;
}

void show(int threads, shape s, op what) {
  const problem p(type::f32, s, {what});
  std::vector<contender> all{copy(1, p, what), copy(threads, p, what), call(1, p, what),
                             call(threads, p, what, rn::par)};
  add_peers(all, p, what, 1);
  add_peers(all, p, what, threads);
  const std::vector<result> results = measure(all, p, {2, 21, 401});

  // Of one name there are two: on one thread, on several.
  const std::vector<double> of_copy = gains(results[0], results[1]);
  for (auto one = results.begin(); one != results.end(); ++one)
    for (auto several = one + 1; several != results.end(); ++several) {
      if (one->of.name != several->of.name) continue;
      const std::vector<double> g = gains(*one, *several);
      std::printf("| %9s | %14s | %14s | %8.1f | %8.1f | %5.2f | %15.2f |\n", name(s).c_str(),
                  name(what).c_str(), one->of.name.c_str(), median(one->ns), median(several->ns),
                  median(g), ratio(g, of_copy));
    }
  std::fflush(stdout);
}

}  // namespace

/// bench_parallel [threads]
int main(int argc, char** argv) try {
  const int threads = argc > 1 ? std::max(2, std::atoi(argv[1])) : 2;
  std::printf(
      "Nanoseconds per row of floats on 1 thread and on %d, what that gains, and beside what "
      "memcpy\n"
      "of x to y gains in the same rounds.\n\n"
      "|     shape |             op |                |        1 |  several |  gain | / memcpy's "
      "gain |\n"
      "|----------:|---------------:|---------------:|---------:|---------:|------:|---------------"
      "-:|\n",
      threads);
  for (const shape s : {shape{16, 4096}, shape{512, 768}, shape{256, 4096}, shape{4096, 4096}})
    for (const op what : {op::rms_norm, op::layer_norm, op::rms_backward, op::layer_backward})
      show(threads, s, what);
} catch (const std::exception& e) {
  std::fprintf(stderr, "bench_parallel: %s\n", e.what());
  return 1;
}
