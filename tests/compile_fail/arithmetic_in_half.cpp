// SPDX-License-Identifier: MIT
// Error: rownorm: the arithmetic is done in float or double
#include <rownorm/rownorm.hpp>

void normalize(Eigen::RowVectorXf& x) {
  rownorm::rms_norm<Eigen::half>(x, rownorm::none, x);
}
