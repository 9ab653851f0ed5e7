// SPDX-License-Identifier: MIT
// A batch, one register of numbers: the ISA's operations, and what all ISAs make of them. Never a
// pack, a place or a row.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "../types.hpp"
#include "config.hpp"

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 warns of its own AVX-512 intrinsics wherever they are inlined (its bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wstringop-overflow"  // where copy_few's size cannot be
#pragma GCC diagnostic ignored "-Warray-bounds"       // of the lanes that a mask leaves out
#endif

// Each of these gives:
//   batch<T>, words, half_words      registers of T, of 32 and of 16 bits, with + - * / & | ~ << >>
//   halves                           as many 16-bit numbers as a batch has floats
//   registers_for_sums               how many batches of sums are in registers at once
//   deals_pairs                      a word's lower half is the first of its two 16-bit numbers
//   fma, divide, if_greater          a * b + c and x / y in one rounding; a > b ? x : y, as
//   integers square_root, fma (of doubles)    as the batches have them lanes_from<Half>, first_lane
//   lane l takes lane l + Half (others: anything); lane 0 interleave_lower, _upper         a0 b0 a1
//   b1 ... of the lower, the upper halves of two batches lower_doubles, upper_doubles, to_floats
//   conversions, a batch of floats being two keep                             zeros in place of the
//   lanes from n on load_halves, store_halves, to_words, to_halves   16-bit numbers; each in a
//   word's lower half less_or_zero, join_halves, pack_halves, in_turn  what format.hpp rounds to
//   bfloat16 with store_bytes                      the lowest byte of each word, of one or two
//   batches stream_words, stream_halves, end_past_cache      non-temporal stores, and the fence
//   behind them
// and, if it says so:
//   has_float16                      widen, narrow
//   masked_loads                     load_masked, load_halves_masked, load_pairs_masked: n numbers,
//                                    the rest zeros; no byte behind them is read
//   masked_stores                    store_masked, store_halves_, store_pairs_, store_bytes_masked
#if defined(ROWNORM_SCALAR)
#include "batch_scalar.hpp"
#else
#pragma push_macro("min")  // windows.h has macros of these names
#pragma push_macro("max")
#undef min
#undef max
#include <xsimd/xsimd.hpp>
#pragma pop_macro("max")
#pragma pop_macro("min")
#if defined(ROWNORM_AVX512)
#include "batch_avx512.hpp"
#elif defined(ROWNORM_AVX2)
#include "batch_avx2.hpp"
#elif defined(ROWNORM_NEON)
#include "batch_neon.hpp"
#else
#include "batch_sse2.hpp"
#endif
#endif

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

#if !defined(ROWNORM_SCALAR)
ROWNORM_INLINE batch<double> square_root(batch<double> x) {
  return xsimd::sqrt(x);
}
template <class T>
ROWNORM_INLINE batch<T> abs(batch<T> x) {
  return xsimd::abs(x);
}
template <class T>
ROWNORM_INLINE batch<T> maximum(batch<T> x, batch<T> y) {
  return (xsimd::max)(x, y);
}
template <class T>
ROWNORM_INLINE batch<T> minimum(batch<T> x, batch<T> y) {
  return (xsimd::min)(x, y);
}
template <class To, class From>
ROWNORM_INLINE batch<To> as(batch<From> x) {
#if XSIMD_VERSION_MAJOR < 10
  return xsimd::bitwise_cast<batch<To>>(x);
#else
  return xsimd::bitwise_cast<To>(x);
#endif
}
template <class T>
ROWNORM_INLINE batch<T> load_batch(const T* p) {
  return batch<T>::load_unaligned(p);
}
template <class T>
ROWNORM_INLINE void store_batch(T* p, batch<T> v) {
  v.store_unaligned(p);
}
#endif

template <class T>
inline constexpr std::size_t width = batch<T>::size;
inline constexpr std::size_t register_bytes = sizeof(batch<float>);

/// Bytes as words, whatever type they were written in.
ROWNORM_INLINE words load_words(const void* p) {
  return as<std::uint32_t>(load_batch(static_cast<const std::uint8_t*>(p)));
}
ROWNORM_INLINE void store_words(void* p, words w) {
  store_batch(static_cast<std::uint8_t*>(p), as<std::uint8_t>(w));
}

template <std::size_t... I, class F>
ROWNORM_INLINE void unroll(std::index_sequence<I...>, [[maybe_unused]] F f) {
  (f(std::integral_constant<std::size_t, I>{}), ...);
}
/// f(0), f(1), ... f(N-1), each with its number as a constant: g++ 12 at -O2 leaves a loop over a
/// small array of batches as a loop, and the array in memory.
template <std::size_t N, class F>
ROWNORM_INLINE void unroll(F f) {
  unroll(std::make_index_sequence<N>{}, f);
}

/// How two lanes become one: a sum's, or a largest number's.
struct plus {
  template <class V>
  ROWNORM_INLINE V operator()(V x, V y) const {
    return x + y;
  }
};
struct larger {
  template <class V>
  ROWNORM_INLINE V operator()(V x, V y) const {
    if constexpr (std::is_arithmetic_v<V>) return x > y ? x : y;
    else return maximum(x, y);
  }
};

/// Lane l takes lane l + half, until so many lanes are left, which are the first.
template <std::size_t Left, std::size_t Lanes, class T, class Combine>
ROWNORM_INLINE batch<T> halved(batch<T> v, Combine combine) {
  if constexpr (Lanes <= Left) return v;
  else return halved<Left, Lanes / 2>(combine(v, lanes_from<Lanes / 2>(v)), combine);
}
/// The last steps of the tree: the lanes of one batch, in halves, in registers.
template <class T, class Combine>
ROWNORM_INLINE T across(batch<T> v, Combine combine) {
  v = halved<2, width<T>>(v, combine);
  return combine(first_lane(v), first_lane(lanes_from<1>(v)));
}

/// The prefetch of what lies `bytes` after p.
ROWNORM_INLINE void prefetch(const void* p, std::size_t bytes) {
#if defined(__GNUC__) || defined(__clang__)
  // As a number: what lies there may be no part of what p points into.
  const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(p) + bytes;
  __builtin_prefetch(reinterpret_cast<const void*>(address));  // NOLINT(performance-no-int-to-ptr)
#else
  (void)p, (void)bytes;
#endif
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
