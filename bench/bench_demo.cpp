// SPDX-License-Identifier: MIT
// The demo's table: RMSNorm against LayerNorm on this machine, whole calls and reductions alone.
#include <cstdio>
#include <exception>
#if defined(ROWNORM_NO_KERNELS)
#include <rownorm/dispatch.hpp>
#endif

#include "measure.hpp"

int main() try {
  using namespace bench;
  pin();
#if defined(ROWNORM_NO_KERNELS)
#define BENCH_TEXT(name) #name
#define BENCH_NAME(macro) BENCH_TEXT(macro)
  std::printf("Built for %s; of its kernels rownorm::dispatch would run %s here.\n\n",
              BENCH_NAME(ROWNORM_ISA), rownorm::dispatch::isa());
#endif
  std::printf(
      "RMSNorm against LayerNorm: nanoseconds per row on one core, whole calls and then the\n"
      "reductions alone, one sum of squares against mean and variance.\n\n"
      "| %10s | %5s | %7s | %8s | %10s | %5s | %7s | %7s | %5s |\n"
      "|-----------:|------:|--------:|---------:|-----------:|------:|--------:|--------:|------:|"
      "\n",
      "shape", "type", "memcpy", "rms_norm", "layer_norm", "ratio", "sum", "moments", "ratio");
  for (const type t : {type::f32, type::bf16})
    for (const shape s : {shape{1, 128}, shape{1, 4096}, shape{16, 4096}, shape{512, 768},
                          shape{256, 4096}, shape{4096, 4096}, shape{8192, 128}}) {
      const problem p(t, s, {op::rms_norm, op::layer_norm});
      std::vector<contender> all;
      for (const op what : norms)
        for (const contender& c : own(p, what))
          if (c.part == role::rownorm || c.part == role::reduction ||
              (c.part == role::copy && what == op::rms_norm))
            all.push_back(c);
      const std::vector<result> results = measure(all, p, {0.2, 5, 31});
      const auto ns = [&](op what, role part) { return find(results, what, part)->ns; };
      const auto rms = ns(op::rms_norm, role::rownorm), layer = ns(op::layer_norm, role::rownorm);
      const auto sum = ns(op::rms_norm, role::reduction),
                 moments = ns(op::layer_norm, role::reduction);
      std::printf("| %10s | %5s | %7.1f | %8.1f | %10.1f | %5.2f | %7.1f | %7.1f | %5.2f |\n",
                  name(s).c_str(), name(t).c_str(), median(ns(op::rms_norm, role::copy)),
                  median(rms), median(layer), ratio(layer, rms), median(sum), median(moments),
                  ratio(moments, sum));
      std::fflush(stdout);
    }
} catch (const std::exception& e) {
  std::fprintf(stderr, "bench_demo: %s\n", e.what());
  return 1;
}
