// SPDX-License-Identifier: MIT
// Error: rownorm: par_on.pool. needs a pool that can be called as pool.n, body.
#include <rownorm/parallel.hpp>

void normalize(const Eigen::MatrixXf& x, Eigen::MatrixXf& y) {
  int threads = 2;
  rownorm::rms_norm(rownorm::par_on(threads), x.transpose(), rownorm::none, y.transpose());
}
