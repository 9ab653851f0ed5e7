// SPDX-License-Identifier: MIT
// Storage formats: a batch from numbers of any type and back, n numbers or a whole batch; never a
// pack or a row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../types.hpp"
#include "batch.hpp"
#include "config.hpp"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstringop-overflow"  // where copy_few's size cannot be
#pragma GCC diagnostic ignored "-Warray-bounds"
#endif

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// ---------------------------------------------------------------------------------------------
// 16-bit numbers and floats.
// ---------------------------------------------------------------------------------------------

/// The float's bits with its upper half rounded to nearest even (the lower half is left over); NaN
/// stays NaN. Integer code: the hardware's instruction (AVX512_BF16) flushes subnormals.
ROWNORM_INLINE words round_to_upper_half(batch<float> v) {
  const words bits = as<std::uint32_t>(v);
  const words rounded = bits + (words(0x7fffu) + ((bits >> 16) & words(1u)));
  return if_greater(bits & words(0x7fffffffu), words(0x7f800000u), bits | words(0x00400000u),
                    rounded);
}

// Two batches of floats at once, in 16 bits: `upper` and `lower` are the halves of their bits. (8
// operations side by side, where each batch by itself makes 11 of the two; in turn 14 against 26.)

/// 1 where the upper half is rounded up: lower is more than a half, or a half and upper is odd.
ROWNORM_INLINE half_words round_up(half_words upper, half_words lower) {
  return less_or_zero(lower, ~upper & half_words(std::uint16_t{1})) >> 15;
}
/// a to the lower halves of words and b to the upper ones. A NaN stays NaN if its lower half is
/// zero, as that of every NaN is which arithmetic makes from bfloat16 numbers.
ROWNORM_INLINE words round_side_by_side(batch<float> a, batch<float> b) {
  const words x = as<std::uint32_t>(a), y = as<std::uint32_t>(b);
  const half_words upper = join_halves(x >> 16, y), lower = join_halves(x, y << 16);
  return as<std::uint32_t>(upper + round_up(upper, lower));
}
/// a, then b. A NaN stays NaN if it is a quiet one, as every NaN is that arithmetic makes.
ROWNORM_INLINE words round_in_turn(batch<float> a, batch<float> b) {
  const words x = as<std::uint32_t>(a), y = as<std::uint32_t>(b), low(0xffffu);
  const half_words upper = pack_halves(x >> 16, y >> 16), lower = pack_halves(x & low, y & low);
  const half_words size = upper & half_words(std::uint16_t{0x7fff});
  const half_words is_nan = less_or_zero(size, half_words(std::uint16_t{0x7f80}));
  return in_turn(upper + less_or_zero(round_up(upper, lower), is_nan));
}

ROWNORM_INLINE batch<float> widen(halves h, bfloat16) {
  return as<float>(to_words(h) << 16);
}
ROWNORM_INLINE halves narrow(batch<float> v, bfloat16) {
  return to_halves(round_to_upper_half(v) >> 16);
}

/// binary16 in integer code. Subnormals go through one exact subtraction of floats, or one addition
/// that rounds where the last bit of a subnormal half stands (0.5 has its last bit at 2^-24).
ROWNORM_INLINE batch<float> widen_words(words h) {
  const words sign = (h & words(0x8000u)) << 16;
  const words shifted = (h & words(0x7fffu)) << 13;
  const words magic(113u << 23);
  const words subnormal = as<std::uint32_t>(as<float>(shifted + magic) - as<float>(magic));
  const words finite =
      if_greater(words(0x00800000u), shifted, subnormal, shifted + words(112u << 23));
  return as<float>(sign |
                   if_greater(shifted, words(0x0f7fffffu), shifted | words(0x7f800000u), finite));
}
ROWNORM_INLINE words narrow_words(batch<float> v) {
  const words bits = as<std::uint32_t>(v);
  const words sign = (bits >> 16) & words(0x8000u);
  const words size = bits & words(0x7fffffffu);
  const words odd = (size >> 13) & words(1u);
  const words normal = (size - words(112u << 23) + words(0xfffu) + odd) >> 13;
  const words half = words(0x3f000000u);
  const words subnormal = as<std::uint32_t>(as<float>(size) + as<float>(half)) - half;
  const words finite = if_greater(words(0x38800000u), size, subnormal, normal);
  const words large = if_greater(size, words(0x477fefffu), words(0x7c00u), finite);
  const words nan = words(0x7e00u) | ((size >> 13) & words(0x1ffu));
  return sign | if_greater(size, words(0x7f800000u), nan, large);
}
template <class S>
ROWNORM_INLINE batch<float> to_floats(halves h) {
  if constexpr (has_float16 || std::is_same_v<S, bfloat16>) return widen(h, S{});
  else return widen_words(to_words(h));
}
template <class S>
ROWNORM_INLINE halves to_halves(batch<float> v) {
  if constexpr (has_float16 || std::is_same_v<S, bfloat16>) return narrow(v, S{});
  else return to_halves(narrow_words(v));
}

