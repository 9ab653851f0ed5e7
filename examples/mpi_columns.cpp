// SPDX-License-Identifier: MIT
// A training step's norm where each process holds some columns of every row, as in tensor
// parallelism: LayerNorm forward and backward, one all-reduce each, beside the norm of whole rows.
#include <cstdio>
#include <random>
#include <rownorm/mpi.hpp>

namespace rn = rownorm;
using Eigen::Index;
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The same numbers in all processes.
matrix random(Index rows, Index cols, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, 1);
  return matrix::NullaryExpr(rows, cols, [&] { return normal(generator); });
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank, processes;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &processes);

  constexpr Index rows = 64, D = 1024;
  const Index begin = D * rank / processes, end = D * (rank + 1) / processes;
  const auto mine = [&](const matrix& m) { return matrix(m.middleCols(begin, end - begin)); };

  // What this process holds; the whole rows are there for the comparison alone.
  const matrix all_x = random(rows, D, 1), all_dy = random(rows, D, 2), all_gamma = random(1, D, 3);
  const matrix x = mine(all_x), dy = mine(all_dy), gamma = mine(all_gamma);
  matrix y = x, dx = x, dgamma = matrix::Zero(1, x.cols()), dbeta = dgamma;

  const rn::columns where(MPI_COMM_WORLD, D);
  rn::layer_norm(where, x, gamma, rn::none, y);
  rn::layer_norm_backward(where, dy, x, gamma, dx, dgamma, dbeta);

  matrix all_y = all_x, all_dx = all_x;
  rn::layer_norm(all_x, all_gamma, rn::none, all_y);
  rn::layer_norm_backward(all_dy, all_x, all_gamma, all_dx, rn::none, rn::none);
  // Beside the largest number, since a number near 0 has no relative error to speak of.
  const auto distance = [&](const matrix& here, const matrix& all) {
    const matrix there = mine(all);
    return here.size() == 0 ? 0 : (here - there).cwiseAbs().maxCoeff() / all.cwiseAbs().maxCoeff();
  };
  const float y_distance = distance(y, all_y), dx_distance = distance(dx, all_dx);
  std::printf("process %d of %d: columns %td to %td of %td, y within %.1e, dx within %.1e\n", rank,
              processes, begin, end, D, static_cast<double>(y_distance),
              static_cast<double>(dx_distance));
  MPI_Finalize();
  return y_distance < 1e-6f && dx_distance < 1e-6f ? 0 : 1;
}
