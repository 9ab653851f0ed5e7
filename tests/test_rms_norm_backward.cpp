// SPDX-License-Identifier: MIT
// rms_norm_backward against the formula.
#include "backward.hpp"

INSTANTIATE_TYPED_TEST_SUITE_P(RmsNorm, Backward, norms::rms_norm, norms::name);
