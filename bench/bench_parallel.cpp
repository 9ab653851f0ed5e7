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
#include <string>
#include <vector>

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

std::vector<contender> peers_on(int threads, const problem& p, op what) {
  peer_threads = threads;
  std::vector<contender> all;
  [[maybe_unused]] const auto add = [&](peers from) {
    for (const contender& c : from(p, what)) all.push_back(c);
  };
#if defined(BENCH_ONEDNN)
  add(onednn_peers);
#endif
#if defined(BENCH_TORCH)
  add(torch_peers);
#endif
  return all;
}

/// Each round's time on one thread to that on several.
std::vector<double> gains(const result& one, const result& several) {
  std::vector<double> g(one.ns.size());
  std::transform(one.ns.begin(), one.ns.end(), several.ns.begin(), g.begin(),
                 [](double a, double b) { return a / b; });
  return g;
}

/// gain: the median of the rounds' gains; of_copy: that beside memcpy's.
void print(const std::string& call, const result& one, const result& several, double gain,
           double of_copy) {
  std::printf("| %24s | %14s | %8.1f | %8.1f | %5.2f | %15.2f |\n", call.c_str(),
              one.of.name.c_str(), median(one.ns), median(several.ns), gain, of_copy);
  std::fflush(stdout);
}

void show(int threads, shape s, op what) {
  // Samples of many calls: a thread of oneTBB sleeps soon, and has to be woken for the first.
  constexpr patience how_long{2, 21, 401, 2e-3};
  const problem p(type::f32, s, {what});
  const std::string call_of = name(what) + ' ' + name(s);
  const std::vector<result> own = measure(
      {copy(1, p, what), copy(threads, p, what), call(1, p, what), call(threads, p, what, rn::par)},
      p, how_long);
  const std::vector<double> copies = gains(own[0], own[1]), calls = gains(own[2], own[3]);
  print(call_of, own[0], own[1], median(copies), 1);
  print(call_of, own[2], own[3], median(calls), ratio(calls, copies));

  // Apart: OpenMP's threads go on spinning for a while, beside whatever comes next.
  const std::vector<contender> ones = peers_on(1, p, what), others = peers_on(threads, p, what);
  for (std::size_t i = 0; i < ones.size(); ++i) {
    const std::vector<result> peer = measure({ones[i], others[i]}, p, how_long);
    if (peer.size() != 2) continue;
    const double gain = median(gains(peer[0], peer[1]));
    print(call_of, peer[0], peer[1], gain, gain / median(copies));
  }
}

}  // namespace

/// bench_parallel [threads]
int main(int argc, char** argv) try {
  const int threads = argc > 1 ? std::max(2, std::atoi(argv[1])) : 2;
  std::printf(
      "Nanoseconds per row of floats on 1 thread and on %d, what that gains, and that beside what\n"
      "memcpy of x to y gains.\n\n"
      "|                     call |                |        1 |  several |  gain | / memcpy's gain "
      "|\n"
      "|-------------------------:|---------------:|---------:|---------:|------:|----------------:"
      "|\n",
      threads);
  for (const shape s : {shape{16, 4096}, shape{512, 768}, shape{256, 4096}, shape{4096, 4096}})
    for (const op what : {op::rms_norm, op::layer_norm, op::rms_backward, op::layer_backward})
      show(threads, s, what);
} catch (const std::exception& e) {
  std::fprintf(stderr, "bench_parallel: %s\n", e.what());
  return 1;
}
