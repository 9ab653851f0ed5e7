// SPDX-License-Identifier: MIT
// Error: rownorm: the numbers of a row must lie side by side
#include <rownorm/rownorm.hpp>

void normalize(const Eigen::MatrixXf& x, Eigen::RowVectorXf& y) {
  rownorm::rms_norm(x.row(0), rownorm::none, y);
}
