// SPDX-License-Identifier: MIT
// Error: rownorm: this Eigen expression has no storage of its own: evaluate it into a matrix
#include <rownorm/rownorm.hpp>

void normalize(const Eigen::RowVectorXf& x, Eigen::RowVectorXf& y) {
  rownorm::rms_norm(x + x, rownorm::none, y);
}
