// SPDX-License-Identifier: MIT
// The dispatched calls against the header calls of this file's flags, checked before they are
// timed. CMake builds it with the flags of the build, and without any ISA's (bench_dispatch_plain).
#include <benchmark/benchmark.h>

#include <cstdio>
#include <random>
#include <rownorm/dispatch.hpp>
#include <string>

#include "measure.hpp"

namespace {

template <class S>
using matrix = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class S>
matrix<S> normals(Eigen::Index rows, Eigen::Index length, unsigned seed) {
  std::mt19937 bits(seed);
  std::normal_distribution<float> normal;
  return matrix<S>::NullaryExpr(rows, length, [&] { return S(normal(bits)); });
}

/// The calls by one set of names.
struct header {
  template <class... A>
  static void rms(A&&... a) {
    rownorm::rms_norm(std::forward<A>(a)...);
  }
  template <class... A>
  static void layer(A&&... a) {
    rownorm::layer_norm(std::forward<A>(a)...);
  }
  template <class... A>
  static void rms_backward(A&&... a) {
    rownorm::rms_norm_backward(std::forward<A>(a)...);
  }
  template <class... A>
  static void layer_backward(A&&... a) {
    rownorm::layer_norm_backward(std::forward<A>(a)...);
  }
};
struct dispatch {
  template <class... A>
  static void rms(A&&... a) {
    rownorm::dispatch::rms_norm(std::forward<A>(a)...);
  }
  template <class... A>
  static void layer(A&&... a) {
    rownorm::dispatch::layer_norm(std::forward<A>(a)...);
  }
  template <class... A>
  static void rms_backward(A&&... a) {
    rownorm::dispatch::rms_norm_backward(std::forward<A>(a)...);
  }
  template <class... A>
  static void layer_backward(A&&... a) {
    rownorm::dispatch::layer_norm_backward(std::forward<A>(a)...);
  }
};
enum call { rms, layer, rms_backward, layer_backward };

/// A gradient's dx is y, and its dy is x.
template <class Calls, class S, call Call>
void run(const matrix<S>& x, const matrix<S>& gamma, const matrix<S>& beta, matrix<S>& y,
         matrix<float>& sums) {
  const auto g = gamma.row(0), b = beta.row(0);
  if constexpr (Call == layer) Calls::layer(x, g, b, y);
  else if constexpr (Call == rms) Calls::rms(x, g, y);
  else if constexpr (Call == rms_backward) Calls::rms_backward(x, x, g, y, sums.row(0));
  else Calls::layer_backward(x, x, g, y, sums.row(0), sums.row(1));
}

template <class Calls, class S, call Call>
void time(benchmark::State& state, Eigen::Index rows, Eigen::Index length) {
  const matrix<S> x = normals<S>(rows, length, 1), gamma = normals<S>(1, length, 2);
  const matrix<S> beta = normals<S>(1, length, 3);
  matrix<S> y(rows, length), other(rows, length);
  matrix<float> sums = matrix<float>::Zero(2, length);
  run<header, S, Call>(x, gamma, beta, y, sums);
  run<dispatch, S, Call>(x, gamma, beta, other, sums);
  const float off = (y.template cast<float>() - other.template cast<float>()).cwiseAbs().maxCoeff();
  if (!(off <= (sizeof(S) == 2 ? 0.0625f : 1e-5f))) {
    state.SkipWithError("the results differ");
    return;
  }
  for ([[maybe_unused]] auto _ : state) {
    run<Calls, S, Call>(x, gamma, beta, y, sums);
    benchmark::ClobberMemory();
  }
  state.counters["per_row"] =
      benchmark::Counter(static_cast<double>(rows), benchmark::Counter::kIsIterationInvariantRate |
                                                        benchmark::Counter::kInvert);
}

template <class S, call Call>
void add(const std::string& norm, const char* type) {
  for (const auto& [rows, length] : {std::pair{1, 128}, {16, 768}, {16, 4096}, {512, 4096}}) {
    const std::string on = "/" + std::to_string(rows) + "x" + std::to_string(length) + "/" + type;
    const auto each = [r = rows, n = length](auto calls) {
      return [=](benchmark::State& s) { time<decltype(calls), S, Call>(s, r, n); };
    };
    benchmark::RegisterBenchmark((norm + on + "/header").c_str(), each(header{}));
    benchmark::RegisterBenchmark((norm + on + "/dispatch").c_str(), each(dispatch{}));
  }
}

}  // namespace

int main(int argc, char** argv) {
  add<float, rms>("rms_norm", "float");
  add<Eigen::bfloat16, rms>("rms_norm", "bf16");
  add<float, layer>("layer_norm", "float");
  add<Eigen::bfloat16, layer>("layer_norm", "bf16");
  add<float, rms_backward>("rms_norm_backward", "float");
  add<Eigen::bfloat16, rms_backward>("rms_norm_backward", "bf16");
  add<float, layer_backward>("layer_norm_backward", "float");
  add<Eigen::bfloat16, layer_backward>("layer_norm_backward", "bf16");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  std::fprintf(stderr, "rownorm::dispatch runs %s\n", rownorm::dispatch::isa());
  bench::pin();
  benchmark::RunSpecifiedBenchmarks();
}
