// SPDX-License-Identifier: MIT
// An argument as the checks see it, by the memory that it takes, and whether two share a byte;
// never a number of a matrix is read here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "../types.hpp"
#include "config.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

inline constexpr auto most_bytes = static_cast<std::size_t>(PTRDIFF_MAX);
/// Whether all are so small that no product of two and of the bytes of a number wraps around.
template <class... Size>
ROWNORM_INLINE bool moderate(Size... size) {
  return (size | ...) >> (std::numeric_limits<std::size_t>::digits / 2 - 4) == 0;
}
/// The product, or the most that there can be: it must not wrap around.
ROWNORM_INLINE std::size_t product(std::size_t a, std::size_t b) {
  if (ROWNORM_LIKELY(moderate(a, b))) return a * b;
  return b == 0 ? 0 : a > most_bytes / b ? most_bytes : a * b;
}

/// An argument as the checks see it: `count` rows of `length` numbers, in memory `blocks` blocks of
/// `width` numbers that begin `stride` numbers apart.
struct argument {
  const char* name;
  const void* data;
  std::size_t count, length;
  std::size_t blocks, width, stride;
  std::size_t number;           // bytes of one number, 0 where the argument was left out
  std::size_t heads = 1;        // rows that gamma may tell apart
  std::size_t fixed = dynamic;  // the length that the type says

  ROWNORM_INLINE bool absent() const { return number == 0; }
  ROWNORM_INLINE bool as_its_type() const { return fixed == dynamic || length == fixed; }
  ROWNORM_INLINE bool empty() const { return blocks == 0 || width == 0; }
  std::size_t width_bytes() const { return product(width, number); }
  std::size_t stride_bytes() const { return product(stride, number); }
  /// From block to block; of one block nobody asks.
  std::size_t step() const { return blocks > 1 && stride != 0 ? stride_bytes() : 1; }
  ROWNORM_INLINE std::uintptr_t begin() const { return reinterpret_cast<std::uintptr_t>(data); }
  /// Whether the numbers of `a` are these: written over, each where it was read.
  ROWNORM_INLINE bool same(const argument& a) const {
    return data == a.data && number == a.number && width == a.width &&
           (stride == a.stride || blocks == 1);
  }
};

template <class T, std::size_t Length>
ROWNORM_INLINE argument seen(const char* name, const rows<T, Length>& m) {
  return {name, m.data, m.count, m.length, m.count, m.length, m.stride, sizeof(T), 1, Length};
}
template <class T>
ROWNORM_INLINE argument seen(const char* name, const heads<T>& m) {
  return {name,           m.data,    m.count,
          m.length,       m.tokens,  product(m.length, m.heads_per_token),
          m.token_stride, sizeof(T), m.heads_per_token};
}
/// An argument that was left out (none): every check passes over it.
ROWNORM_INLINE argument seen(const char* name, none_t) {
  return {name, nullptr, 0, 0, 0, 0, 0, 0};
}

/// The sum of floor((v + i s) / t) over i < n, modulo 2 to the bits of a size, by Euclid's steps;
/// n s + v does not wrap around.
inline std::size_t sum_of_quotients(std::size_t n, std::size_t s, std::size_t t, std::size_t v) {
  std::size_t sum = 0;
  while (true) {
    sum += (n % 2 == 0 ? n / 2 * (n - 1) : (n - 1) / 2 * n) * (s / t) + n * (v / t);
    s %= t;
    v %= t;
    const std::size_t last = n * s + v;
    if (last < t) return sum;
    n = last / t;
    v = last % t;
    std::swap(s, t);
  }
}

/// Whether a byte of one is a byte of the other: exact for any two strides, in logarithmic time.
inline bool meet(const argument& one, const argument& other) {
  if (one.empty() || other.empty()) return false;
  const bool in_order = one.begin() <= other.begin();
  const argument &a = in_order ? one : other, &b = in_order ? other : one;
  // Block i of a meets block j of b where j t is in [v - gap, v], v = i s + wide - 1 - d. That
  // leaves i from `least` to `most`; the multiples of t before v and before v - gap are counted.
  const std::size_t d = b.begin() - a.begin(), s = a.step(), t = b.step();
  const std::size_t wide = a.width_bytes(), gap = wide + b.width_bytes() - 2;
  const std::size_t least = d < wide ? 0 : (d - wide) / s + 1;
  const std::size_t reach = ((b.blocks - 1) * t + b.width_bytes() - 1 + d) / s;
  const std::size_t most = reach < a.blocks - 1 ? reach : a.blocks - 1;
  if (least > most) return false;
  if (gap >= t - 1) return true;
  const std::size_t n = most - least + 1, v = (least * s + wide - 1 - d) % t + t;
  return sum_of_quotients(n, s, t, v) != sum_of_quotients(n, s, t, v - gap - 1);
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
