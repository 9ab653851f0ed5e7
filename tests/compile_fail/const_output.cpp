// SPDX-License-Identifier: MIT
// Error: rownorm: an output is const: pass a matrix or a view that can be written
#include <rownorm/rownorm.hpp>

void normalize(const Eigen::RowVectorXf& x, const Eigen::RowVectorXf& y) {
  rownorm::rms_norm(x, rownorm::none, y);
}
