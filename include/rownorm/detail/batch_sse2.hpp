// SPDX-License-Identifier: MIT
// SSE2: the operations that batch.hpp lists. No fused multiply-add: outside the promise of equal
// bits. Never an #if.
#pragma once

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
using batch = xsimd::batch<T, xsimd::sse2>;
using words = batch<std::uint32_t>;
using half_words = batch<std::uint16_t>;
struct halves {
  __m128i bits;  // the lower 64
};

inline constexpr std::size_t registers_for_sums = 8;
inline constexpr bool deals_pairs = true, has_float16 = false;
inline constexpr bool masked_loads = false, masked_stores = false;

template <class T>
ROWNORM_INLINE batch<T> fma(batch<T> x, batch<T> y, batch<T> z) {
  return x * y + z;
}
ROWNORM_INLINE double fma(double x, double y, double z) {
  return x * y + z;
}
ROWNORM_INLINE double square_root(double x) {
  const __m128d v = _mm_set_sd(x);
  return _mm_cvtsd_f64(_mm_sqrt_sd(v, v));
}
template <class T>
ROWNORM_INLINE batch<T> divide(batch<T> x, batch<T> y) {
  return x / y;
}
ROWNORM_INLINE words if_greater(words a, words b, words x, words y) {
  const __m128i yes = _mm_cmpgt_epi32(a, b);  // xsimd 8's select for SSE2 is a call
  return words(_mm_or_si128(_mm_and_si128(yes, x), _mm_andnot_si128(yes, y)));
}

// Lanes.
template <std::size_t Half>
ROWNORM_INLINE batch<float> lanes_from(batch<float> v) {
  const __m128 x = v;
  if constexpr (Half == 2) return _mm_movehl_ps(x, x);
  else return _mm_shuffle_ps(x, x, 1);
}
template <std::size_t Half>
ROWNORM_INLINE batch<double> lanes_from(batch<double> v) {
  return _mm_unpackhi_pd(v, v);
}
ROWNORM_INLINE float first_lane(batch<float> v) {
  return _mm_cvtss_f32(v);
}
ROWNORM_INLINE double first_lane(batch<double> v) {
  return _mm_cvtsd_f64(v);
}
ROWNORM_INLINE batch<double> interleave_lower(batch<double> a, batch<double> b) {
  return _mm_unpacklo_pd(a, b);
}
ROWNORM_INLINE batch<double> interleave_upper(batch<double> a, batch<double> b) {
  return _mm_unpackhi_pd(a, b);
}
ROWNORM_INLINE batch<double> lower_doubles(batch<float> v) {
  return _mm_cvtps_pd(v);
}
ROWNORM_INLINE batch<double> upper_doubles(batch<float> v) {
  return _mm_cvtps_pd(_mm_movehl_ps(v, v));
}
ROWNORM_INLINE batch<float> to_floats(batch<double> lower, batch<double> upper) {
  return _mm_movelh_ps(_mm_cvtpd_ps(lower), _mm_cvtpd_ps(upper));
}

// The end of a row.
ROWNORM_INLINE __m128i first_words(std::size_t n) {
  return _mm_cmpgt_epi32(_mm_set1_epi32(static_cast<int>(n)), _mm_setr_epi32(0, 1, 2, 3));
}
ROWNORM_INLINE batch<float> keep(batch<float> v, std::size_t n) {
  return _mm_and_ps(v, _mm_castsi128_ps(first_words(n)));
}
ROWNORM_INLINE batch<double> keep(batch<double> v, std::size_t n) {
  return _mm_and_pd(v, _mm_castsi128_pd(first_words(2 * n)));
}

// Non-temporal stores: none of less than a register.
ROWNORM_INLINE void stream_words(void* p, words w) {
  _mm_stream_si128(static_cast<__m128i*>(p), w);
}
ROWNORM_INLINE void stream_halves(void* p, halves h) {
  _mm_storel_epi64(static_cast<__m128i*>(p), h.bits);
}
ROWNORM_INLINE void end_past_cache() {
  _mm_sfence();
}

// Numbers of 16 and 8 bits.
ROWNORM_INLINE halves load_halves(const void* p) {
  return {_mm_loadl_epi64(static_cast<const __m128i*>(p))};
}
ROWNORM_INLINE void store_halves(void* p, halves h) {
  _mm_storel_epi64(static_cast<__m128i*>(p), h.bits);
}
ROWNORM_INLINE words to_words(halves h) {
  return words(_mm_unpacklo_epi16(h.bits, _mm_setzero_si128()));
}
/// SSE2 packs with signed saturation only: the sign of the lower half first.
ROWNORM_INLINE half_words pack_halves(words x, words y) {
  return half_words(_mm_packs_epi32(_mm_srai_epi32(_mm_slli_epi32(x, 16), 16),
                                    _mm_srai_epi32(_mm_slli_epi32(y, 16), 16)));
}
ROWNORM_INLINE words in_turn(half_words v) {
  const __m128i bits = v;
  return words(bits);
}
ROWNORM_INLINE halves to_halves(words w) {
  return {pack_halves(w, w)};
}
ROWNORM_INLINE half_words less_or_zero(half_words x, half_words y) {
  return half_words(_mm_subs_epu16(x, y));
}
ROWNORM_INLINE half_words join_halves(words lower, words upper) {
  const __m128i low = _mm_set1_epi32(0xffff);
  return half_words(_mm_or_si128(_mm_and_si128(low, lower), _mm_andnot_si128(low, upper)));
}
ROWNORM_INLINE void store_bytes(std::int8_t* p, words w) {
  const __m128i byte = _mm_and_si128(w, _mm_set1_epi32(0xff));
  const __m128i four = _mm_packus_epi16(_mm_packs_epi32(byte, byte), byte);
  const int bytes = _mm_cvtsi128_si32(four);
  std::memcpy(p, &bytes, sizeof bytes);
}
ROWNORM_INLINE void store_bytes(std::int8_t* p, words a, words b) {
  store_bytes(p, a);
  store_bytes(p + 4, b);
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
