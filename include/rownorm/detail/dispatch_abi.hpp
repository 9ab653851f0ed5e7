// SPDX-License-Identifier: MIT
// What passes between a program's files and the objects of rownorm::dispatch, each of which may be
// built for another ISA: plain data and pointers in a namespace that bears none. Never Eigen, xsimd
// or a loop.
#pragma once

#include <cstddef>
#include <type_traits>

#include "../types.hpp"

namespace rownorm {
namespace dispatch {
namespace abi {

/// The type of a matrix's numbers, an index of the tables below.
enum number : unsigned { f32, f64, f16, bf16, numbers };
template <class S>
inline constexpr number number_of = std::is_same_v<S, float>          ? f32
                                    : std::is_same_v<S, double>       ? f64
                                    : std::is_same_v<S, float16_bits> ? f16
                                                                      : bf16;

/// gamma, an index too: none, or numbers of the matrix's type (or of float) with or without a word.
enum gain : unsigned {
  no_gain,
  own,
  own_plus,
  own_after,
  single,
  single_plus,
  single_after,
  gains
};
/// The type of beta where it is, and of gamma in a backward call: the matrix's, or float.
enum shift : unsigned { own_shift, single_shift, shifts };

/// Rows, or heads, as the kernels have them: row i begins at data + i * stride, or where per_token
/// is not 0 at data + i / per_token * token_stride + i % per_token * stride.
template <class Void>
struct matrix {
  Void* data;
  std::size_t stride, per_token, token_stride;

  /// What may be written may be read.
  operator matrix<const Void>() const { return {data, stride, per_token, token_stride}; }
};

/// gamma or beta, one row or one for each head; data is null where there is none.
struct parameter {
  const void* data;
  std::size_t stride, heads;
};

/// A number per row, float or double; data is null where there is none.
template <class Void>
struct column {
  Void* data;
  bool wide;
};

/// A forward call after its checks. x and residual are read first, `residual` may be absent (null).
struct forward {
  std::size_t count, length, k;
  matrix<const void> x;
  matrix<void> residual, y;
  parameter gamma, beta;
  column<void> mean, rstd;
  epsilon eps;
  bool streaming;
};

/// The sums over rows for a gradient, of as many heads, as row_sums has them: `partial` in the type
/// of the arithmetic, float or double; no pointers and no heads where there is no gradient.
struct sums {
  void* partial;
  double* total;
  std::size_t length, heads;
  bool in_double;
};

/// A backward call after its checks. mean and rstd are those that a forward call saved; `adds`: to
/// what dx holds.
struct backward {
  std::size_t count, length;
  matrix<const void> dy, x;
  parameter gamma;
  bool one_plus;
  sums dgamma, dbeta;
  matrix<void> dx = {};
  bool streaming = false, adds = false;
  column<const void> mean = {}, rstd = {};
  epsilon eps = 0;
};

/// What the object of an ISA has; a pointer is null where a call is not covered.
struct kernels {
  void (*rms_norm[numbers][gains])(const forward&);
  void (*layer_norm[numbers][gains][shifts])(const forward&);
  void (*rms_norm_backward[numbers][shifts])(const backward&);
  void (*layer_norm_backward[numbers][shifts])(const backward&);
  void (*add_total[numbers])(const sums&, void* gradient, std::size_t stride);
};

/// Those of the ISA that was chosen for this process.
const kernels& chosen();

/// Which calls there are: gamma and beta have the type of x, or are floats beside a 16-bit x.
constexpr bool covered(number x, gain gamma) {
  return gamma <= own_plus || (gamma == own_after && x != f64) || (gamma >= single && x >= f16);
}
constexpr bool covered(number x, shift beta) {
  return beta == own_shift || x >= f16;
}
constexpr bool covered(number x, gain gamma, shift beta) {
  if (!covered(x, gamma) || !covered(x, beta)) return false;
  return gamma == no_gain || (beta == single_shift) == (gamma >= single);
}

}  // namespace abi
}  // namespace dispatch
}  // namespace rownorm
