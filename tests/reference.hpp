// SPDX-License-Identifier: MIT
// What the tests share: each formula once, in long double over plain numbers; rows to try it on and
// ways to compare. It reads types.hpp and Eigen, never a kernel.
#pragma once

#include <gtest/gtest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <random>
#include <rownorm/types.hpp>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "bounds.hpp"

// ---------------------------------------------------------------------------------------------
// The formulas. A gamma or beta of no numbers is one that was left out.
// ---------------------------------------------------------------------------------------------

namespace reference {

using real = long double;
using row = std::vector<real>;

/// term(0) + term(1) + ... + term(n - 1), compensated.
template <class Term>
real sum(std::size_t n, Term term) {
  real s = 0, lost = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const real t = term(i) - lost, next = s + t;
    lost = (next - s) - t;
    s = next;
  }
  return s;
}

struct normalized {
  row y;
  real mean, rstd;
};

/// 0 where the root is 0: a row of zeros (or of equal numbers) has nothing to scale.
inline real reciprocal_root(real mean_square, rownorm::epsilon eps) {
  const real root = eps.outside ? std::sqrt(mean_square) + real{eps.value}
                                : std::sqrt(mean_square + real{eps.value});
  return root == 0 ? 0 : 1 / root;
}

/// Gemma's gain.
inline row one_plus(row gamma) {
  for (real& g : gamma) g += 1;
  return gamma;
}

/// The statistic from the first k numbers.
inline normalized partial_rms_norm(const row& x, std::size_t k, const row& gamma,
                                   rownorm::epsilon eps) {
  const real square = sum(k, [&](std::size_t i) { return x[i] * x[i]; }) / static_cast<real>(k);
  normalized r{x, 0, reciprocal_root(square, eps)};
  for (std::size_t i = 0; i < x.size(); ++i) r.y[i] *= r.rstd * (gamma.empty() ? 1 : gamma[i]);
  return r;
}

inline normalized rms_norm(const row& x, const row& gamma, rownorm::epsilon eps) {
  return partial_rms_norm(x, x.size(), gamma, eps);
}

inline normalized layer_norm(const row& x, const row& gamma, const row& beta,
                             rownorm::epsilon eps) {
  const auto n = static_cast<real>(x.size());
  const real mean = sum(x.size(), [&](std::size_t i) { return x[i]; }) / n;
  // What the rounding of the mean left, so that even doubles of a large mean have their bits.
  const real rest = sum(x.size(), [&](std::size_t i) { return x[i] - mean; }) / n;
  const auto centred = [&](std::size_t i) { return (x[i] - mean) - rest; };
  const real variance = sum(x.size(), [&](std::size_t i) { return centred(i) * centred(i); }) / n;
  normalized r{x, mean + rest, reciprocal_root(variance, eps)};
  for (std::size_t i = 0; i < x.size(); ++i)
    r.y[i] = centred(i) * r.rstd * (gamma.empty() ? 1 : gamma[i]) + (beta.empty() ? 0 : beta[i]);
  return r;
}

/// The gradient at a row. `size`: what the error of dx is relative to, the sizes of its terms.
/// Those of a mean are its numbers'. LayerNorm's h is known to a step of 1 where it is smaller, and
/// times it comes what is off in x less its mean, which is mean|g| of mean(g * h).
struct gradient {
  row dx, size, h;
};

/// dx = r * (g - mean(g) - h * mean(g * h)) with g = gamma * dy and h the normalized numbers,
/// mean(g) for LayerNorm alone. With eps outside the root, r has the slope of 1 / rms: the last
/// term is 1 / (rms * r) times larger.
inline gradient backward(const row& dy, const normalized& n, const row& gamma, rownorm::epsilon eps,
                         bool centred) {
  const row& h = n.y;
  const auto g = [&](std::size_t i) { return dy[i] * (gamma.empty() ? 1 : gamma[i]); };
  const auto mean = [&](auto term) { return sum(h.size(), term) / static_cast<real>(h.size()); };
  const real rms_times_r = std::sqrt(mean([&](std::size_t i) { return h[i] * h[i]; }));
  const real slope = !eps.outside ? 1 : rms_times_r > 0 ? 1 / rms_times_r : 0;
  const real mean_g = centred ? mean(g) : 0;
  const real mean_gh = slope * mean([&](std::size_t i) { return g(i) * h[i]; });
  const real size_g = centred ? mean([&](std::size_t i) { return std::abs(g(i)); }) : 0;
  const real size_gh = slope * mean([&](std::size_t i) { return std::abs(g(i) * h[i]); });
  gradient d{h, h, h};
  for (std::size_t i = 0; i < h.size(); ++i) {
    d.dx[i] = n.rstd * (g(i) - mean_g - h[i] * mean_gh);
    const real size_h = std::max(std::abs(h[i]), real(centred));
    d.size[i] = n.rstd * (std::abs(g(i)) + size_h * (size_g + size_gh));
  }
  return d;
}
inline gradient rms_norm_backward(const row& dy, const row& x, const row& gamma,
                                  rownorm::epsilon eps) {
  return backward(dy, rms_norm(x, {}, eps), gamma, eps, false);
}
inline gradient layer_norm_backward(const row& dy, const row& x, const row& gamma,
                                    rownorm::epsilon eps) {
  return backward(dy, layer_norm(x, {}, {}, eps), gamma, eps, true);
}

}  // namespace reference

