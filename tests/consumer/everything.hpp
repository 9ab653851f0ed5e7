// SPDX-License-Identifier: MIT
// All public headers, in both files of the program.
#pragma once

#include <rownorm/dispatch.hpp>
#include <rownorm/parallel.hpp>
#include <rownorm/rownorm.hpp>
#ifdef WITH_MPI
#include <rownorm/mpi.hpp>
#endif

/// Whether a norm that the other file calls too gave what the README shows.
bool the_same_call_elsewhere();

inline bool is_worked_example(const Eigen::RowVector4f& y) {
  return (y - Eigen::RowVector4f(0.365148f, 0.730297f, 1.095445f, 1.460593f)).norm() < 1e-5f;
}
