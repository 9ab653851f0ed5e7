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

/// The sums over `rows` rows for one gradient: a T for each number of it in each of `parts` blocks
/// of rows, and where there are more blocks than one a double. D is the gradient's rows, or none:
/// then there are no sums.
template <class T, class D>
class scratch {
 public:
  scratch(const D& gradient, std::size_t rows, std::size_t parts = 1)
      : gradient_(gradient), partial_(size() * parts), total_(rows > rows_per_block ? size() : 0) {}

  std::size_t size() const { return gradient_.count * gradient_.length; }
  row_sums<T> sums(std::size_t block = 0) {
    return {partial_.data() + block * size(), total_.empty() ? nullptr : total_.data(),
            gradient_.length, gradient_.count};
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
  scratch(none_t, std::size_t, std::size_t = 1) {}
  row_sums<none_t> sums(std::size_t = 0) { return {}; }
  void add_to_gradient() {}
};

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
