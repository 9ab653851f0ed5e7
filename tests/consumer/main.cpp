// SPDX-License-Identifier: MIT
// A program of another project, built in each of the ways that a project takes rownorm in. It says
// what it ran; 0: all numbers were right.
#include <cstdio>

#include "everything.hpp"

namespace {
int wrong = 0;

void ran(const char* call, const Eigen::RowVector4f& y) {
  const bool right = is_worked_example(y);
  std::printf("%s: %s\n", call, right ? "right" : "WRONG");
  if (!right) ++wrong;
}
}  // namespace

int main() {
  std::printf("rownorm %d.%d.%d\n", ROWNORM_VERSION_MAJOR, ROWNORM_VERSION_MINOR,
              ROWNORM_VERSION_PATCH);
  const Eigen::RowVector4f x(1, 2, 3, 4), gamma(1, 1, 1, 1);
  Eigen::RowVector4f y;
  rownorm::rms_norm(x, gamma, y);
  ran("headers", y);
  if (!the_same_call_elsewhere()) ++wrong;
#ifdef WITH_PARALLEL
  rownorm::rms_norm(rownorm::par, x, gamma, y.setZero());
  ran("parallel", y);
#endif
#ifdef WITH_DISPATCH
  rownorm::dispatch::rms_norm(x, gamma, y.setZero());
  ran("dispatch", y);
#endif
#ifdef WITH_MPI
  MPI_Init(nullptr, nullptr);
  rownorm::rms_norm(rownorm::columns(MPI_COMM_SELF, 4), x, gamma, y.setZero());
  ran("mpi", y);
  MPI_Finalize();
#endif
  return wrong;
}
