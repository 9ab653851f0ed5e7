// SPDX-License-Identifier: MIT
// The scratch memory of the backward calls, which are the only ones that allocate; never a loop.
#pragma once

#include <cstddef>
#include <vector>

#include "eigen.hpp"
#include "kernel.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// The sums over rows for one gradient: a T and a double for each number of it. D is the gradient's
/// rows, or none: then there are no sums.
template <class T, class D>
class scratch {
 public:
  explicit scratch(const D& gradient)
      : gradient_(gradient),
        partial_(gradient.count * gradient.length),
        total_(gradient.count * gradient.length) {}

  row_sums<T> sums() { return {partial_.data(), total_.data(), gradient_.length, gradient_.count}; }
  void add_to_gradient() { add_total(sums(), gradient_.data, gradient_.stride); }

 private:
  D gradient_;
  std::vector<T> partial_;
  std::vector<double> total_;
};
template <class T>
class scratch<T, none_t> {
 public:
  explicit scratch(none_t) {}
  row_sums<none_t> sums() { return {}; }
  void add_to_gradient() {}
};

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
