// SPDX-License-Identifier: MIT
// Any other CPU: sixteen bytes of numbers and loops over them, the operations that batch.hpp lists.
// Never xsimd, an intrinsic or an #if.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../types.hpp"
#include "config.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

template <class T>
struct batch {
  static constexpr std::size_t size = 16 / sizeof(T);
  T lane[size];
  batch() = default;
  batch(T x) {
    for (T& l : lane) l = x;
  }
};
using words = batch<std::uint32_t>;
using half_words = batch<std::uint16_t>;
struct halves {
  std::uint16_t lane[words::size];
};

inline constexpr std::size_t registers_for_sums = 8;
// The first of two 16-bit numbers is a big-endian word's upper half.
inline constexpr bool deals_pairs = false, has_float16 = false;
inline constexpr bool masked_loads = false, masked_stores = false;

/// Lane i is f(i).
template <class T, class F>
ROWNORM_INLINE batch<T> lanewise(F f) {
  batch<T> r;
  for (std::size_t i = 0; i < r.size; ++i) r.lane[i] = static_cast<T>(f(i));
  return r;
}
#define ROWNORM_LANEWISE(op)                                                   \
  template <class T>                                                           \
  ROWNORM_INLINE batch<T> operator op(const batch<T>& x, const batch<T>& y) {  \
    return lanewise<T>([&](std::size_t i) { return x.lane[i] op y.lane[i]; }); \
  }
ROWNORM_LANEWISE(+)
ROWNORM_LANEWISE(-)
ROWNORM_LANEWISE(*)
ROWNORM_LANEWISE(/)
ROWNORM_LANEWISE(&)
ROWNORM_LANEWISE(|)
#undef ROWNORM_LANEWISE
template <class T>
ROWNORM_INLINE batch<T> operator~(const batch<T>& x) {
  return lanewise<T>([&](std::size_t i) { return ~x.lane[i]; });
}
template <class T>
ROWNORM_INLINE batch<T> operator<<(const batch<T>& x, int n) {
  return lanewise<T>([&](std::size_t i) { return x.lane[i] << n; });
}
template <class T>
ROWNORM_INLINE batch<T> operator>>(const batch<T>& x, int n) {
  return lanewise<T>([&](std::size_t i) { return x.lane[i] >> n; });
}
template <class T>
ROWNORM_INLINE batch<T> divide(batch<T> x, batch<T> y) {
  return x / y;
}
template <class T>
ROWNORM_INLINE batch<T> fma(batch<T> x, batch<T> y, batch<T> z) {
  return lanewise<T>([&](std::size_t i) { return std::fma(x.lane[i], y.lane[i], z.lane[i]); });
}
ROWNORM_INLINE double fma(double x, double y, double z) {
  return std::fma(x, y, z);
}
ROWNORM_INLINE double square_root(double x) {
  return std::sqrt(x);
}
ROWNORM_INLINE batch<double> square_root(batch<double> x) {
  return lanewise<double>([&](std::size_t i) { return std::sqrt(x.lane[i]); });
}
template <class T>
ROWNORM_INLINE batch<T> abs(batch<T> x) {
  return lanewise<T>([&](std::size_t i) { return std::fabs(x.lane[i]); });
}
template <class T>
ROWNORM_INLINE batch<T> maximum(batch<T> x, batch<T> y) {
  return lanewise<T>([&](std::size_t i) { return x.lane[i] > y.lane[i] ? x.lane[i] : y.lane[i]; });
}
template <class T>
ROWNORM_INLINE batch<T> minimum(batch<T> x, batch<T> y) {
  return lanewise<T>([&](std::size_t i) { return x.lane[i] < y.lane[i] ? x.lane[i] : y.lane[i]; });
}
template <class To, class From>
ROWNORM_INLINE batch<To> as(batch<From> x) {
  batch<To> r;
  std::memcpy(&r, &x, sizeof r);
  return r;
}
ROWNORM_INLINE words if_greater(words a, words b, words x, words y) {
  return lanewise<std::uint32_t>([&](std::size_t i) {
    const auto l = static_cast<std::int32_t>(a.lane[i]), r = static_cast<std::int32_t>(b.lane[i]);
    return l > r ? x.lane[i] : y.lane[i];
  });
}
template <class T>
ROWNORM_INLINE batch<T> load_batch(const T* p) {
  batch<T> r;
  std::memcpy(r.lane, p, sizeof r);
  return r;
}
template <class T>
ROWNORM_INLINE void store_batch(T* p, batch<T> v) {
  std::memcpy(p, v.lane, sizeof v);
}

