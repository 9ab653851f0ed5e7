// SPDX-License-Identifier: MIT
// Error: rownorm: a matrix must be an Eigen row-major matrix, map, ref or block
#include <rownorm/rownorm.hpp>

void normalize(const Eigen::RowVectorXf& x, Eigen::RowVectorXf& y) {
  rownorm::rms_norm(x, 1.0f, y);
}
