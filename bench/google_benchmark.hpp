// SPDX-License-Identifier: MIT
// Contenders as Google Benchmark's benchmarks, named norm/shape/type/part; each is checked before
// it is timed.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdio>
#include <exception>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "measure.hpp"

namespace bench {

/// The contenders on one shape and type, checked. Only the last ones asked for are kept: benchmarks
/// of a shape and type are registered side by side.
inline const std::vector<result>& checked_on(op what, type t, shape s) {
  static std::unique_ptr<problem> p;
  static std::map<op, std::vector<result>> all;
  if (!p || p->numbers != t || p->rows != s.rows || p->length != s.length) {
    all.clear();
    p = std::make_unique<problem>(t, s, std::vector<op>(std::begin(ops), std::end(ops)));
  }
  if (all.count(what) == 0) all[what] = checked(own(*p, what), *p);
  return all[what];
}

inline void register_benchmark(op what, type t, shape s, role part) {
  const std::string called = name(what) + "/" + name(s) + "/" + name(t) + "/" + name(part);
  benchmark::RegisterBenchmark(called.c_str(), [=](benchmark::State& state) {
    constexpr std::size_t batch = 64;
    const result* const r = find(checked_on(what, t, s), what, part);
    if (r == nullptr) {
      state.SkipWithError("rows shorter than a step, or no conversion of fp16");
      return;
    }
    while (state.KeepRunningBatch(batch)) r->of.run(batch);
    const auto rows = static_cast<double>(s.rows);
    state.counters["per_row"] = benchmark::Counter(
        rows, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
    state.counters["error_eps"] = r->error;
  });
}

/// The calls of training and of models: the whole calls, what stands beside them, and their limits,
/// on a few shapes.
inline void register_fused(const std::vector<op>& which, type t, shape s) {
  const bool few = s.length == 4096 || (s.rows == 512 && s.length == 768) || s.rows == 8192;
  if (!few) return;
  for (const op what : which)
    for (const role part :
         {role::rownorm, role::beside, role::copy, role::first_half, role::second_half})
      if (backward(what) || (part != role::first_half && part != role::second_half))
        register_benchmark(what, t, s, part);
}

/// For each shape and type what `add` registers, then run as the command line says.
template <class Add>
int run_benchmarks(int argc, char** argv, Add add) try {
  for (const type t : types)
    for (const shape s : {shape{1, 128}, shape{1, 768}, shape{1, 4096}, shape{1, 16384},
                          shape{16, 4096}, shape{512, 768}, shape{256, 4096}, shape{4096, 4096},
                          shape{8192, 64}, shape{8192, 128}, shape{8192, 256}, shape{64, 1025}})
      add(t, s);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  pin();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}

}  // namespace bench
