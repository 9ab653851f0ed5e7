// SPDX-License-Identifier: MIT
// 64-bit NEON: the operations that batch.hpp lists. Never an #if.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <xsimd/xsimd.hpp>

#include "../types.hpp"
#include "config.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

template <class T>
using batch = xsimd::batch<T, xsimd::neon64>;
using words = batch<std::uint32_t>;
using half_words = batch<std::uint16_t>;
struct halves {
  uint16x4_t bits;
};

inline constexpr std::size_t registers_for_sums = 16;
inline constexpr bool deals_pairs = true, has_float16 = true;
inline constexpr bool masked_loads = false, masked_stores = false;

ROWNORM_INLINE batch<float> fma(batch<float> x, batch<float> y, batch<float> z) {
  return vfmaq_f32(z, x, y);
}
ROWNORM_INLINE batch<double> fma(batch<double> x, batch<double> y, batch<double> z) {
  return vfmaq_f64(z, x, y);
}
ROWNORM_INLINE double fma(double x, double y, double z) {
  return std::fma(x, y, z);
}
ROWNORM_INLINE double square_root(double x) {
  return std::sqrt(x);
}
// xsimd's own division of floats is two Newton steps, and not always the nearest number.
ROWNORM_INLINE batch<float> divide(batch<float> x, batch<float> y) {
  return vdivq_f32(x, y);
}
ROWNORM_INLINE batch<double> divide(batch<double> x, batch<double> y) {
  return vdivq_f64(x, y);
}
ROWNORM_INLINE words if_greater(words a, words b, words x, words y) {
  return words(vbslq_u32(vcgtq_s32(vreinterpretq_s32_u32(a), vreinterpretq_s32_u32(b)), x, y));
}

// Lanes.
template <std::size_t Half>
ROWNORM_INLINE batch<float> lanes_from(batch<float> v) {
  return vextq_f32(v, v, Half);
}
template <std::size_t Half>
ROWNORM_INLINE batch<double> lanes_from(batch<double> v) {
  return vextq_f64(v, v, Half);
}
ROWNORM_INLINE float first_lane(batch<float> v) {
  return vgetq_lane_f32(v, 0);
}
ROWNORM_INLINE double first_lane(batch<double> v) {
  return vgetq_lane_f64(v, 0);
}
ROWNORM_INLINE batch<double> interleave_lower(batch<double> a, batch<double> b) {
  return vzip1q_f64(a, b);
}
ROWNORM_INLINE batch<double> interleave_upper(batch<double> a, batch<double> b) {
  return vzip2q_f64(a, b);
}
ROWNORM_INLINE batch<double> lower_doubles(batch<float> v) {
  return vcvt_f64_f32(vget_low_f32(v));
}
ROWNORM_INLINE batch<double> upper_doubles(batch<float> v) {
  return vcvt_high_f64_f32(v);
}
ROWNORM_INLINE batch<float> to_floats(batch<double> lower, batch<double> upper) {
  return vcvt_high_f32_f64(vcvt_f32_f64(lower), upper);
}

// The end of a row.
ROWNORM_INLINE batch<float> keep(batch<float> v, std::size_t n) {
  const uint32x4_t lane = {0, 1, 2, 3};
  const uint32x4_t first = vcltq_u32(lane, vdupq_n_u32(static_cast<std::uint32_t>(n)));
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), first));
}
ROWNORM_INLINE batch<double> keep(batch<double> v, std::size_t n) {
  const uint64x2_t lane = {0, 1};
  const uint64x2_t first = vcltq_u64(lane, vdupq_n_u64(n));
  return vreinterpretq_f64_u64(vandq_u64(vreinterpretq_u64_f64(v), first));
}

// Numbers of 16 and 8 bits.
ROWNORM_INLINE halves load_halves(const void* p) {
  return {vreinterpret_u16_u8(vld1_u8(static_cast<const std::uint8_t*>(p)))};
}
ROWNORM_INLINE void store_halves(void* p, halves h) {
  vst1_u8(static_cast<std::uint8_t*>(p), vreinterpret_u8_u16(h.bits));
}
ROWNORM_INLINE words to_words(halves h) {
  return words(vmovl_u16(h.bits));
}
ROWNORM_INLINE halves to_halves(words w) {
  return {vmovn_u32(w)};
}
ROWNORM_INLINE batch<float> widen(halves h, float16) {
  return vcvt_f32_f16(vreinterpret_f16_u16(h.bits));
}
ROWNORM_INLINE halves narrow(batch<float> v, float16) {
  return {vreinterpret_u16_f16(vcvt_f16_f32(v))};
}
ROWNORM_INLINE half_words less_or_zero(half_words x, half_words y) {
  return half_words(vqsubq_u16(x, y));
}
ROWNORM_INLINE half_words join_halves(words lower, words upper) {
  return half_words(vreinterpretq_u16_u32(vbslq_u32(vdupq_n_u32(0xffff), lower, upper)));
}
ROWNORM_INLINE half_words pack_halves(words x, words y) {
  return half_words(vuzp1q_u16(vreinterpretq_u16_u32(x), vreinterpretq_u16_u32(y)));
}
ROWNORM_INLINE words in_turn(half_words v) {
  return words(vreinterpretq_u32_u16(v));
}
ROWNORM_INLINE void store_bytes(std::int8_t* p, words w) {
  const uint16x4_t half = vmovn_u32(w);
  const uint8x8_t four = vmovn_u16(vcombine_u16(half, half));
  const std::uint32_t bytes = vget_lane_u32(vreinterpret_u32_u8(four), 0);
  std::memcpy(p, &bytes, sizeof bytes);
}
ROWNORM_INLINE void store_bytes(std::int8_t* p, words a, words b) {
  store_bytes(p, a);
  store_bytes(p + 4, b);
}

// Non-temporal stores: none.
ROWNORM_INLINE void stream_words(void* p, words w) {
  vst1q_u8(static_cast<std::uint8_t*>(p), vreinterpretq_u8_u32(w));
}
ROWNORM_INLINE void stream_halves(void* p, halves h) {
  store_halves(p, h);
}
ROWNORM_INLINE void end_past_cache() {}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
