// SPDX-License-Identifier: MIT
// What is normalized: the numbers of one shape and type, and the exact answers beside them; never a
// norm that is timed.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace bench {

enum class op {
  rms_norm,
  layer_norm,
  rms_backward,
  layer_backward,
  add_rms,
  add_layer,
  rms_int8,
  rms_heads
};
enum class type { f32, f64, bf16, f16 };

struct shape {
  std::size_t rows, length;
};

inline constexpr op norms[] = {op::rms_norm, op::layer_norm};
inline constexpr op ops[] = {op::rms_norm, op::layer_norm, op::rms_backward, op::layer_backward,
                             op::add_rms,  op::add_layer,  op::rms_int8,     op::rms_heads};
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

/// Of LayerNorm, which has a mean and a beta.
inline bool centred(op o) {
  return o == op::layer_norm || o == op::layer_backward || o == op::add_layer;
}
inline bool backward(op o) {
  return o == op::rms_backward || o == op::layer_backward;
}
inline bool adds(op o) {
  return o == op::add_rms || o == op::add_layer;
}
inline double epsilon(op o) {
  return centred(o) ? 1e-5 : 1e-6;
}

/// The type of the arithmetic on numbers of S; gradients of gamma and beta, and scales, have it.
template <class S>
using real = std::conditional_t<std::is_same_v<S, double>, double, float>;

/// A row's statistics: of RMSNorm (mean 0) or LayerNorm. rstd has eps under its root, variance not.
struct statistic {
  long double mean, variance, rstd;
};

/// What the backward pass takes from a row: with g = gamma * dy and h = (x - mean) * rstd, the
/// means of g * h and of g, each beside the mean of its absolute numbers.
struct slope {
  long double of_h, size_of_h, of_one, size_of_one;
};

/// A column's gradients, of gamma (the sum of dy * h) and of beta (the sum of dy), each beside the
/// sum of its absolute numbers.
struct gradient {
  long double gamma, size_of_gamma, beta, size_of_beta;
};

/// Where a contender leaves its answer. y: the rows, or dx, or int8 numbers.
struct answer {
  const void* y;
  const void* residual;
  const void* dgamma;
  const void* dbeta;
  const void* scales;
};

/// Rows inside packed QKV rows: the query heads of a token lie side by side, its keys and values (a
/// quarter as many heads each) come after them.
struct packing {
  std::size_t heads, token_stride;
};

/// The arrays of a problem, each at an offset of its own in a 4 KiB page: a load waits for an
/// earlier store at the same offset, as if it were the same address.
class problem {
 public:
  /// Has the arrays that `which` need, `shift` bytes past a multiple of 64 (16: malloc's
  /// addresses).
  problem(type t, shape s, const std::vector<op>& which, std::size_t shift = 0);

  const type numbers;
  const std::size_t rows, length;
  const packing packed;

  // What is read: x and dy of `rows` rows (dy: the residual before an add), gamma and beta.
  template <class S>
  const S* x() const {
    return reinterpret_cast<const S*>(x_.data);
  }
  template <class S>
  const S* dy() const {
    return reinterpret_cast<const S*>(dy_.data);
  }
  template <class S>
  const S* gamma() const {
    return reinterpret_cast<const S*>(gamma_.data);
  }
  template <class S>
  const S* beta() const {
    return reinterpret_cast<const S*>(beta_.data);
  }
  /// The rows of x inside packed rows.
  template <class S>
  const S* packed_x() const {
    return reinterpret_cast<const S*>(packed_x_.data);
  }

  // What is written; the residual and the gradients are added to.
  template <class S>
  S* y() const {
    return reinterpret_cast<S*>(y_.data);
  }
  template <class S>
  S* packed_y() const {
    return reinterpret_cast<S*>(packed_y_.data);
  }
  template <class S>
  S* residual() const {
    return reinterpret_cast<S*>(residual_.data);
  }
  template <class A>
  A* dgamma() const {
    return reinterpret_cast<A*>(dgamma_.data);
  }
  template <class A>
  A* dbeta() const {
    return reinterpret_cast<A*>(dbeta_.data);
  }
  std::int8_t* int8() const { return reinterpret_cast<std::int8_t*>(int8_.data); }
  template <class A>
  A* scales() const {
    return reinterpret_cast<A*>(scales_.data);
  }

  std::size_t bytes() const;  // of x, and of y
  std::size_t packed_bytes() const;
  /// Where row i begins in a packed array, counted in numbers.
  std::size_t place_of_head(std::size_t i) const;

  /// The arrays above, where the answer of o belongs.
  answer places(op o) const;
  /// What is written becomes NaN, gradients zero, the residual what it is before the add.
  void forget_result(op o) const;

  // One per row (with an add: of the residual after it) or column, by the formulas in long double;
  // kept after the first question.
  const std::vector<statistic>& statistics(op o) const;
  const std::vector<slope>& slopes(op o) const;
  const std::vector<gradient>& gradients(op o) const;

  /// The largest error of an answer in steps of the type at 1 (2^-23 for float), relative to the
  /// exact number, or to what would be there if nothing cancelled: for LayerNorm |gamma| and |beta|
  /// where these are larger; for gradients the sum of their absolute terms. For int8: of q * scale,
  /// in steps of int8, exact scales. Infinite where a number is NaN.
  double error(op o, const answer& a) const;

 private:
  struct buffer {
    buffer(std::size_t size, std::size_t offset);
    std::unique_ptr<std::byte[]> memory;
    std::byte* data;
  };
  template <class S>
  void find_statistics(op o) const;
  template <class S>
  void find_slopes(op o) const;
  template <class S>
  double rows_error(op o, const answer& a) const;
  template <class S>
  double gradient_error(op o, const answer& a) const;
  template <class S>
  double int8_error(op o, const answer& a) const;

  buffer x_, gamma_, beta_, y_, dy_, residual_, dgamma_, dbeta_, int8_, scales_, packed_x_,
      packed_y_;
  mutable std::vector<statistic> statistics_[4];
  mutable std::vector<slope> slopes_[2];
  mutable std::vector<gradient> gradients_[2];
};

}  // namespace bench
