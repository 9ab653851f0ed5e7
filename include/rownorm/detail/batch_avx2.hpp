// SPDX-License-Identifier: MIT
// AVX2 with FMA and F16C: the operations that batch.hpp lists. Never an #if.
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
using batch = xsimd::batch<T, xsimd::fma3<xsimd::avx2>>;
using words = batch<std::uint32_t>;
using half_words = batch<std::uint16_t>;
struct halves {
  __m128i bits;
};

inline constexpr std::size_t registers_for_sums = 8;
inline constexpr bool deals_pairs = true, has_float16 = true;
// No masked store: it is some forty operations on a Zen 3 (rows of 1 to 15 floats took 1.2 of the
// time).
inline constexpr bool masked_loads = true, masked_stores = false;

ROWNORM_INLINE batch<float> fma(batch<float> x, batch<float> y, batch<float> z) {
  return _mm256_fmadd_ps(x, y, z);
}
ROWNORM_INLINE batch<double> fma(batch<double> x, batch<double> y, batch<double> z) {
  return _mm256_fmadd_pd(x, y, z);
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
  return words(_mm256_blendv_epi8(y, x, _mm256_cmpgt_epi32(a, b)));
}

// Lanes.
template <std::size_t Half>
ROWNORM_INLINE batch<float> lanes_from(batch<float> v) {
  const __m256 x = v;
  if constexpr (Half == 4) return _mm256_permute2f128_ps(x, x, 0x11);
  else if constexpr (Half == 2) return _mm256_permute_ps(x, 0xee);
  else return _mm256_permute_ps(x, 0xf5);
}
template <std::size_t Half>
ROWNORM_INLINE batch<double> lanes_from(batch<double> v) {
  const __m256d x = v;
  if constexpr (Half == 2) return _mm256_permute2f128_pd(x, x, 0x11);
  else return _mm256_permute_pd(x, 0xf);
}
ROWNORM_INLINE float first_lane(batch<float> v) {
  return _mm256_cvtss_f32(v);
}
ROWNORM_INLINE double first_lane(batch<double> v) {
  return _mm256_cvtsd_f64(v);
}
ROWNORM_INLINE batch<double> interleave_lower(batch<double> a, batch<double> b) {
  return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x20);
}
ROWNORM_INLINE batch<double> interleave_upper(batch<double> a, batch<double> b) {
  return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x31);
}
ROWNORM_INLINE batch<double> lower_doubles(batch<float> v) {
  return _mm256_cvtps_pd(_mm256_castps256_ps128(v));
}
ROWNORM_INLINE batch<double> upper_doubles(batch<float> v) {
  return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
}
ROWNORM_INLINE batch<float> to_floats(batch<double> lower, batch<double> upper) {
  return _mm256_set_m128(_mm256_cvtpd_ps(upper), _mm256_cvtpd_ps(lower));
}

// The end of a row: loads under a mask of words.
ROWNORM_INLINE __m256i first_words(std::size_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
ROWNORM_INLINE batch<float> keep(batch<float> v, std::size_t n) {
  return _mm256_and_ps(v, _mm256_castsi256_ps(first_words(n)));
}
ROWNORM_INLINE batch<double> keep(batch<double> v, std::size_t n) {
  return _mm256_and_pd(v, _mm256_castsi256_pd(first_words(2 * n)));
}
ROWNORM_INLINE batch<float> load_masked(const float* p, std::size_t n) {
  return _mm256_maskload_ps(p, first_words(n));
}
ROWNORM_INLINE batch<double> load_masked(const double* p, std::size_t n) {
  return _mm256_maskload_pd(p, first_words(2 * n));
}
/// Two by two under a mask, then an odd one: a copy in steps that is loaded as a whole waits for
/// its stores, since they cannot be forwarded (64 rows of 33: 0.80 of the time, their gradient
/// 0.54).
ROWNORM_INLINE words load_pairs_masked(const void* p, std::size_t n) {
  const words pairs(_mm256_maskload_epi32(static_cast<const int*>(p), first_words(n / 2)));
  if (n % 2 == 0) return pairs;
  std::uint16_t odd;
  std::memcpy(&odd, static_cast<const char*>(p) + 2 * (n - 1), sizeof odd);
  const words in_place(_mm256_andnot_si256(first_words(n / 2), first_words(n / 2 + 1)));
  return pairs | (words(odd) & in_place);
}
ROWNORM_INLINE halves load_halves_masked(const void* p, std::size_t n) {
  return {_mm256_castsi256_si128(load_pairs_masked(p, n))};
}

// Non-temporal stores.
ROWNORM_INLINE void stream_words(void* p, words w) {
  _mm256_stream_si256(static_cast<__m256i*>(p), w);
}
ROWNORM_INLINE void stream_halves(void* p, halves h) {
  _mm_stream_si128(static_cast<__m128i*>(p), h.bits);
}
ROWNORM_INLINE void end_past_cache() {
  _mm_sfence();
}

// Numbers of 16 and 8 bits.
ROWNORM_INLINE halves load_halves(const void* p) {
  return {_mm_loadu_si128(static_cast<const __m128i*>(p))};
}
ROWNORM_INLINE void store_halves(void* p, halves h) {
  _mm_storeu_si128(static_cast<__m128i*>(p), h.bits);
}
ROWNORM_INLINE words to_words(halves h) {
  return words(_mm256_cvtepu16_epi32(h.bits));
}
/// The upper half of each word must be zero, or all are saturated.
ROWNORM_INLINE halves to_halves(words w) {
  const __m256i v = w;
  return {_mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1))};
}
ROWNORM_INLINE batch<float> widen(halves h, float16) {
  return _mm256_cvtph_ps(h.bits);
}
ROWNORM_INLINE halves narrow(batch<float> v, float16) {
  return {_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
ROWNORM_INLINE half_words less_or_zero(half_words x, half_words y) {
  return half_words(_mm256_subs_epu16(x, y));
}
ROWNORM_INLINE half_words join_halves(words lower, words upper) {
  return half_words(_mm256_blend_epi16(lower, upper, 0xaa));
}
ROWNORM_INLINE half_words pack_halves(words x, words y) {
  return half_words(_mm256_packus_epi32(x, y));
}
ROWNORM_INLINE words in_turn(half_words v) {
  return words(_mm256_permute4x64_epi64(v, 0xd8));
}
ROWNORM_INLINE void store_bytes(std::int8_t* p, words w) {
  const __m256i four = _mm256_shuffle_epi8(w, _mm256_set1_epi32(0x0c080400));
  _mm_storel_epi64(
      static_cast<__m128i*>(static_cast<void*>(p)),
      _mm_unpacklo_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1)));
}
ROWNORM_INLINE void store_bytes(std::int8_t* p, words a, words b) {
  const __m256i lowest = _mm256_set1_epi32(0x0c080400);
  const __m256i fours =
      _mm256_blend_epi32(_mm256_shuffle_epi8(a, lowest), _mm256_shuffle_epi8(b, lowest), 0xaa);
  const __m256i bytes =
      _mm256_permutevar8x32_epi32(fours, _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
  _mm_storeu_si128(static_cast<__m128i*>(static_cast<void*>(p)), _mm256_castsi256_si128(bytes));
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
