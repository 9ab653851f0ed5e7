// SPDX-License-Identifier: MIT
// rms_norm: the whole call, its reduction alone, memcpy and the bare loops; rms_norm_backward and
// add_rms_norm with their limits.
#include "google_benchmark.hpp"

int main(int argc, char** argv) {
  using namespace bench;
  return run_benchmarks(argc, argv, [](type t, shape s) {
    for (const role part :
         {role::rownorm, role::reduction, role::copy, role::first_half, role::second_half})
      register_benchmark(op::rms_norm, t, s, part);
    register_fused({op::rms_backward, op::add_rms}, t, s);
  });
}
