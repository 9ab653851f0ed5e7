// SPDX-License-Identifier: MIT
// The calls over oneTBB's threads beside memcpy over the same threads; each is checked against the
// call without threads before it is timed.
#include <benchmark/benchmark.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <Eigen/Core>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <rownorm/parallel.hpp>
#include <string>

namespace rn = rownorm;
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

namespace {

struct problem {
  Eigen::Index rows, length;
  matrix x = matrix::Random(rows, length), dy = matrix::Random(rows, length), y = x;
  matrix gamma = matrix::Random(1, length), beta = gamma, dgamma = gamma, dbeta = gamma;
};

/// Each part writes y, dgamma and dbeta; `where` is par or nothing.
template <class... Where>
void rms_norm(problem& p, const Where&... where) {
  rn::rms_norm(where..., p.x, p.gamma, p.y);
}
template <class... Where>
void layer_norm(problem& p, const Where&... where) {
  rn::layer_norm(where..., p.x, p.gamma, p.beta, p.y);
}
template <class... Where>
void rms_norm_backward(problem& p, const Where&... where) {
  p.dgamma.setZero();
  rn::rms_norm_backward(where..., p.dy, p.x, p.gamma, p.y, p.dgamma);
}
template <class... Where>
void layer_norm_backward(problem& p, const Where&... where) {
  p.dgamma.setZero();
  p.dbeta.setZero();
  rn::layer_norm_backward(where..., p.dy, p.x, p.gamma, p.y, p.dgamma, p.dbeta);
}
void copy(problem& p) {
  std::memcpy(p.y.data(), p.x.data(), static_cast<std::size_t>(p.x.size()) * sizeof(float));
}
void copy(problem& p, const decltype(rn::par)&) {
  tbb::parallel_for(Eigen::Index{0}, p.rows, [&](Eigen::Index i) {
    std::memcpy(&p.y(i, 0), &p.x(i, 0), static_cast<std::size_t>(p.length) * sizeof(float));
  });
}

using part = std::function<void(problem&)>;

void add(const char* name, problem& p, const part& serial, const part& parallel) {
  serial(p);
  const matrix y = p.y, dgamma = p.dgamma, dbeta = p.dbeta;
  p.y.setZero();
  parallel(p);
  if (p.y != y || p.dgamma != dgamma || p.dbeta != dbeta) {
    std::fprintf(stderr, "%s: the numbers over threads are not those without\n", name);
    std::exit(1);
  }
  for (const int threads : {0, 1, 2, 4, 8}) {
    if (threads > tbb::this_task_arena::max_concurrency()) continue;
    const std::string full = std::string(name) + '/' + std::to_string(p.rows) + 'x' +
                             std::to_string(p.length) +
                             (threads == 0 ? "/serial" : "/threads:" + std::to_string(threads));
    benchmark::RegisterBenchmark(full.c_str(), [=, &p](benchmark::State& state) {
      if (threads == 0) {
        for (auto _ : state) serial(p);
      } else {
        tbb::task_arena arena(threads);
        arena.execute([&] {
          for (auto _ : state) parallel(p);
        });
      }
      state.counters["per_row"] = benchmark::Counter(
          static_cast<double>(p.rows),
          benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
    })->UseRealTime();
  }
}

}  // namespace

int main(int argc, char** argv) {
  problem small{512, 768}, large{4096, 4096};
  for (problem* const p : {&small, &large}) {
#define ADD(name) \
  add(            \
      #name, *p, [](problem& q) { name(q); }, [](problem& q) { name(q, rn::par); })
    ADD(copy);
    ADD(rms_norm);
    ADD(layer_norm);
    ADD(rms_norm_backward);
    ADD(layer_norm_backward);
#undef ADD
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
