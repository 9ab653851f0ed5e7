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

/// The sums over rows for one gradient: a double for each number of it, and a T for each of
/// `parts` blocks of rows. D is the gradient's rows, or none: then there are no sums.
template <class T, class D>
class scratch {
 public:
  explicit scratch(const D& gradient, std::size_t parts = 1)
      : gradient_(gradient),
        partial_(gradient.count * gradient.length * parts),
        total_(gradient.count * gradient.length) {}

  std::size_t size() const { return total_.size(); }
  row_sums<T> sums(std::size_t block = 0) {
    return {partial_.data() + block * size(), total_.data(), gradient_.length, gradient_.count};
  }
  void add_to_gradient() { add_total(sums(), gradient_.data, gradient_.stride); }

 private:
  D gradient_;
  std::vector<T> partial_;
  std::vector<double> total_;
};
template <class T>
class scratch<T, none_t> {
 public:
  explicit scratch(none_t, std::size_t = 1) {}
  row_sums<none_t> sums(std::size_t = 0) { return {}; }
  void add_to_gradient() {}
};

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
