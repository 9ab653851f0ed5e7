// SPDX-License-Identifier: MIT
// What is normalized: the numbers of one shape and type, and the exact answers beside them; never a
// norm that is timed.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace bench {

enum class op { rms_norm, layer_norm };
enum class type { f32, f64, bf16, f16 };

struct shape {
  std::size_t rows, length;
};

inline constexpr op ops[] = {op::rms_norm, op::layer_norm};
inline constexpr type types[] = {type::bf16, type::f32, type::f16, type::f64};

std::string name(op o);
std::string name(type t);
std::string name(shape s);  // 16x4096

/// f(S{}), S being the C++ type of t.
template <class F>
auto with_type(type t, F f) {
  switch (t) {
    case type::f32:
      return f(float{});
    case type::f64:
      return f(double{});
    case type::bf16:
      return f(Eigen::bfloat16{});
    default:
      return f(Eigen::half{});
  }
}

inline double epsilon(op o) {
  return o == op::rms_norm ? 1e-6 : 1e-5;
}

/// A row's statistics: of RMSNorm (mean 0) or LayerNorm. rstd has eps under its root, variance not.
struct statistic {
  long double mean, variance, rstd;
};

/// The arrays of a problem, each at an offset of its own in a 4 KiB page: a load waits for an
/// earlier store at the same offset, as if it were the same address.
class problem {
 public:
  problem(type t, shape s);

  const type numbers;
  const std::size_t rows, length;

  template <class S>
  const S* x() const {
    return reinterpret_cast<const S*>(x_.data);
  }
  template <class S>
  const S* gamma() const {
    return reinterpret_cast<const S*>(gamma_.data);
  }
  template <class S>
  const S* beta() const {
    return reinterpret_cast<const S*>(beta_.data);
  }
  template <class S>
  S* y() const {
    return reinterpret_cast<S*>(y_.data);
  }
  std::size_t bytes() const;   // of x, and of y
  void forget_result() const;  // y becomes NaN

  /// One per row, by the formula in long double; kept after the first question.
  const std::vector<statistic>& statistics(op o) const;

  /// The largest error of y in steps of the type at 1 (2^-23 for float): relative, and for
  /// LayerNorm relative to the largest of |y|, |gamma| and |beta|. Infinite where a number is NaN.
  double error(op o, const void* y) const;

 private:
  struct buffer {
    buffer(std::size_t size, std::size_t offset);
    std::unique_ptr<std::byte[]> memory;
    std::byte* data;
  };
  buffer x_, gamma_, beta_, y_;
  mutable std::vector<statistic> statistics_[2];
};

}  // namespace bench
