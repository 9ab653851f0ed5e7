// SPDX-License-Identifier: MIT
// layer_norm: the whole call, its reduction alone (mean and centred squares), memcpy and the bare
// loops; beside them rms_norm and its one sum. layer_norm_backward and add_layer_norm with their
// limits.
#include "google_benchmark.hpp"

int main(int argc, char** argv) {
  using namespace bench;
  return run_benchmarks(argc, argv, [](type t, shape s) {
    for (const role part : {role::rownorm, role::reduction}) {
      register_benchmark(op::rms_norm, t, s, part);
      register_benchmark(op::layer_norm, t, s, part);
    }
    for (const role part : {role::copy, role::first_half, role::second_half})
      register_benchmark(op::layer_norm, t, s, part);
    register_fused({op::layer_backward, op::add_layer}, t, s);
  });
}