// Lanes.
template <std::size_t Half, class T>
ROWNORM_INLINE batch<T> lanes_from(batch<T> v) {
  return lanewise<T>([&](std::size_t i) { return v.lane[(i + Half) % v.size]; });
}
template <class T>
ROWNORM_INLINE T first_lane(batch<T> v) {
  return v.lane[0];
}
ROWNORM_INLINE batch<double> interleave_lower(batch<double> a, batch<double> b) {
  return lanewise<double>([&](std::size_t i) { return (i == 0 ? a : b).lane[0]; });
}
ROWNORM_INLINE batch<double> interleave_upper(batch<double> a, batch<double> b) {
  return lanewise<double>([&](std::size_t i) { return (i == 0 ? a : b).lane[1]; });
}
ROWNORM_INLINE batch<double> lower_doubles(batch<float> v) {
  return lanewise<double>([&](std::size_t i) { return v.lane[i]; });
}
ROWNORM_INLINE batch<double> upper_doubles(batch<float> v) {
  return lanewise<double>([&](std::size_t i) { return v.lane[i + 2]; });
}
ROWNORM_INLINE batch<float> to_floats(batch<double> lower, batch<double> upper) {
  return lanewise<float>([&](std::size_t i) { return (i < 2 ? lower : upper).lane[i % 2]; });
}

// The end of a row.
template <class T>
ROWNORM_INLINE batch<T> keep(batch<T> v, std::size_t n) {
  return lanewise<T>([&](std::size_t i) { return i < n ? v.lane[i] : T(0); });
}

// Numbers of 16 and 8 bits.
ROWNORM_INLINE halves load_halves(const void* p) {
  halves h;
  std::memcpy(h.lane, p, sizeof h);
  return h;
}
ROWNORM_INLINE void store_halves(void* p, halves h) {
  std::memcpy(p, h.lane, sizeof h);
}
ROWNORM_INLINE words to_words(halves h) {
  return lanewise<std::uint32_t>([&](std::size_t i) { return h.lane[i]; });
}
ROWNORM_INLINE halves to_halves(words w) {
  halves h;
  for (std::size_t i = 0; i < w.size; ++i) h.lane[i] = static_cast<std::uint16_t>(w.lane[i]);
  return h;
}
ROWNORM_INLINE half_words less_or_zero(half_words x, half_words y) {
  return lanewise<std::uint16_t>(
      [&](std::size_t i) { return x.lane[i] > y.lane[i] ? x.lane[i] - y.lane[i] : 0; });
}
ROWNORM_INLINE half_words join_halves(words lower, words upper) {
  return as<std::uint16_t>((lower & words(0xffffu)) | (upper & words(0xffff0000u)));
}
ROWNORM_INLINE half_words pack_halves(words x, words y) {
  return lanewise<std::uint16_t>([&](std::size_t i) { return (i < 4 ? x : y).lane[i % 4]; });
}
ROWNORM_INLINE words in_turn(half_words v) {
  return as<std::uint32_t>(v);
}
ROWNORM_INLINE void store_bytes(std::int8_t* p, words w) {
  for (std::size_t i = 0; i < w.size; ++i) p[i] = static_cast<std::int8_t>(w.lane[i] & 0xffu);
}
ROWNORM_INLINE void store_bytes(std::int8_t* p, words a, words b) {
  store_bytes(p, a);
  store_bytes(p + a.size, b);
}

// Non-temporal stores: none.
ROWNORM_INLINE void stream_words(void* p, words w) {
  std::memcpy(p, w.lane, sizeof w);
}
ROWNORM_INLINE void stream_halves(void* p, halves h) {
  store_halves(p, h);
}
ROWNORM_INLINE void end_past_cache() {}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
