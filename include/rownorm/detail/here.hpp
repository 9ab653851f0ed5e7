// SPDX-License-Identifier: MIT
// Where a call runs: here, row after row in the calling thread. parallel.hpp and mpi.hpp have
// others of this shape; never a loop.
#pragma once

#include <cstddef>

#include "config.hpp"
#include "kernel.hpp"
#include "scratch.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// A call after its checks: the kernel of each norm over all `count` rows. dgamma and dbeta are the
/// gradients themselves, as rows or none.
struct here {
  template <class T, class... A>
  ROWNORM_INLINE void rms_norm(std::size_t count, const A&... a) const {
    detail::rms_norm<T>(0, count, a...);
  }
  template <class T, class... A>
  ROWNORM_INLINE void layer_norm(std::size_t count, const A&... a) const {
    detail::layer_norm<T>(0, count, a...);
  }
  template <class T, class DY, class X, class Gamma, class DX, class DGamma, class Statistics>
  ROWNORM_INLINE void rms_norm_backward(std::size_t count, std::size_t n, const DY& dy, const X& x,
                                        const Gamma& gamma, const DX& dx, const DGamma& dgamma,
                                        const Statistics& statistics) const {
    if (count == 0 || n == 0) return;
    scratch<T, DGamma> sums(dgamma, count);
    detail::rms_norm_backward<T>(0, count, n, dy, x, gamma, dx, sums.sums(), statistics);
    sums.add_to_gradient();
  }
  template <class T, class DY, class X, class Gamma, class DX, class DGamma, class DBeta,
            class Statistics>
  ROWNORM_INLINE void layer_norm_backward(std::size_t count, std::size_t n, const DY& dy,
                                          const X& x, const Gamma& gamma, const DX& dx,
                                          const DGamma& dgamma, const DBeta& dbeta,
                                          const Statistics& statistics) const {
    if (count == 0 || n == 0) return;
    scratch<T, DGamma> gamma_sums(dgamma, count);
    scratch<T, DBeta> beta_sums(dbeta, count);
    detail::layer_norm_backward<T>(0, count, n, dy, x, gamma, dx, gamma_sums.sums(),
                                   beta_sums.sums(), statistics);
    gamma_sums.add_to_gradient();
    beta_sums.add_to_gradient();
  }
};

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