// ---------------------------------------------------------------------------------------------
// Rows of every storage type.
// ---------------------------------------------------------------------------------------------

namespace test {

using reference::real;

template <class T>
using matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using vector = Eigen::Matrix<T, 1, Eigen::Dynamic>;

/// A storage type's format: its significant bits and the exponent of its smallest number.
template <class T>
struct format;
template <>
struct format<float> {
  static constexpr int digits = 24, lowest = -149;
  static constexpr char name[] = "float";
};
template <>
struct format<double> {
  static constexpr int digits = 53, lowest = -1074;
  static constexpr char name[] = "double";
};
template <>
struct format<Eigen::half> {
  static constexpr int digits = 11, lowest = -24;
  static constexpr char name[] = "half";
};
template <>
struct format<Eigen::bfloat16> {
  static constexpr int digits = 8, lowest = -133;
  static constexpr char name[] = "bfloat16";
};

/// The step of T at 1: 2^-23 for float.
template <class T>
inline const real step = std::ldexp(real{1}, 1 - format<T>::digits);

/// The step of T at v.
template <class T>
real ulp(real v) {
  const int exponent = v == 0 ? format<T>::lowest : std::ilogb(v) - format<T>::digits + 1;
  return std::ldexp(real{1}, std::max(exponent, format<T>::lowest));
}

/// The value of a number of any storage type, and the T that was made from a value.
template <class T>
real exact(T v) {
  if constexpr (std::is_floating_point_v<T>) return v;
  else return static_cast<float>(v);
}
template <class T>
T number(double v) {
  if constexpr (std::is_floating_point_v<T>) return static_cast<T>(v);
  else return T(static_cast<float>(v));
}

/// The values of a row.
template <class T>
reference::row values(const T* p, std::size_t n) {
  reference::row r(n);
  std::transform(p, p + n, r.begin(), exact<T>);
  return r;
}
template <class Row>
reference::row values(const Row& v) {
  return values(v.data(), static_cast<std::size_t>(v.size()));
}

/// shift + scale * N(0, 1).
template <class T>
matrix<T> normals(std::size_t count, std::size_t length, unsigned seed, double scale = 1,
                  double shift = 0) {
  std::mt19937_64 bits(seed);
  std::normal_distribution<double> normal(shift, scale);
  return matrix<T>::NullaryExpr(static_cast<Eigen::Index>(count), static_cast<Eigen::Index>(length),
                                [&] { return number<T>(normal(bits)); });
}

/// Every length that ends in another part of a pack, and some of more than one block of the sum.
inline const std::vector<std::size_t>& lengths() {
  static const std::vector<std::size_t> all = [] {
    std::vector<std::size_t> l(300);
    for (std::size_t i = 0; i < l.size(); ++i) l[i] = i + 1;
    l.insert(l.end(), {1000, 4095, 4096, 4097, 8192, 10000, 65539});
    return l;
  }();
  return all;
}
/// A few of them.
inline const std::vector<std::size_t>& some_lengths() {
  static const std::vector<std::size_t> some{1,  2,  3,  7,  8,   15,  16,  17,   31,   32,
                                             33, 63, 64, 65, 100, 127, 128, 1000, 4097, 10000};
  return some;
}

/// Rows with room around each, all of it 0xff: NaN in every type. A norm that takes a number from
/// there gives NaN; one that writes there is seen by untouched().
template <class T>
class guarded {
 public:
  /// Row i begins `offset + i * stride` numbers after some first place.
  guarded(std::size_t count, std::size_t length, std::size_t stride, std::size_t offset = 0)
      : memory_(room + offset + count * stride + room),
        rows_(memory_.data() + room + offset, count, length, stride) {
    std::memset(static_cast<void*>(memory_.data()), 0xff, memory_.size() * sizeof(T));
  }
  guarded(const matrix<T>& m, std::size_t stride, std::size_t offset = 0)
      : guarded(static_cast<std::size_t>(m.rows()), static_cast<std::size_t>(m.cols()), stride,
                offset) {
    map() = m;
  }
  guarded(const guarded&) = delete;

