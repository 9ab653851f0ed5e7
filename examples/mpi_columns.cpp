// SPDX-License-Identifier: MIT
// A training step's norm where each process holds some columns of every row, as in tensor
// parallelism: LayerNorm forward and backward, one all-reduce each, beside the norm of whole rows.
// With a count of tokens as its argument: what each call costs there; with the name of a call
// behind it, that call once and nothing else, for those who look at what MPI sends.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <rownorm/mpi.hpp>
#include <string>
#include <vector>

namespace rn = rownorm;
using Eigen::Index;
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

long messages = 0, bytes = 0;
/// In place of MPI's own, which has this second name for such purposes: counts what it is given.
extern "C" int MPI_Allreduce(const void* from, void* to, int count, MPI_Datatype type, MPI_Op op,
                             MPI_Comm comm) {
  int size;
  MPI_Type_size(type, &size);
  ++messages;
  bytes += static_cast<long>(count) * size;
  return PMPI_Allreduce(from, to, count, type, op, comm);
}

/// The same numbers in all processes.
matrix random(Index rows, Index cols, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, 1);
  return matrix::NullaryExpr(rows, cols, [&] { return normal(generator); });
}

/// This process's columns of D.
struct part {
  Index D, begin, end;
  part(Index D_, int rank, int processes)
      : D(D_), begin(D * rank / processes), end(D * (rank + 1) / processes) {}
  matrix of(const matrix& m) const { return m.middleCols(begin, end - begin); }
};

/// Whether y and dx are those of whole rows.
bool compare(int rank, int processes) {
  constexpr Index rows = 64, D = 1024;
  const part mine(D, rank, processes);

  // What this process holds; the whole rows are there for the comparison alone.
  const matrix all_x = random(rows, D, 1), all_dy = random(rows, D, 2), all_gamma = random(1, D, 3);
  const matrix x = mine.of(all_x), dy = mine.of(all_dy), gamma = mine.of(all_gamma);
  matrix y = x, dx = x, dgamma = matrix::Zero(1, x.cols()), dbeta = dgamma;

  const rn::columns where(MPI_COMM_WORLD, D);
  rn::layer_norm(where, x, gamma, rn::none, y);
  rn::layer_norm_backward(where, dy, x, gamma, dx, dgamma, dbeta);

  matrix all_y = all_x, all_dx = all_x;
  rn::layer_norm(all_x, all_gamma, rn::none, all_y);
  rn::layer_norm_backward(all_dy, all_x, all_gamma, all_dx, rn::none, rn::none);
  // Beside the largest number, since a number near 0 has no relative error to speak of.
  const auto distance = [&](const matrix& here, const matrix& all) {
    const matrix there = mine.of(all);
    return here.size() == 0 ? 0 : (here - there).cwiseAbs().maxCoeff() / all.cwiseAbs().maxCoeff();
  };
  const float y_distance = distance(y, all_y), dx_distance = distance(dx, all_dx);
  std::printf("process %d of %d: columns %td to %td of %td, y within %.1e, dx within %.1e\n", rank,
              processes, mine.begin, mine.end, D, static_cast<double>(y_distance),
              static_cast<double>(dx_distance));
  return y_distance < 1e-6f && dx_distance < 1e-6f;
}

/// What a call gives to MPI, and the median of its times, each that of the slowest process.
template <class Call>
void show_cost(int rank, Index tokens, const char* name, Call call) {
  messages = bytes = 0;
  call();
  const long m = messages, b = bytes;
  std::vector<double> us(31);
  for (double& time : us) {
    MPI_Barrier(MPI_COMM_WORLD);
    const auto begin = std::chrono::steady_clock::now();
    call();
    const std::chrono::duration<double, std::micro> passed =
        std::chrono::steady_clock::now() - begin;
    time = passed.count();
    PMPI_Allreduce(MPI_IN_PLACE, &time, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  }
  std::nth_element(us.begin(), us.begin() + 15, us.end());
  if (rank == 0)
    std::printf("%-20s %ld all-reduce of %.2f bytes for each token, %.0f us\n", name, m,
                static_cast<double>(b) / static_cast<double>(tokens), us[15]);
}

void show_costs(int rank, int processes, Index tokens, const std::string& once) {
  constexpr Index D = 16384;
  const part mine(D, rank, processes);
  const matrix x = random(tokens, mine.end - mine.begin, 1), gamma = random(1, x.cols(), 2);
  matrix y = x, dx = x, dgamma = gamma, dbeta = gamma;
  const rn::columns where(MPI_COMM_WORLD, D);
  const auto show = [&](const char* name, auto call) {
    if (once.empty()) show_cost(rank, tokens, name, call);
    else if (once == name) call();
  };
  if (rank == 0) std::printf("%td tokens of D = %td, %d processes\n", tokens, D, processes);
  show("rms_norm", [&] { rn::rms_norm(where, x, gamma, y); });
  show("layer_norm", [&] { rn::layer_norm(where, x, gamma, rn::none, y); });
  show("rms_norm_backward", [&] { rn::rms_norm_backward(where, y, x, gamma, dx, dgamma); });
  show("layer_norm_backward",
       [&] { rn::layer_norm_backward(where, y, x, gamma, dx, dgamma, dbeta); });
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank, processes;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &processes);
  bool right = true;
  if (argc > 1)
    show_costs(rank, processes, std::max(1l, std::atol(argv[1])), argc > 2 ? argv[2] : "");
  else right = compare(rank, processes);
  MPI_Finalize();
  return right && std::fflush(stdout) == 0 && !std::ferror(stdout) ? 0 : 1;
}
