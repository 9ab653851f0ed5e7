// SPDX-License-Identifier: MIT
// Error: rownorm: the numbers must be float, double, Eigen::half or Eigen::bfloat16
#include <rownorm/rownorm.hpp>

void normalize(const Eigen::RowVectorXi& x, Eigen::RowVectorXf& y) {
  rownorm::rms_norm(x, rownorm::none, y);
}