  rownorm::rows<T> rows() { return rows_; }
  rownorm::rows<const T> rows() const { return rows_; }
  auto map() {
    return Eigen::Map<matrix<T>, 0, Eigen::OuterStride<>>(
        rows_.data, static_cast<Eigen::Index>(rows_.count), static_cast<Eigen::Index>(rows_.length),
        Eigen::OuterStride<>(static_cast<Eigen::Index>(rows_.stride)));
  }
  bool untouched() const {
    const T* end = memory_.data() + memory_.size();
    const T* p = memory_.data();
    for (std::size_t i = 0; i < rows_.count; ++i) {
      const T* row = rows_.data + i * rows_.stride;
      if (!poisoned(p, row)) return false;
      p = row + rows_.length;
    }
    return poisoned(p, end);
  }

 private:
  static constexpr std::size_t room = 64;
  static bool poisoned(const T* begin, const T* end) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(begin);
    return std::all_of(bytes, reinterpret_cast<const unsigned char*>(end),
                       [](unsigned char b) { return b == 0xff; });
  }
  std::vector<T> memory_;
  rownorm::rows<T> rows_;
};

// ---------------------------------------------------------------------------------------------
// Comparing.
// ---------------------------------------------------------------------------------------------

/// The error that a norm of arithmetic T may make in a number of Y whose exact value is y, in the
/// rows of these tests. What rounds once from T to Y makes no more than half a step of Y, and a
/// little.
template <class T, class Y>
real stored_error(real y) {
  if constexpr (format<Y>::digits >= format<T>::digits) return 0;
  else return (sizeof(Y) == 2 ? bounds::one_rounding_16 : bounds::one_rounding_float) * ulp<Y>(y);
}
/// What 1/rms may be off by, relative to it.
template <class T>
inline const real rstd_error = bounds::of<T>::rms_norm.usual* step<T>;
template <class T, class Y>
real rms_norm_error(real y) {
  const real rounded = stored_error<T, Y>(y);
  return rounded != 0 ? rounded : rstd_error<T> * std::abs(y);
}
/// `scale` is the larger of |y| and |gamma| max(1, |h|), h being what gamma multiplies; or, with a
/// little more room, the largest of |y|, |gamma| and |beta|.
template <class T, class Y>
real layer_norm_error(real y, real scale) {
  return stored_error<T, Y>(y) + bounds::of<T>::layer_norm.usual * step<T> * scale;
}

/// Each number of `got` is within error(i) of the expected one.
template <class Error>
testing::AssertionResult within(const reference::row& got, const reference::row& expected,
                                Error error) {
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (!(std::abs(got[i] - expected[i]) <= error(i)))
      return testing::AssertionFailure()
             << "number " << i << " of " << expected.size() << " is " << got[i] << ", not "
             << expected[i] << ": off by " << std::abs(got[i] - expected[i]) << ", allowed "
             << error(i);
  return testing::AssertionSuccess();
}

template <class T>
testing::AssertionResult same_bits(rownorm::rows<const T> a, rownorm::rows<const T> b) {
  if (a.count != b.count || a.length != b.length)
    return testing::AssertionFailure() << "the shapes differ";
  for (std::size_t i = 0; i < a.count; ++i)
    for (std::size_t j = 0; j < a.length; ++j) {
      const T *x = a.data + i * a.stride + j, *y = b.data + i * b.stride + j;
      if (std::memcmp(x, y, sizeof(T)) != 0)
        return testing::AssertionFailure() << "number " << j << " of row " << i << " is "
                                           << exact(*x) << " here and " << exact(*y) << " there";
    }
  return testing::AssertionSuccess();
}
template <class M>
rownorm::rows<const typename M::Scalar> rows_of(const M& m) {
  static_assert(M::IsRowMajor || M::IsVectorAtCompileTime);
  if constexpr (M::IsVectorAtCompileTime) return {m.data(), 1, static_cast<std::size_t>(m.size())};
  else
    return {m.data(), static_cast<std::size_t>(m.rows()), static_cast<std::size_t>(m.cols()),
            static_cast<std::size_t>(m.outerStride())};
}
template <class A, class B>
testing::AssertionResult same_bits(const A& a, const B& b) {
  return same_bits(rows_of(a), rows_of(b));
}

/// For TYPED_TEST_SUITE: each storage type, and its name.
using storage_types = testing::Types<float, double, Eigen::half, Eigen::bfloat16>;
struct storage_name {
  template <class T>
  static std::string GetName(int) {
    return format<T>::name;
  }
};

/// The type of the arithmetic where a call names none.
template <class... S>
using arithmetic = std::conditional_t<(std::is_same_v<S, double> || ...), double, float>;

/// What a call says where it throws.
template <class Exception = std::invalid_argument, class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Exception& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace test
