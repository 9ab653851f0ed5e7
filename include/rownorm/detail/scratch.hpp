// SPDX-License-Identifier: MIT
// The scratch memory of the backward calls, which are the only ones that allocate; never a loop.
#pragma once

#include <cstddef>
#include <type_traits>
#include <vector>

#include "row_sums.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// The sums over `rows` rows for one gradient: a T for each number of it in each of `parts` blocks
/// of rows, and where there are more blocks than one a double. One row adds to a gradient of T
/// itself. D is the gradient's rows, or none: then there are no sums.
template <class T, class D>
class scratch {
 public:
  scratch(const D& gradient, std::size_t rows, std::size_t parts = 1)
      : gradient_(gradient),
        partial_(is_T && rows == 1 ? 0 : size() * parts),
        total_(rows > rows_per_block ? size() : 0) {}

  std::size_t size() const { return gradient_.count * gradient_.length; }
  bool in_gradient() const { return partial_.empty(); }
  row_sums<T> sums(std::size_t block = 0) {
    T* partial = partial_.data() + block * size();
    if constexpr (is_T)
      if (in_gradient()) partial = gradient_.data;
    return {partial, total_.empty() ? nullptr : total_.data(), gradient_.length, gradient_.count};
  }
  void add_to_gradient() {
    if (!in_gradient()) add_total(sums(), gradient_.data, gradient_.stride);
  }

 private:
  static constexpr bool is_T = std::is_same_v<typename D::value_type, T>;
  D gradient_;
  std::vector<T> partial_;
  std::vector<double> total_;
};
template <class T>
class scratch<T, none_t> {
 public:
  scratch(none_t, std::size_t, std::size_t = 1) {}
  bool in_gradient() const { return true; }
  row_sums<none_t> sums(std::size_t = 0) { return {}; }
  void add_to_gradient() {}
};

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
