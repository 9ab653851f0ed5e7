// SPDX-License-Identifier: MIT
// Error: rownorm: a number per row .mean, rstd, scales. is kept as float or double
#include <rownorm/rownorm.hpp>

void normalize(Eigen::RowVectorXf& x, std::vector<Eigen::half>& rstd) {
  rownorm::rms_norm(x, rownorm::none, x, 1e-6, rstd);
}