/// v rounded to what a number of storage S can hold.
template <class S>
ROWNORM_INLINE batch<float> rounded_to(batch<float> v) {
  if constexpr (std::is_same_v<S, bfloat16>)
    return as<float>(round_to_upper_half(v) & words(0xffff0000u));
  else if constexpr (std::is_same_v<S, float16>) return to_floats<S>(to_halves<S>(v));
  else return v;
}
// ---------------------------------------------------------------------------------------------
// A batch of n numbers: where the ISA has no mask, by a copy.
// ---------------------------------------------------------------------------------------------

/// How many numbers: all that a pack or batch has, at no cost. A std::size_t in its place: the
/// first n; what lies beyond them is neither read nor written, and zeros are loaded for it.
struct full {};
/// full, by non-temporal stores; memory begins at a multiple of register_bytes.
struct past_cache {};
template <class Count>
inline constexpr bool whole = std::is_same_v<Count, full> || std::is_same_v<Count, past_cache>;

/// Copies n numbers, n at most Most (a power of two), in steps of fixed size: a call of memcpy
/// would cost more than the row.
template <std::size_t Most, class S>
ROWNORM_INLINE void copy_few(S* to, const S* from, std::size_t n) {
  const std::size_t step = n & Most;
  if (step != 0) std::memcpy(to, from, Most * sizeof(S));
  if constexpr (Most > 1) copy_few<Most / 2>(to + step, from + step, n);
}

template <class S, class Count>
ROWNORM_INLINE batch<S> load_batch(const S* p, Count n) {
  if constexpr (whole<Count>) {
    return load_batch(p);
  } else if constexpr (masked_loads) {
    return load_masked(p, n);
  } else {
    S some[width<S>] = {};
    copy_few<width<S>>(some, p, n);
    return load_batch(some);
  }
}
template <class S, class Count>
ROWNORM_INLINE void store_batch(S* p, batch<S> v, Count n) {
  if constexpr (std::is_same_v<Count, past_cache>) {
    stream_words(p, as<std::uint32_t>(v));
  } else if constexpr (whole<Count>) {
    store_batch(p, v);
  } else if constexpr (masked_stores) {
    store_masked(p, v, n);
  } else {
    S some[width<S>];
    store_batch(some, v);
    copy_few<width<S>>(p, some, n);
  }
}
template <class S, class Count>
ROWNORM_INLINE batch<float> load_floats(const S* p, Count n) {
  if constexpr (std::is_same_v<S, float>) {
    return load_batch(p, n);
  } else if constexpr (whole<Count>) {
    return to_floats<S>(load_halves(p));
  } else if constexpr (masked_loads) {
    return to_floats<S>(load_halves_masked(p, n));
  } else {
    S some[width<float>] = {};
    copy_few<width<float>>(some, p, n);
    return to_floats<S>(load_halves(some));
  }
}
template <class S, class Count>
ROWNORM_INLINE void store_floats(S* p, batch<float> v, Count n) {
  if constexpr (std::is_same_v<S, float>) {
    store_batch(p, v, n);
  } else if constexpr (std::is_same_v<Count, past_cache>) {
    stream_halves(p, to_halves<S>(v));
  } else if constexpr (whole<Count>) {
    store_halves(p, to_halves<S>(v));
  } else if constexpr (masked_stores) {
    store_halves_masked(p, to_halves<S>(v), n);
  } else {
    S some[width<float>];
    store_halves(some, to_halves<S>(v));
    copy_few<width<float>>(p, some, n);
  }
}
/// A pack of 16-bit numbers, as they lie in memory.
template <class S, class Count>
ROWNORM_INLINE words load_pairs(const S* p, Count n) {
  if constexpr (whole<Count>) {
    return load_words(p);
  } else if constexpr (masked_loads) {
    return load_pairs_masked(p, n);
  } else {
    S some[2 * width<float>] = {};
    copy_few<2 * width<float>>(some, p, n);
    return load_words(some);
  }
}
template <class S, class Count>
ROWNORM_INLINE void store_pairs(S* p, words w, Count n) {
  if constexpr (std::is_same_v<Count, past_cache>) {
    stream_words(p, w);
  } else if constexpr (whole<Count>) {
    store_words(p, w);
  } else if constexpr (masked_stores) {
    store_pairs_masked(p, w, n);
  } else {
    S some[2 * width<float>];
    store_words(some, w);
    copy_few<2 * width<float>>(p, some, n);
  }
}
template <class Count>
ROWNORM_INLINE void store_bytes(std::int8_t* p, words w, Count n) {
  if constexpr (whole<Count>) {
    store_bytes(p, w);
  } else if constexpr (masked_stores) {
    store_bytes_masked(p, w, n);
  } else {
    std::int8_t some[width<float>];
    store_bytes(some, w);
    copy_few<width<float>>(p, some, n);
  }
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
