// SPDX-License-Identifier: MIT
// Where a call runs: here, row after row in the calling thread. parallel.hpp, mpi.hpp and
// dispatch.hpp have others of this shape; never a loop.
#pragma once

#include <cstddef>

#include "backward.hpp"
#include "config.hpp"
#include "scratch.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// A call after its checks, over all `count` rows. The gradients (dgamma, or dgamma and dbeta) are
/// rows or none.
struct here {
  static constexpr bool whole_rows = true;

  template <class Rows>
  ROWNORM_INLINE void forward(std::size_t count, const Rows& rows) const {
    for_rows(0, count, rows);
    end_rows(rows.y);
  }
  template <class Rows, class... Gradients>
  ROWNORM_INLINE void backward(std::size_t count, const Rows& rows,
                               const Gradients&... gradients) const {
    if (count == 0 || rows.n == 0) return;
    backward_into(count, rows, scratch<typename Rows::number, Gradients>(gradients, count)...);
  }

 private:
  template <class Rows, class... Sums>
  static ROWNORM_INLINE void backward_into(std::size_t count, const Rows& rows, Sums&&... sums) {
    for_gradient_rows(0, count, rows, sums.sums()...);
    end_rows(rows.dx);
    (sums.add_to_gradient(), ...);
  }
};

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
