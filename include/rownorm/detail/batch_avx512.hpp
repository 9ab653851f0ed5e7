// SPDX-License-Identifier: MIT
// AVX-512 (F, BW, CD, DQ, VL): the operations that batch.hpp lists. Never an #if.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <xsimd/xsimd.hpp>

#include "../types.hpp"
#include "config.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

template <class T>
using batch = xsimd::batch<T, xsimd::avx512bw>;
using words = batch<std::uint32_t>;
using half_words = batch<std::uint16_t>;
struct halves {
  __m256i bits;
};

inline constexpr std::size_t registers_for_sums = 16;
inline constexpr bool deals_pairs = true, has_float16 = true;
inline constexpr bool masked_loads = true, masked_stores = true;

// xsimd 8 has no fma for AVX-512: it multiplies and adds, and the compiler contracts that or not.
ROWNORM_INLINE batch<float> fma(batch<float> x, batch<float> y, batch<float> z) {
  return _mm512_fmadd_ps(x, y, z);
}
ROWNORM_INLINE batch<double> fma(batch<double> x, batch<double> y, batch<double> z) {
  return _mm512_fmadd_pd(x, y, z);
}
ROWNORM_INLINE double fma(double x, double y, double z) {
  return std::fma(x, y, z);
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
  return words(_mm512_mask_blend_epi32(_mm512_cmpgt_epi32_mask(a, b), y, x));
}

// Lanes.
template <std::size_t Half>
ROWNORM_INLINE batch<float> lanes_from(batch<float> v) {
  const __m512 x = v;
  if constexpr (Half == 8) return _mm512_shuffle_f32x4(x, x, 0xee);
  else if constexpr (Half == 4) return _mm512_shuffle_f32x4(x, x, 0x55);
  else if constexpr (Half == 2) return _mm512_permute_ps(x, 0xee);
  else return _mm512_permute_ps(x, 0xf5);
}
template <std::size_t Half>
ROWNORM_INLINE batch<double> lanes_from(batch<double> v) {
  const __m512d x = v;
  if constexpr (Half == 4) return _mm512_shuffle_f64x2(x, x, 0xee);
  else if constexpr (Half == 2) return _mm512_shuffle_f64x2(x, x, 0x55);
  else return _mm512_permute_pd(x, 0xff);
}
ROWNORM_INLINE float first_lane(batch<float> v) {
  return _mm512_cvtss_f32(v);
}
ROWNORM_INLINE double first_lane(batch<double> v) {
  return _mm512_cvtsd_f64(v);
}
ROWNORM_INLINE batch<double> interleave_lower(batch<double> a, batch<double> b) {
  return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
}
ROWNORM_INLINE batch<double> interleave_upper(batch<double> a, batch<double> b) {
  return _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
}
ROWNORM_INLINE batch<double> lower_doubles(batch<float> v) {
  return _mm512_cvtps_pd(_mm512_castps512_ps256(v));
}
ROWNORM_INLINE batch<double> upper_doubles(batch<float> v) {
  return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
}
ROWNORM_INLINE batch<float> to_floats(batch<double> lower, batch<double> upper) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(lower)), _mm512_cvtpd_ps(upper),
                            1);
}

// The end of a row: one mask for every type.
ROWNORM_INLINE std::uint32_t mask_bits(std::size_t n) {
  return static_cast<std::uint32_t>((std::uint64_t{1} << n) - 1);
}
ROWNORM_INLINE batch<float> keep(batch<float> v, std::size_t n) {
  return _mm512_maskz_mov_ps(static_cast<__mmask16>(mask_bits(n)), v);
}
ROWNORM_INLINE batch<double> keep(batch<double> v, std::size_t n) {
  return _mm512_maskz_mov_pd(static_cast<__mmask8>(mask_bits(n)), v);
}
ROWNORM_INLINE batch<float> load_masked(const float* p, std::size_t n) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask_bits(n)), p);
}
ROWNORM_INLINE batch<double> load_masked(const double* p, std::size_t n) {
  return _mm512_maskz_loadu_pd(static_cast<__mmask8>(mask_bits(n)), p);
}
ROWNORM_INLINE halves load_halves_masked(const void* p, std::size_t n) {
  return {_mm256_maskz_loadu_epi16(static_cast<__mmask16>(mask_bits(n)), p)};
}
ROWNORM_INLINE words load_pairs_masked(const void* p, std::size_t n) {
  return words(_mm512_maskz_loadu_epi16(mask_bits(n), p));
}
ROWNORM_INLINE void store_masked(float* p, batch<float> v, std::size_t n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>(mask_bits(n)), v);
}
ROWNORM_INLINE void store_masked(double* p, batch<double> v, std::size_t n) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>(mask_bits(n)), v);
}
ROWNORM_INLINE void store_halves_masked(void* p, halves h, std::size_t n) {
  _mm256_mask_storeu_epi16(p, static_cast<__mmask16>(mask_bits(n)), h.bits);
}
ROWNORM_INLINE void store_pairs_masked(void* p, words w, std::size_t n) {
  _mm512_mask_storeu_epi16(p, mask_bits(n), w);
}
ROWNORM_INLINE void store_bytes_masked(std::int8_t* p, words w, std::size_t n) {
  _mm512_mask_cvtepi32_storeu_epi8(p, static_cast<__mmask16>(mask_bits(n)), w);
}

// Non-temporal stores.
ROWNORM_INLINE void stream_words(void* p, words w) {
  _mm512_stream_si512(static_cast<__m512i*>(p), w);
}
ROWNORM_INLINE void stream_halves(void* p, halves h) {
  _mm256_stream_si256(static_cast<__m256i*>(p), h.bits);
}
ROWNORM_INLINE void end_past_cache() {
  _mm_sfence();
}

// Numbers of 16 and 8 bits.
ROWNORM_INLINE halves load_halves(const void* p) {
  return {_mm256_loadu_si256(static_cast<const __m256i*>(p))};
}
ROWNORM_INLINE void store_halves(void* p, halves h) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), h.bits);
}
ROWNORM_INLINE words to_words(halves h) {
  return words(_mm512_cvtepu16_epi32(h.bits));
}
ROWNORM_INLINE halves to_halves(words w) {
  return {_mm512_cvtepi32_epi16(w)};
}
ROWNORM_INLINE batch<float> widen(halves h, float16) {
  return _mm512_cvtph_ps(h.bits);
}
ROWNORM_INLINE halves narrow(batch<float> v, float16) {
  return {_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
ROWNORM_INLINE half_words less_or_zero(half_words x, half_words y) {
  return half_words(_mm512_subs_epu16(x, y));  // xsimd 8's own does not compile at -O0
}
ROWNORM_INLINE half_words join_halves(words lower, words upper) {
  const __m512i x = lower, y = upper;  // at -O0 this is a macro, which casts its arguments
  return half_words(_mm512_mask_blend_epi16(0xaaaaaaaau, x, y));
}
ROWNORM_INLINE half_words pack_halves(words x, words y) {
  return half_words(_mm512_packus_epi32(x, y));
}
ROWNORM_INLINE words in_turn(half_words v) {
  return words(_mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), v));
}
ROWNORM_INLINE void store_bytes(std::int8_t* p, words w) {
  _mm_storeu_si128(static_cast<__m128i*>(static_cast<void*>(p)), _mm512_cvtepi32_epi8(w));
}
ROWNORM_INLINE void store_bytes(std::int8_t* p, words a, words b) {
  store_bytes(p, a);
  store_bytes(p + 16, b);
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
