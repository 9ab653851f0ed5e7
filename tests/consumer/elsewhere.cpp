// SPDX-License-Identifier: MIT
// The second file: the linker must find nothing twice.
#include "everything.hpp"

bool the_same_call_elsewhere() {
  const Eigen::RowVector4f x(1, 2, 3, 4), gamma(1, 1, 1, 1);
  Eigen::RowVector4f y;
  rownorm::rms_norm(x, gamma, y);
  return is_worked_example(y);
}
