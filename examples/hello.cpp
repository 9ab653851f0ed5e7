// SPDX-License-Identifier: MIT
// One row, then a matrix whose rows differ by a factor and by a shift.
#include <iomanip>
#include <iostream>
#include <rownorm/rownorm.hpp>

int main() {
  Eigen::RowVector4f x(1, 2, 3, 4), gamma(1, 1, 1, 1), beta(0, 0, 0, 0), y;
  rownorm::rms_norm(x, gamma, y, 1e-6);
  std::cout << std::fixed << std::setprecision(3) << y << "\n\n";

  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Matrix rows{{1, 2, 3, 4}, {10, 20, 30, 40}, {11, 12, 13, 14}}, normed(3, 4);
  rownorm::rms_norm(rows, gamma, normed);
  std::cout << "RMSNorm\n" << normed << "\n\n";
  rownorm::layer_norm(rows, gamma, beta, normed);
  std::cout << "LayerNorm\n" << normed << '\n';
}
