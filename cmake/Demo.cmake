# SPDX-License-Identifier: MIT
# The main job: the worked example, a real file normalized, RMSNorm against LayerNorm on this machine.
set(activations ${CMAKE_CURRENT_SOURCE_DIR}/examples/activations.npy)
add_custom_target(demo
  COMMAND hello
  COMMAND normalize --op rms ${activations} ${CMAKE_CURRENT_BINARY_DIR}/activations_rms.npy
  COMMAND normalize --op layer ${activations} ${CMAKE_CURRENT_BINARY_DIR}/activations_layer.npy
  COMMAND bench_demo
  USES_TERMINAL VERBATIM)
