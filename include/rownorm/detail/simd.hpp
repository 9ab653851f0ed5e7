// SPDX-License-Identifier: MIT
// Load and store by storage type, the loop over a row and the sum of a row, on xsimd; the only file
// with xsimd and intrinsics, and no file to look for a norm in.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "../types.hpp"
#include "config.hpp"

#if !defined(ROWNORM_SCALAR)
#include <xsimd/xsimd.hpp>
#endif

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 warns of its own AVX-512 intrinsics wherever they are inlined (its bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wstringop-overflow"  // where copy_few's size cannot be
#pragma GCC diagnostic ignored "-Warray-bounds"       // of the lanes that a mask leaves out
#endif

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// ---------------------------------------------------------------------------------------------
// A batch: one register of numbers.
// ---------------------------------------------------------------------------------------------

#if defined(ROWNORM_AVX512)
using arch = xsimd::avx512bw;
#elif defined(ROWNORM_AVX2)
using arch = xsimd::fma3<xsimd::avx2>;
#elif defined(ROWNORM_NEON)
using arch = xsimd::neon64;
#elif defined(ROWNORM_SSE2)
using arch = xsimd::sse2;
#endif

#if !defined(ROWNORM_SCALAR)
template <class T>
using batch = xsimd::batch<T, arch>;
template <class T>
inline constexpr std::size_t width = batch<T>::size;

#if defined(ROWNORM_AVX512)
// xsimd 8 has no fma for AVX-512: it multiplies and adds, and the compiler contracts that or not.
ROWNORM_INLINE batch<float> fma(batch<float> x, batch<float> y, batch<float> z) {
  return _mm512_fmadd_ps(x, y, z);
}
ROWNORM_INLINE batch<double> fma(batch<double> x, batch<double> y, batch<double> z) {
  return _mm512_fmadd_pd(x, y, z);
}
#else
template <class T>
ROWNORM_INLINE batch<T> fma(batch<T> x, batch<T> y, batch<T> z) {
  return xsimd::fma(x, y, z);
}
#endif
template <class T>
ROWNORM_INLINE batch<T> divide(batch<T> x, batch<T> y) {
#if defined(ROWNORM_NEON)
  // xsimd's own division of floats is two Newton steps here, and not always the nearest number.
  if constexpr (std::is_same_v<T, float>) return vdivq_f32(x, y);
#endif
  return x / y;
}
ROWNORM_INLINE batch<double> square_root(batch<double> x) {
  return xsimd::sqrt(x);
}
template <class T>
ROWNORM_INLINE batch<T> abs(batch<T> x) {
  return xsimd::abs(x);
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
ROWNORM_INLINE batch<T> max(batch<T> x, batch<T> y) {
  return xsimd::max(x, y);
}
template <class T>
ROWNORM_INLINE batch<T> min(batch<T> x, batch<T> y) {
  return xsimd::min(x, y);
}
/// Lane by lane: a > b ? x : y, as signed integers.
ROWNORM_INLINE batch<std::uint32_t> if_greater(batch<std::uint32_t> a, batch<std::uint32_t> b,
                                               batch<std::uint32_t> x, batch<std::uint32_t> y) {
#if defined(ROWNORM_AVX512)
  return batch<std::uint32_t>(_mm512_mask_blend_epi32(_mm512_cmpgt_epi32_mask(a, b), y, x));
#elif defined(ROWNORM_SSE2)
  // xsimd 8's select for SSE2 is a call.
  const __m128i yes = _mm_cmpgt_epi32(a, b);
  return batch<std::uint32_t>(_mm_or_si128(_mm_and_si128(yes, x), _mm_andnot_si128(yes, y)));
#else
  const auto yes = as<std::int32_t>(a) > as<std::int32_t>(b);
  return as<std::uint32_t>(xsimd::select(yes, as<std::int32_t>(x), as<std::int32_t>(y)));
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
#else
// On other CPUs, without xsimd: sixteen bytes of numbers, a loop over them.
template <class T>
inline constexpr std::size_t width = 16 / sizeof(T);

template <class T>
struct batch {
  T lane[width<T>];
  batch() = default;
  batch(T x) {
    for (T& l : lane) l = x;
  }
};
template <class T, class F>
ROWNORM_INLINE batch<T> lanewise(F f) {
  batch<T> r;
  for (std::size_t i = 0; i < width<T>; ++i) r.lane[i] = f(i);
  return r;
}
#define ROWNORM_LANEWISE(op)                                                                   \
  template <class T>                                                                           \
  ROWNORM_INLINE batch<T> operator op(const batch<T>& x, const batch<T>& y) {                  \
    return lanewise<T>([&](std::size_t i) { return static_cast<T>(x.lane[i] op y.lane[i]); }); \
  }
ROWNORM_LANEWISE(+)
ROWNORM_LANEWISE(-)
ROWNORM_LANEWISE(*)
ROWNORM_LANEWISE(/)
ROWNORM_LANEWISE(&)
ROWNORM_LANEWISE(|)
#undef ROWNORM_LANEWISE
template <class T>
ROWNORM_INLINE batch<T> operator<<(const batch<T>& x, int n) {
  return lanewise<T>([&](std::size_t i) { return static_cast<T>(x.lane[i] << n); });
}
template <class T>
ROWNORM_INLINE batch<T> operator>>(const batch<T>& x, int n) {
  return lanewise<T>([&](std::size_t i) { return static_cast<T>(x.lane[i] >> n); });
}
template <class T>
ROWNORM_INLINE batch<T> divide(batch<T> x, batch<T> y) {
  return x / y;
}
template <class T>
ROWNORM_INLINE batch<T> fma(batch<T> x, batch<T> y, batch<T> z) {
  return lanewise<T>([&](std::size_t i) { return std::fma(x.lane[i], y.lane[i], z.lane[i]); });
}
ROWNORM_INLINE batch<double> square_root(batch<double> x) {
  return lanewise<double>([&](std::size_t i) { return std::sqrt(x.lane[i]); });
}
template <class T>
ROWNORM_INLINE batch<T> abs(batch<T> x) {
  return lanewise<T>([&](std::size_t i) { return std::fabs(x.lane[i]); });
}
template <class To, class From>
ROWNORM_INLINE batch<To> as(batch<From> x) {
  batch<To> r;
  std::memcpy(&r, &x, sizeof r);
  return r;
}
template <class T>
ROWNORM_INLINE batch<T> max(batch<T> x, batch<T> y) {
  return lanewise<T>([&](std::size_t i) { return x.lane[i] > y.lane[i] ? x.lane[i] : y.lane[i]; });
}
template <class T>
ROWNORM_INLINE batch<T> min(batch<T> x, batch<T> y) {
  return lanewise<T>([&](std::size_t i) { return x.lane[i] < y.lane[i] ? x.lane[i] : y.lane[i]; });
}
ROWNORM_INLINE batch<std::uint32_t> if_greater(batch<std::uint32_t> a, batch<std::uint32_t> b,
                                               batch<std::uint32_t> x, batch<std::uint32_t> y) {
  return lanewise<std::uint32_t>([&](std::size_t i) {
    return static_cast<std::int32_t>(a.lane[i]) > static_cast<std::int32_t>(b.lane[i]) ? x.lane[i]
                                                                                       : y.lane[i];
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
#endif

using words = batch<std::uint32_t>;

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

// ---------------------------------------------------------------------------------------------
// A part of a batch: the first n numbers of memory, zeros behind them; what lies beyond the n is
// neither read nor written. `all` in place of n is the whole batch, at no cost.
// ---------------------------------------------------------------------------------------------

struct all {};
/// all, by stores that pass by the cache; memory begins at a multiple of register_bytes.
struct past_cache {};
template <class Count>
inline constexpr bool whole = std::is_same_v<Count, all> || std::is_same_v<Count, past_cache>;
inline constexpr std::size_t register_bytes = sizeof(batch<float>);

ROWNORM_INLINE all first_part(all n, std::size_t) {
  return n;
}
ROWNORM_INLINE all second_part(all n, std::size_t) {
  return n;
}
ROWNORM_INLINE past_cache first_part(past_cache n, std::size_t) {
  return n;
}
ROWNORM_INLINE past_cache second_part(past_cache n, std::size_t) {
  return n;
}
ROWNORM_INLINE std::size_t first_part(std::size_t n, std::size_t most) {
  return n < most ? n : most;
}
ROWNORM_INLINE std::size_t second_part(std::size_t n, std::size_t most) {
  return n < most ? 0 : n - most;
}

/// Where the second batch of a pack begins, n1 numbers being in the first: not past the end of
/// memory.
template <class T, class S>
ROWNORM_INLINE S* beyond(S* p, std::size_t n1) {
  return p + n1;
}
template <class T, class S, class Whole>
ROWNORM_INLINE S* beyond(S* p, Whole) {
  return p + width<T>;
}

/// Copies n numbers, n at most Most (a power of two), in steps of fixed size: a call of memcpy
/// would cost more than the row.
template <std::size_t Most, class S>
ROWNORM_INLINE void copy_few(S* to, const S* from, std::size_t n) {
  const std::size_t step = n & Most;
  if (step != 0) std::memcpy(to, from, Most * sizeof(S));
  if constexpr (Most > 1) copy_few<Most / 2>(to + step, from + step, n);
}

// Sixteen words of ones, sixteen of zeros: a load that begins n words before the middle is a mask.
inline constexpr std::uint32_t mask_table[32] = {
    ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u,
    0u,  0u,  0u,  0u,  0u,  0u,  0u,  0u,  0u,  0u,  0u,  0u,  0u,  0u,  0u,  0u};

#if defined(ROWNORM_AVX512)
ROWNORM_INLINE std::uint32_t mask_bits(std::size_t n) {
  return static_cast<std::uint32_t>((std::uint64_t{1} << n) - 1);
}
ROWNORM_INLINE batch<float> keep(batch<float> v, std::size_t n) {
  return _mm512_maskz_mov_ps(static_cast<__mmask16>(mask_bits(n)), v);
}
ROWNORM_INLINE batch<double> keep(batch<double> v, std::size_t n) {
  return _mm512_maskz_mov_pd(static_cast<__mmask8>(mask_bits(n)), v);
}
#else
template <class T>
ROWNORM_INLINE words first_words(std::size_t n) {
  return load_words(mask_table + 16 - n * (sizeof(T) / 4));
}
template <class T>
ROWNORM_INLINE batch<T> keep(batch<T> v, std::size_t n) {
  return as<T>(as<std::uint32_t>(v) & first_words<T>(n));
}
#endif
template <class T>
ROWNORM_INLINE batch<T> keep(batch<T> v, all) {
  return v;
}

template <class T>
ROWNORM_INLINE batch<T> load_batch(const T* p, all) {
  return load_batch(p);
}
template <class T>
ROWNORM_INLINE void store_batch(T* p, batch<T> v, all) {
  store_batch(p, v);
}
/// A register's bytes past the cache, where the ISA can.
ROWNORM_INLINE void store_words(void* p, words w, past_cache) {
#if defined(ROWNORM_AVX512)
  _mm512_stream_si512(static_cast<__m512i*>(p), w);
#elif defined(ROWNORM_AVX2)
  _mm256_stream_si256(static_cast<__m256i*>(p), w);
#elif defined(ROWNORM_SSE2)
  _mm_stream_si128(static_cast<__m128i*>(p), w);
#else
  store_words(p, w);
#endif
}
ROWNORM_INLINE void store_words(void* p, words w, all) {
  store_words(p, w);
}
template <class T>
ROWNORM_INLINE void store_batch(T* p, batch<T> v, past_cache n) {
  store_words(p, as<std::uint32_t>(v), n);
}
/// After stores past the cache: what comes later is seen later by other threads too.
ROWNORM_INLINE void end_past_cache() {
#if defined(ROWNORM_AVX512) || defined(ROWNORM_AVX2) || defined(ROWNORM_SSE2)
  _mm_sfence();
#endif
}

#if defined(ROWNORM_AVX512)
ROWNORM_INLINE batch<float> load_batch(const float* p, std::size_t n) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask_bits(n)), p);
}
ROWNORM_INLINE batch<double> load_batch(const double* p, std::size_t n) {
  return _mm512_maskz_loadu_pd(static_cast<__mmask8>(mask_bits(n)), p);
}
ROWNORM_INLINE void store_batch(float* p, batch<float> v, std::size_t n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>(mask_bits(n)), v);
}
ROWNORM_INLINE void store_batch(double* p, batch<double> v, std::size_t n) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>(mask_bits(n)), v);
}
#elif defined(ROWNORM_AVX2)
ROWNORM_INLINE batch<float> load_batch(const float* p, std::size_t n) {
  return _mm256_maskload_ps(p, first_words<float>(n));
}
ROWNORM_INLINE batch<double> load_batch(const double* p, std::size_t n) {
  return _mm256_maskload_pd(p, first_words<double>(n));
}
#else
template <class T>
ROWNORM_INLINE batch<T> load_batch(const T* p, std::size_t n) {
  T some[width<T>] = {};
  copy_few<width<T>>(some, p, n);
  return load_batch(some);
}
#endif
#if !defined(ROWNORM_AVX512)
// On AVX2 too: a store under a mask is some forty operations on a Zen 3 (rows of 1 to 15 floats
// took 1.2 of the time).
template <class T>
ROWNORM_INLINE void store_batch(T* p, batch<T> v, std::size_t n) {
  T some[width<T>];
  store_batch(some, v);
  copy_few<width<T>>(p, some, n);
}
#endif

// ---------------------------------------------------------------------------------------------
// 16-bit numbers. `halves` are width<float> of them, each in the lower half of a word.
// ---------------------------------------------------------------------------------------------

template <class S>
ROWNORM_INLINE words load_halves(const S* p, all) {
  static_assert(sizeof(S) == 2, "a 16-bit type");
  [[maybe_unused]] const void* from = p;
#if defined(ROWNORM_AVX512)
  return batch<std::uint32_t>(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(from))));
#elif defined(ROWNORM_AVX2)
  return batch<std::uint32_t>(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(from))));
#elif defined(ROWNORM_SSE2)
  return batch<std::uint32_t>(
      _mm_unpacklo_epi16(_mm_loadl_epi64(static_cast<const __m128i*>(from)), _mm_setzero_si128()));
#elif defined(ROWNORM_NEON)
  return batch<std::uint32_t>(
      vmovl_u16(vreinterpret_u16_u8(vld1_u8(static_cast<const std::uint8_t*>(from)))));
#else
  words w;
  for (std::size_t i = 0; i < width<float>; ++i) w.lane[i] = p[i].bits;
  return w;
#endif
}
/// n numbers of a pack, as they lie in memory.
template <class S>
ROWNORM_INLINE words load_pairs(const S* p, std::size_t n) {
#if defined(ROWNORM_AVX512)
  return batch<std::uint32_t>(_mm512_maskz_loadu_epi16(mask_bits(n), p));
#elif defined(ROWNORM_AVX2)
  // Two by two under a mask, then an odd one: a copy made in parts and loaded as a whole waits for
  // its stores (64 rows of 33: 0.80 of the time, their gradient 0.54).
  const void* from = p;
  const words pairs = batch<std::uint32_t>(
      _mm256_maskload_epi32(static_cast<const int*>(from), first_words<float>(n / 2)));
  if (n % 2 == 0) return pairs;
  const words in_place = first_words<float>(n / 2 + 1) & ~first_words<float>(n / 2);
  return pairs | (words(p[n - 1].bits) & in_place);
#else
  S some[2 * width<float>] = {};
  copy_few<2 * width<float>>(some, p, n);
  return load_words(some);
#endif
}
template <class S>
ROWNORM_INLINE words load_halves(const S* p, std::size_t n) {
#if defined(ROWNORM_AVX512)
  return batch<std::uint32_t>(
      _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(static_cast<__mmask16>(mask_bits(n)), p)));
#elif defined(ROWNORM_AVX2)
  const __m256i pairs = load_pairs(p, n);
  return batch<std::uint32_t>(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(pairs)));
#else
  S some[width<float>] = {};
  copy_few<width<float>>(some, p, n);
  return load_halves(some, all{});
#endif
}
template <class S>
ROWNORM_INLINE void store_halves(S* p, words w, all) {
  [[maybe_unused]] void* to = p;
#if defined(ROWNORM_AVX512)
  _mm256_storeu_si256(static_cast<__m256i*>(to), _mm512_cvtepi32_epi16(w));
#elif defined(ROWNORM_AVX2)
  const __m256i v = w;
  _mm_storeu_si128(static_cast<__m128i*>(to),
                   _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
#elif defined(ROWNORM_SSE2)
  // SSE2 packs with signed saturation only: the sign of the lower half first.
  const __m128i v = _mm_srai_epi32(_mm_slli_epi32(w, 16), 16);
  _mm_storel_epi64(static_cast<__m128i*>(to), _mm_packs_epi32(v, v));
#elif defined(ROWNORM_NEON)
  vst1_u8(static_cast<std::uint8_t*>(to), vreinterpret_u8_u16(vmovn_u32(w)));
#else
  for (std::size_t i = 0; i < width<float>; ++i) p[i].bits = static_cast<std::uint16_t>(w.lane[i]);
#endif
}
template <class S>
ROWNORM_INLINE void store_halves(S* p, words w, past_cache) {
#if defined(ROWNORM_AVX512)
  void* to = p;
  _mm256_stream_si256(static_cast<__m256i*>(to), _mm512_cvtepi32_epi16(w));
#elif defined(ROWNORM_AVX2)
  void* to = p;
  const __m256i v = w;
  _mm_stream_si128(static_cast<__m128i*>(to),
                   _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
#else
  store_halves(p, w, all{});
#endif
}
template <class S>
ROWNORM_INLINE void store_halves(S* p, words w, std::size_t n) {
#if defined(ROWNORM_AVX512)
  _mm256_mask_storeu_epi16(p, static_cast<__mmask16>(mask_bits(n)), _mm512_cvtepi32_epi16(w));
#else
  S some[width<float>];
  store_halves(some, w, all{});
  copy_few<width<float>>(p, some, n);
#endif
}

/// The float's bits with its upper half rounded to nearest even (the lower half is left over); NaN
/// stays NaN. Integer code: the hardware's instruction (AVX512_BF16) flushes subnormals.
ROWNORM_INLINE words round_to_upper_half(batch<float> v) {
  const words bits = as<std::uint32_t>(v);
  const words rounded = bits + (words(0x7fffu) + ((bits >> 16) & words(1u)));
  return if_greater(bits & words(0x7fffffffu), words(0x7f800000u), bits | words(0x00400000u),
                    rounded);
}
#if !defined(ROWNORM_SCALAR)
// Two batches of floats at once, in 16 bits: `upper` and `lower` are the halves of their bits. (8
// operations side by side, where each batch by itself makes 11 of the two; in turn 14 against 26.)
using half_words = batch<std::uint16_t>;
/// x - y, or 0 where y is larger.
ROWNORM_INLINE half_words less_or_zero(half_words x, half_words y) {
#if defined(ROWNORM_AVX512)
  return half_words(_mm512_subs_epu16(x, y));  // xsimd 8's own does not compile at -O0
#else
  return xsimd::ssub(x, y);
#endif
}
/// 1 where the upper half is rounded up: lower is more than a half, or a half and upper is odd.
ROWNORM_INLINE half_words round_up(half_words upper, half_words lower) {
  return less_or_zero(lower, ~upper & half_words(std::uint16_t{1})) >> 15;
}

/// The lower half of each word of one, the upper half of the other's.
ROWNORM_INLINE half_words join_halves(words lower, words upper) {
#if defined(ROWNORM_AVX512)
  const __m512i x = lower, y = upper;  // at -O0 this is a macro, which casts its arguments
  return half_words(_mm512_mask_blend_epi16(0xaaaaaaaau, x, y));
#elif defined(ROWNORM_AVX2)
  return half_words(_mm256_blend_epi16(lower, upper, 0xaa));
#else
  return as<std::uint16_t>((lower & words(0xffffu)) | (upper & words(0xffff0000u)));
#endif
}
/// a to the lower halves of words and b to the upper ones. A NaN stays NaN if its lower half is
/// zero, as that of every NaN is which arithmetic makes from bfloat16 numbers.
ROWNORM_INLINE words round_side_by_side(batch<float> a, batch<float> b) {
  const words x = as<std::uint32_t>(a), y = as<std::uint32_t>(b);
  const half_words upper = join_halves(x >> 16, y), lower = join_halves(x, y << 16);
  return as<std::uint32_t>(upper + round_up(upper, lower));
}

/// The lower halves of the words of x and of y, the upper ones being zeros, in an order that
/// in_turn undoes.
ROWNORM_INLINE half_words pack_halves(words x, words y) {
#if defined(ROWNORM_AVX512)
  return half_words(_mm512_packus_epi32(x, y));
#elif defined(ROWNORM_AVX2)
  return half_words(_mm256_packus_epi32(x, y));
#elif defined(ROWNORM_SSE2)
  // SSE2 packs with signed saturation only: the sign of the lower half first.
  return half_words(_mm_packs_epi32(_mm_srai_epi32(_mm_slli_epi32(x, 16), 16),
                                    _mm_srai_epi32(_mm_slli_epi32(y, 16), 16)));
#else
  return half_words(vuzp1q_u16(vreinterpretq_u16_u32(x), vreinterpretq_u16_u32(y)));
#endif
}
ROWNORM_INLINE words in_turn(half_words v) {
#if defined(ROWNORM_AVX512)
  return batch<std::uint32_t>(
      _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), v));
#elif defined(ROWNORM_AVX2)
  return batch<std::uint32_t>(_mm256_permute4x64_epi64(v, 0xd8));
#else
  return as<std::uint32_t>(v);
#endif
}
/// a, then b. A NaN stays NaN if it is a quiet one, as every NaN is that arithmetic makes.
ROWNORM_INLINE words round_in_turn(batch<float> a, batch<float> b) {
  const words x = as<std::uint32_t>(a), y = as<std::uint32_t>(b), low(0xffffu);
  const half_words upper = pack_halves(x >> 16, y >> 16), lower = pack_halves(x & low, y & low);
  const half_words size = upper & half_words(std::uint16_t{0x7fff});
  const half_words is_nan = less_or_zero(size, half_words(std::uint16_t{0x7f80}));
  return in_turn(upper + less_or_zero(round_up(upper, lower), is_nan));
}
#endif

ROWNORM_INLINE batch<float> widen(words h, bfloat16) {
  return as<float>(h << 16);
}
ROWNORM_INLINE words narrow(batch<float> v, bfloat16) {
  return round_to_upper_half(v) >> 16;
}

#if defined(ROWNORM_AVX512)
ROWNORM_INLINE batch<float> widen(words h, float16) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(h));
}
ROWNORM_INLINE words narrow(batch<float> v, float16) {
  return batch<std::uint32_t>(
      _mm512_cvtepu16_epi32(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
}
#else
// binary16 in integer code. Subnormals go through one exact subtraction of floats, or one addition
// that rounds where the last bit of a subnormal half stands (0.5 has its last bit at 2^-24).
ROWNORM_INLINE batch<float> widen(words h, float16) {
  const words sign = (h & words(0x8000u)) << 16;
  const words shifted = (h & words(0x7fffu)) << 13;
  const words magic(113u << 23);
  const words subnormal = as<std::uint32_t>(as<float>(shifted + magic) - as<float>(magic));
  const words finite =
      if_greater(words(0x00800000u), shifted, subnormal, shifted + words(112u << 23));
  return as<float>(sign |
                   if_greater(shifted, words(0x0f7fffffu), shifted | words(0x7f800000u), finite));
}
ROWNORM_INLINE words narrow(batch<float> v, float16) {
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
#endif

/// v rounded to what a float16 can hold.
ROWNORM_INLINE batch<float> round_to_half(batch<float> v) {
#if defined(ROWNORM_AVX2) && defined(__F16C__)
  return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(ROWNORM_NEON)
  return batch<float>(vcvt_f32_f16(vcvt_f16_f32(v)));
#else
  return widen(narrow(v, float16{}), float16{});
#endif
}

template <class S, class Count>
ROWNORM_INLINE batch<float> load_floats(const S* p, Count n) {
  if constexpr (std::is_same_v<S, float>) {
    return load_batch(p, n);
#if defined(ROWNORM_AVX512)
  } else if constexpr (std::is_same_v<S, float16> && std::is_same_v<Count, all>) {
    const void* from = p;
    return batch<float>(_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(from))));
#elif defined(ROWNORM_AVX2) && defined(__F16C__)
  } else if constexpr (std::is_same_v<S, float16> && std::is_same_v<Count, all>) {
    const void* from = p;
    return batch<float>(_mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(from))));
#elif defined(ROWNORM_NEON)
  } else if constexpr (std::is_same_v<S, float16> && std::is_same_v<Count, all>) {
    const void* from = p;
    return batch<float>(
        vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(static_cast<const std::uint8_t*>(from)))));
#endif
  } else {
    return widen(load_halves(p, n), S{});
  }
}
template <class S, class Count>
ROWNORM_INLINE void store_floats(S* p, batch<float> v, Count n) {
  if constexpr (std::is_same_v<S, float>) {
    store_batch(p, v, n);
#if defined(ROWNORM_AVX512)
  } else if constexpr (std::is_same_v<S, float16> && whole<Count>) {
    void* to = p;
    const __m256i h = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    if constexpr (std::is_same_v<Count, all>) _mm256_storeu_si256(static_cast<__m256i*>(to), h);
    else _mm256_stream_si256(static_cast<__m256i*>(to), h);
#elif defined(ROWNORM_AVX2) && defined(__F16C__)
  } else if constexpr (std::is_same_v<S, float16> && whole<Count>) {
    void* to = p;
    const __m128i h = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    if constexpr (std::is_same_v<Count, all>) _mm_storeu_si128(static_cast<__m128i*>(to), h);
    else _mm_stream_si128(static_cast<__m128i*>(to), h);
#elif defined(ROWNORM_NEON)
  } else if constexpr (std::is_same_v<S, float16> && whole<Count>) {
    void* to = p;
    vst1_u8(static_cast<std::uint8_t*>(to), vreinterpret_u8_f16(vcvt_f16_f32(v)));
#endif
  } else {
    store_halves(p, narrow(v, S{}), n);
  }
}

/// The lowest byte of each word.
ROWNORM_INLINE void store_bytes(std::int8_t* p, words w, all) {
#if defined(ROWNORM_AVX512)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(w));
#elif defined(ROWNORM_AVX2)
  const __m256i lowest = _mm256_set1_epi32(0x0c080400);
  const __m256i four = _mm256_shuffle_epi8(w, lowest);
  _mm_storel_epi64(
      reinterpret_cast<__m128i*>(p),
      _mm_unpacklo_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1)));
#elif defined(ROWNORM_SSE2)
  const __m128i byte = _mm_and_si128(w, _mm_set1_epi32(0xff));
  const __m128i four = _mm_packus_epi16(_mm_packs_epi32(byte, byte), byte);
  const int bytes = _mm_cvtsi128_si32(four);
  std::memcpy(p, &bytes, sizeof bytes);
#elif defined(ROWNORM_NEON)
  const uint16x4_t halves = vmovn_u32(w);
  const uint8x8_t four = vmovn_u16(vcombine_u16(halves, halves));
  const std::uint32_t bytes = vget_lane_u32(vreinterpret_u32_u8(four), 0);
  std::memcpy(p, &bytes, sizeof bytes);
#else
  std::uint32_t word[width<float>];
  store_batch(word, w);
  for (std::size_t i = 0; i < width<float>; ++i) p[i] = static_cast<std::int8_t>(word[i] & 0xffu);
#endif
}
/// Those of a, then those of b.
ROWNORM_INLINE void store_bytes(std::int8_t* p, words a, words b, [[maybe_unused]] all n) {
#if defined(ROWNORM_AVX2)
  const __m256i lowest = _mm256_set1_epi32(0x0c080400);
  const __m256i fours =
      _mm256_blend_epi32(_mm256_shuffle_epi8(a, lowest), _mm256_shuffle_epi8(b, lowest), 0xaa);
  const __m256i in_turn =
      _mm256_permutevar8x32_epi32(fours, _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(in_turn));
#else
  store_bytes(p, a, n);
  store_bytes(p + width<float>, b, n);
#endif
}
ROWNORM_INLINE void store_bytes(std::int8_t* p, words w, std::size_t n) {
#if defined(ROWNORM_AVX512)
  _mm512_mask_cvtepi32_storeu_epi8(p, static_cast<__mmask16>(mask_bits(n)), w);
#else
  std::int8_t some[width<float>];
  store_bytes(some, w, all{});
  copy_few<width<float>>(p, some, n);
#endif
}

ROWNORM_INLINE void store_bytes(std::int8_t* p, words a, words b, std::size_t n) {
  const std::size_t n1 = first_part(n, width<float>);
  store_bytes(p, a, n1);
  store_bytes(p + n1, b, n - n1);
}

// ---------------------------------------------------------------------------------------------
// A pack: two batches. It is the step of every loop: two are what one load of 16-bit numbers fills,
// and one batch of floats is two of doubles.
// ---------------------------------------------------------------------------------------------

template <class T>
struct pack {
  batch<T> a, b;
};
template <class T>
inline constexpr std::size_t pack_width = 2 * width<T>;

template <class T>
ROWNORM_INLINE pack<T> splat(T x) {
  return {batch<T>(x), batch<T>(x)};
}
template <class T>
ROWNORM_INLINE pack<T> operator+(pack<T> x, pack<T> y) {
  return {x.a + y.a, x.b + y.b};
}
template <class T>
ROWNORM_INLINE pack<T> operator-(pack<T> x, pack<T> y) {
  return {x.a - y.a, x.b - y.b};
}
template <class T>
ROWNORM_INLINE pack<T> operator*(pack<T> x, pack<T> y) {
  return {x.a * y.a, x.b * y.b};
}
template <class T>
ROWNORM_INLINE pack<T> operator/(pack<T> x, pack<T> y) {
  return {divide(x.a, y.a), divide(x.b, y.b)};
}
template <class T>
ROWNORM_INLINE pack<T> fma(pack<T> x, pack<T> y, pack<T> z) {
  return {fma(x.a, y.a, z.a), fma(x.b, y.b, z.b)};
}
template <class T>
ROWNORM_INLINE pack<T> abs(pack<T> x) {
  return {abs(x.a), abs(x.b)};
}
template <class T>
ROWNORM_INLINE pack<T> max(pack<T> x, pack<T> y) {
  return {max(x.a, y.a), max(x.b, y.b)};
}
template <class T>
ROWNORM_INLINE pack<T> min(pack<T> x, pack<T> y) {
  return {min(x.a, y.a), min(x.b, y.b)};
}

ROWNORM_INLINE pack<double> to_doubles(batch<float> v) {
#if defined(ROWNORM_AVX512)
  return {_mm512_cvtps_pd(_mm512_castps512_ps256(v)),
          _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1))};
#elif defined(ROWNORM_AVX2)
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(v)), _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))};
#elif defined(ROWNORM_SSE2)
  return {_mm_cvtps_pd(v), _mm_cvtps_pd(_mm_movehl_ps(v, v))};
#elif defined(ROWNORM_NEON)
  return {vcvt_f64_f32(vget_low_f32(v)), vcvt_high_f64_f32(v)};
#else
  return {lanewise<double>([&](std::size_t i) { return double{v.lane[i]}; }),
          lanewise<double>([&](std::size_t i) { return double{v.lane[i + width<double>]}; })};
#endif
}
ROWNORM_INLINE batch<float> to_floats(pack<double> v) {
#if defined(ROWNORM_AVX512)
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(v.a)), _mm512_cvtpd_ps(v.b), 1);
#elif defined(ROWNORM_AVX2)
  return _mm256_set_m128(_mm256_cvtpd_ps(v.b), _mm256_cvtpd_ps(v.a));
#elif defined(ROWNORM_SSE2)
  return _mm_movelh_ps(_mm_cvtpd_ps(v.a), _mm_cvtpd_ps(v.b));
#elif defined(ROWNORM_NEON)
  return vcvt_high_f32_f64(vcvt_f32_f64(v.a), v.b);
#else
  return lanewise<float>([&](std::size_t i) {
    return static_cast<float>(i < width<double> ? v.a.lane[i] : v.b.lane[i - width<double>]);
  });
#endif
}

/// v rounded to what a number of storage S can hold.
template <class S>
ROWNORM_INLINE batch<float> rounded_to(batch<float> v) {
  if constexpr (std::is_same_v<S, bfloat16>)
    return as<float>(round_to_upper_half(v) & words(0xffff0000u));
  else if constexpr (std::is_same_v<S, float16>) return round_to_half(v);
  else return v;
}
template <class S, class T>
ROWNORM_INLINE pack<T> rounded_to(pack<T> v) {
  if constexpr (std::is_same_v<T, S> || std::is_same_v<S, double> || std::is_void_v<S>) return v;
  else if constexpr (std::is_same_v<T, double>) return to_doubles(rounded_to<S>(to_floats(v)));
  else return {rounded_to<S>(v.a), rounded_to<S>(v.b)};
}

/// A pack of T from numbers of any storage, and back; `n`: all, or how many.
template <class T, class S, class Count>
ROWNORM_INLINE pack<T> load_pack(const S* p, Count n) {
  const auto n1 = first_part(n, width<T>), n2 = second_part(n, width<T>);
  if constexpr (std::is_same_v<T, double>) {
    if constexpr (std::is_same_v<S, double>)
      return {load_batch(p, n1), load_batch(beyond<T>(p, n1), n2)};
    else return to_doubles(load_floats(p, n));
  } else {
    if constexpr (std::is_same_v<S, double>)
      return {to_floats(load_pack<double>(p, n1)),
              to_floats(load_pack<double>(beyond<T>(p, n1), n2))};
    else return {load_floats(p, n1), load_floats(beyond<T>(p, n1), n2)};
  }
}
template <class T, class S, class Count>
ROWNORM_INLINE void store_pack(S* p, pack<T> v, Count n) {
  const auto n1 = first_part(n, width<T>), n2 = second_part(n, width<T>);
  if constexpr (std::is_same_v<T, double>) {
    if constexpr (std::is_same_v<S, double>) {
      store_batch(p, v.a, n1);
      store_batch(beyond<T>(p, n1), v.b, n2);
    } else {
      store_floats(p, to_floats(v), n);
    }
  } else if constexpr (std::is_same_v<S, double>) {
    store_pack<double>(p, to_doubles(v.a), n1);
    store_pack<double>(beyond<T>(p, n1), to_doubles(v.b), n2);
#if !defined(ROWNORM_SCALAR)
  } else if constexpr (std::is_same_v<S, bfloat16> && whole<Count>) {
    store_words(p, round_in_turn(v.a, v.b), n);
#endif
  } else {
    store_floats(p, v.a, n1);
    store_floats(beyond<T>(p, n1), v.b, n2);
  }
}

/// Adding this rounds to the nearest integer (even), which is then in the lowest bits.
template <class T>
inline constexpr T to_integer = std::is_same_v<T, float> ? T(0x1.8p23) : T(0x1.8p52);

/// x * factor, which is in [-128, 127] but for its rounding, as integers.
template <class T, class Count>
ROWNORM_INLINE void store_int8(std::int8_t* p, pack<T> x, T factor, Count n) {
  if constexpr (std::is_same_v<T, double>) {
    const batch<float> q = to_floats(x * splat(factor)) + batch<float>(to_integer<float>);
    store_bytes(p, as<std::uint32_t>(q), n);
  } else {
    const pack<float> q = fma(x, splat(factor), splat(to_integer<float>));
    store_bytes(p, as<std::uint32_t>(q.a), as<std::uint32_t>(q.b), n);
  }
}

/// 2^k for integers k that to_integer was added to.
ROWNORM_INLINE batch<float> power_of_two(batch<float> k) {
  return as<float>((as<std::uint32_t>(k) + words(127u)) << 23);
}
ROWNORM_INLINE batch<double> power_of_two(batch<double> k) {
  using longs = batch<std::uint64_t>;
  return as<double>((as<std::uint64_t>(k) + longs(std::uint64_t{1023})) << 52);
}

inline constexpr double inverse_factorial[] = {1.0,
                                               1.0,
                                               1.0 / 2,
                                               1.0 / 6,
                                               1.0 / 24,
                                               1.0 / 120,
                                               1.0 / 720,
                                               1.0 / 5040,
                                               1.0 / 40320,
                                               1.0 / 362880,
                                               1.0 / 3628800,
                                               1.0 / 39916800,
                                               1.0 / 479001600,
                                               1.0 / 6227020800};

/// e^x for x in [-87, 87] (double: [-700, 700]): x = k * ln 2 + r, and the Taylor polynomial of r,
/// of so high a degree that what it leaves is less than a tenth of the step of T at 1.
template <class T>
ROWNORM_INLINE batch<T> exp(batch<T> x) {
  constexpr bool single = std::is_same_v<T, float>;
  constexpr std::size_t degree = single ? 7 : 13;
  const batch<T> shifted = fma(x, batch<T>(T(1.4426950408889634)), batch<T>(to_integer<T>));
  const batch<T> k = batch<T>(to_integer<T>) - shifted;
  // -ln 2 comes in two parts, the first with zeros at its end so that k times it is exact.
  batch<T> r = fma(k, batch<T>(single ? T(0x1.62e4p-1) : T(0x1.62e42fefa38p-1)), x);
  r = fma(k, batch<T>(single ? T(0x1.7f7d1cp-20) : T(0x1.ef35793c7673p-45)), r);
  batch<T> p = batch<T>(T(inverse_factorial[degree]));
  unroll<degree>([&](auto i) ROWNORM_LAMBDA {
    p = fma(p, r, batch<T>(T(inverse_factorial[degree - 1 - i()])));
  });
  return p * power_of_two(shifted);
}

/// z / (1 + e^-z). Below z = -87 (double: -700), where e^-z leaves the range, the denominator is
/// that of the limit: the result is then less than 2e-36 (double: 7e-302) in size, and so is its
/// error.
template <class T>
ROWNORM_INLINE pack<T> silu(pack<T> z) {
  const T limit = std::is_same_v<T, float> ? T(87) : T(700);
  const pack<T> x = max(min(splat(T(0)) - z, splat(limit)), splat(-limit));
  return z / (splat(T(1)) + pack<T>{exp(x.a), exp(x.b)});
}

// ---------------------------------------------------------------------------------------------
// Places in a row, and the order in which a pack takes the numbers there.
// ---------------------------------------------------------------------------------------------

/// Numbers 0, 1, 2, ... go to the lanes 0, 1, 2, ... of a pack.
struct in_order {};
/// Numbers 0, 2, 4, ... go to batch a, numbers 1, 3, 5, ... to b: for bfloat16 a shift and a mask
/// where the other order needs two widening shuffles.
struct even_odd {};

#if defined(ROWNORM_SCALAR)
template <class T, class... S>
using order_for = in_order;
#else
template <class T, class... S>
using order_for =
    std::conditional_t<std::is_same_v<T, float> &&
                           ((std::is_same_v<S, bfloat16> || std::is_same_v<S, none_t>)&&...),
                       even_odd, in_order>;
#endif

/// The two bfloat16 numbers of each word, as floats.
ROWNORM_INLINE pack<float> side_by_side(words w) {
  return {as<float>(w << 16), as<float>(w & words(0xffff0000u))};
}

/// A pack's place: it begins at number i of the row and holds n numbers (or all of a pack).
template <class T, class Order, class Count>
struct place {
  std::size_t i;
  Count n;
};

template <class T, class Order, class Count, class S>
ROWNORM_INLINE pack<T> load(place<T, Order, Count> at, const S* row) {
  const S* p = row + at.i;
  if constexpr (std::is_same_v<Order, in_order>) {
    return load_pack<T>(p, at.n);
  } else {
    static_assert(std::is_same_v<S, bfloat16>, "even_odd is for bfloat16 alone");
    words w;
    if constexpr (std::is_same_v<Count, all>) w = load_words(p);
    else w = load_pairs(p, at.n);
    return side_by_side(w);
  }
}

/// v rounded to what a number of storage S can hold.
template <class S, class T, class Order, class Count>
ROWNORM_INLINE pack<T> rounded_to(place<T, Order, Count>, pack<T> v) {
  if constexpr (std::is_same_v<Order, even_odd>) return side_by_side(round_side_by_side(v.a, v.b));
  else return rounded_to<S>(v);
}

/// Gives back what was stored: v, rounded to S.
template <class T, class Order, class Count, class S>
ROWNORM_INLINE pack<T> store_rounded(place<T, Order, Count> at, S* row, pack<T> v) {
  S* p = row + at.i;
  if constexpr (std::is_same_v<Order, in_order>) {
    v = rounded_to<S>(v);
    store_pack<T>(p, v, at.n);
    return v;
  } else {
    static_assert(std::is_same_v<S, bfloat16>, "even_odd is for bfloat16 alone");
    const words w = round_side_by_side(v.a, v.b);
    if constexpr (whole<Count>) {
      store_words(p, w, at.n);
    } else {
#if defined(ROWNORM_AVX512)
      _mm512_mask_storeu_epi16(p, mask_bits(at.n), w);
#else
      S some[pack_width<float>];
      store_words(some, w);
      copy_few<pack_width<float>>(p, some, at.n);
#endif
    }
    return side_by_side(w);
  }
}
template <class T, class Order, class Count, class S>
ROWNORM_INLINE void store(place<T, Order, Count> at, S* row, pack<T> v) {
  if constexpr (std::is_same_v<Order, in_order>) store_pack<T>(row + at.i, v, at.n);
  else store_rounded(at, row, v);
}

/// The same place, for a store past the cache.
template <class T, class Order>
ROWNORM_INLINE place<T, Order, past_cache> streamed(place<T, Order, all> at) {
  return {at.i, {}};
}
template <class T, class Order>
ROWNORM_INLINE place<T, Order, std::size_t> streamed(place<T, Order, std::size_t> at) {
  return at;
}
ROWNORM_INLINE bool starts_register(const void* p) {
  return reinterpret_cast<std::uintptr_t>(p) % register_bytes == 0;
}

/// v as it is where the place is a whole pack; zeros beyond the end of the row elsewhere.
template <class T, class Order, class Count>
ROWNORM_INLINE pack<T> zero_beyond(place<T, Order, Count> at, pack<T> v) {
  if constexpr (std::is_same_v<Count, all>) return v;
  else if constexpr (std::is_same_v<Order, in_order>)
    return {keep(v.a, first_part(at.n, width<T>)), keep(v.b, second_part(at.n, width<T>))};
  else return {keep(v.a, (at.n + 1) / 2), keep(v.b, at.n / 2)};
}

// ---------------------------------------------------------------------------------------------
// Storage that is told at run time, as doubles: for rows that are done again, which are few. What
// does that is one function for all types, so that a call does not carry a second copy of itself;
// it is given these, of the types that the call has. (Packs by reference: g++ 12 does not align
// those that it passes on the stack of a tail call.)
// ---------------------------------------------------------------------------------------------

using place_of_any = place<double, in_order, std::size_t>;
ROWNORM_INLINE place_of_any of_any(place<double, in_order, all> at) {
  return {at.i, pack_width<double>};
}
ROWNORM_INLINE place_of_any of_any(place_of_any at) {
  return at;
}

using load_any = pack<double>(const void* row, place_of_any at);
using store_any = void(void* row, place_of_any at, const pack<double>& v);
using round_any = pack<double>(const pack<double>& v);

template <class S>
ROWNORM_FLAT ROWNORM_COLD pack<double> load_doubles(const void* row, place_of_any at) {
  return load(at, static_cast<const S*>(row));
}
template <class S>
ROWNORM_FLAT ROWNORM_COLD pack<double> load_silu(const void* row, place_of_any at) {
  return silu(load(at, static_cast<const S*>(row)));
}
template <class S>
ROWNORM_FLAT ROWNORM_COLD void store_doubles(void* row, place_of_any at, const pack<double>& v) {
  store(at, static_cast<S*>(row), v);
}
template <class S>
ROWNORM_FLAT ROWNORM_COLD pack<double> round_doubles(const pack<double>& v) {
  return rounded_to<S>(v);
}

// ---------------------------------------------------------------------------------------------
// The loop over a row.
// ---------------------------------------------------------------------------------------------

/// step(place) for every pack of a row of n numbers.
template <class T, class Order, class Step>
ROWNORM_INLINE void each(std::size_t n, Step step) {
  std::size_t i = 0;
  ROWNORM_TWICE
  for (; i + pack_width<T> <= n; i += pack_width<T>) step(place<T, Order, all>{i, {}});
  if (i < n) step(place<T, Order, std::size_t>{i, n - i});
}

// ---------------------------------------------------------------------------------------------
// The sum of a row, in the one order that every ISA keeps. float: lane l of 64 takes the numbers l,
// l + 64, ... by fused multiply-add, 256 numbers long. Then lane l takes lane l + 32, then l + 16
// and l + 8, a second set of 8 doubles takes the 8 that are left, and the lanes start anew. At the
// end lane l of the second set takes lane l + 4, l + 2, l + 1. double: the same with 32 lanes, 128
// numbers, and beside the second set what its additions round away. So a lane is rounded seven
// times on its way at most. (With a second set of floats after every 4096 numbers, rows of 2^20
// equal numbers were off by 12 eps, heavy-tailed ones of 1000 by 2.6.)
// ---------------------------------------------------------------------------------------------

template <class T>
inline constexpr std::size_t lanes = 256 / sizeof(T);
template <class T>
inline constexpr std::size_t packs = lanes<T> / pack_width<T>;
template <class T>
inline constexpr std::size_t chunk = 4 * lanes<T>;

/// So many packs of the lanes of K sums.
template <class T, int K, std::size_t Packs>
struct sums {
  pack<T> lane[K][Packs];
};

/// Whether v, not negative, is in [low, high): a comparison of bits, so that NaN and infinity are
/// told apart even where -ffast-math lets the compiler believe that there are none.
template <class T>
ROWNORM_INLINE bool in_range(T v, T low, T high) {
  using bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  bits b, l, h;
  std::memcpy(&b, &v, sizeof b);
  std::memcpy(&l, &low, sizeof l);
  std::memcpy(&h, &high, sizeof h);
  return b - l < h - l;
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
    else return max(x, y);
  }
};

/// The last steps of the tree: the lanes of one batch, in halves, in registers.
template <class T, class Combine>
ROWNORM_INLINE T across(batch<T> v, Combine combine) {
#if defined(ROWNORM_SCALAR)
  for (std::size_t half = width<T> / 2; half > 0; half /= 2)
    for (std::size_t l = 0; l < half; ++l) v.lane[l] = combine(v.lane[l], v.lane[l + half]);
  return v.lane[0];
#elif defined(ROWNORM_NEON)
  if constexpr (std::is_same_v<T, float>) {
    const batch<float> w = combine(v, batch<float>(vextq_f32(v, v, 2)));
    return combine(vgetq_lane_f32(w, 0), vgetq_lane_f32(w, 1));
  } else {
    return combine(vgetq_lane_f64(v, 0), vgetq_lane_f64(v, 1));
  }
#else
  if constexpr (std::is_same_v<T, float>) {
#if defined(ROWNORM_AVX512)
    v = combine(v, batch<T>(_mm512_shuffle_f32x4(v, v, 0xee)));
    v = combine(v, batch<T>(_mm512_shuffle_f32x4(v, v, 0x55)));
    v = combine(v, batch<T>(_mm512_permute_ps(v, 0xee)));
    const __m128 last = _mm512_castps512_ps128(v);
#elif defined(ROWNORM_AVX2)
    v = combine(v, batch<T>(_mm256_permute2f128_ps(v, v, 0x11)));
    v = combine(v, batch<T>(_mm256_permute_ps(v, 0xee)));
    const __m128 last = _mm256_castps256_ps128(v);
#else
    v = combine(v, batch<T>(_mm_movehl_ps(v, v)));
    const __m128 last = v;
#endif
    return combine(_mm_cvtss_f32(last), _mm_cvtss_f32(_mm_shuffle_ps(last, last, 1)));
  } else {
#if defined(ROWNORM_AVX512)
    v = combine(v, batch<T>(_mm512_shuffle_f64x2(v, v, 0xee)));
    v = combine(v, batch<T>(_mm512_shuffle_f64x2(v, v, 0x55)));
    const __m128d last = _mm512_castpd512_pd128(v);
#elif defined(ROWNORM_AVX2)
    v = combine(v, batch<T>(_mm256_permute2f128_pd(v, v, 0x11)));
    const __m128d last = _mm256_castpd256_pd128(v);
#else
    const __m128d last = v;
#endif
    return combine(_mm_cvtsd_f64(last), _mm_cvtsd_f64(_mm_unpackhi_pd(last, last)));
  }
#endif
}

/// a0, b0, a1, b1, ...
ROWNORM_INLINE pack<double> interleaved(batch<double> a, batch<double> b) {
#if defined(ROWNORM_AVX512)
  return {_mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b),
          _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b)};
#elif defined(ROWNORM_AVX2)
  const __m256d low = _mm256_unpacklo_pd(a, b), high = _mm256_unpackhi_pd(a, b);
  return {_mm256_permute2f128_pd(low, high, 0x20), _mm256_permute2f128_pd(low, high, 0x31)};
#elif defined(ROWNORM_SSE2)
  return {_mm_unpacklo_pd(a, b), _mm_unpackhi_pd(a, b)};
#elif defined(ROWNORM_NEON)
  return {vzip1q_f64(a, b), vzip2q_f64(a, b)};
#else
  const auto from = [&](std::size_t first) {
    return lanewise<double>(
        [&](std::size_t i) { return (i % 2 == 0 ? a : b).lane[(first + i) / 2]; });
  };
  return {from(0), from(width<double>)};
#endif
}

/// What combines the k-th of K lanes, the last `Peaks` of which keep the largest number.
template <int K, int Peaks, class Index>
using combine_of = std::conditional_t<(Index::value < K - Peaks), plus, larger>;

/// The second set of lanes, in registers of doubles. even_odd: registers 0, 2, ... hold the even
/// lanes, 1, 3, ... the odd ones, where there is more than one.
inline constexpr std::size_t second_lanes = 8;
inline constexpr std::size_t second_registers = second_lanes / width<double>;
struct lane_set {
  batch<double> lane[second_registers];
};
template <class T, int K>
struct lane_sets {
  lane_set sum[K];
  lane_set rest[std::is_same_v<T, double> ? K : 1];  // what the additions of doubles rounded away
};

/// Pack P of what is left of the lanes, halved once or twice more where it holds more of them than
/// the second set, goes to that set's registers.
template <std::size_t P, class Order, class Combine>
ROWNORM_INLINE void into_second_set(lane_set& to, const pack<float>& v,
                                    [[maybe_unused]] Combine combine) {
  [[maybe_unused]] constexpr bool split = std::is_same_v<Order, even_odd>;
#if defined(ROWNORM_AVX512)
  const auto half = [&](batch<float> x) ROWNORM_LAMBDA {
    return combine(x, batch<float>(_mm512_shuffle_f32x4(x, x, 0xee)));
  };
  const auto quarter = [&](batch<float> x) ROWNORM_LAMBDA {
    const batch<float> h = half(x);
    return _mm512_castps512_ps128(combine(h, batch<float>(_mm512_shuffle_f32x4(h, h, 0x55))));
  };
  if constexpr (split) {
    const __m128 even = quarter(v.a), odd = quarter(v.b);
    to.lane[0] =
        _mm512_cvtps_pd(_mm256_set_m128(_mm_unpackhi_ps(even, odd), _mm_unpacklo_ps(even, odd)));
  } else {
    to.lane[0] = to_doubles(half(combine(v.a, v.b))).a;
  }
#elif defined(ROWNORM_AVX2)
  const auto half = [&](batch<float> x) ROWNORM_LAMBDA {
    return combine(x, batch<float>(_mm256_permute2f128_ps(x, x, 0x11)));
  };
  if constexpr (split) {
    to.lane[0] = to_doubles(half(v.a)).a;
    to.lane[1] = to_doubles(half(v.b)).a;
  } else {
    const pack<double> d = to_doubles(combine(v.a, v.b));
    to.lane[0] = d.a;
    to.lane[1] = d.b;
  }
#else
  const pack<double> a = to_doubles(v.a), b = to_doubles(v.b);
  to.lane[4 * P] = a.a;
  to.lane[4 * P + 1] = split ? b.a : a.b;
  to.lane[4 * P + 2] = split ? a.b : b.a;
  to.lane[4 * P + 3] = b.b;
#endif
}
template <std::size_t P, class Order, class Combine>
ROWNORM_INLINE void into_second_set(lane_set& to, const pack<double>& v,
                                    [[maybe_unused]] Combine combine) {
  constexpr std::size_t left = pack_width<double>;
  if constexpr (left > second_lanes) {
    to.lane[0] = combine(v.a, v.b);
  } else {
    to.lane[2 * P] = v.a;
    to.lane[2 * P + 1] = v.b;
  }
}
/// The lanes in halves, lane l with lane l + half, until `Left` packs are left.
template <std::size_t Left, class T, std::size_t N, class Combine>
ROWNORM_INLINE void fold(pack<T> (&to)[Left], const pack<T> (&v)[N], Combine combine) {
  if constexpr (N == Left) {
    unroll<N>([&](auto p) ROWNORM_LAMBDA { to[p()] = v[p()]; });
  } else {
    pack<T> half[N / 2];
    unroll<N / 2>([&](auto p) ROWNORM_LAMBDA {
      half[p()] = {combine(v[p()].a, v[p() + N / 2].a), combine(v[p()].b, v[p() + N / 2].b)};
    });
    fold(to, half, combine);
  }
}
/// How many packs the second set takes.
template <class T>
inline constexpr std::size_t packs_left =
    second_lanes > pack_width<T> ? second_lanes / pack_width<T> : 1;
/// The same as a second set.
template <class Order, class T, std::size_t N, class Combine>
ROWNORM_INLINE void fold(lane_set& to, const pack<T> (&v)[N], Combine combine) {
  pack<T> left[packs_left<T>];
  fold(left, v, combine);
  unroll<packs_left<T>>(
      [&](auto p) ROWNORM_LAMBDA { into_second_set<p(), Order>(to, left[p()], combine); });
}

/// Knuth's two-sum: sum + v, and what that rounds away goes into `rest`.
ROWNORM_INLINE void add_exactly(batch<double>& sum, batch<double>& rest, batch<double> v) {
  const batch<double> s = sum + v, part = s - sum;
  rest = rest + ((sum - (s - part)) + (v - part));
  sum = s;
}
/// The second set takes a fold.
template <int Peaks, class T, int K>
ROWNORM_INLINE void add_fold(lane_sets<T, K>& to, const lane_set (&fold)[K]) {
  unroll<K>([&](auto k) ROWNORM_LAMBDA {
    using combine = combine_of<K, Peaks, decltype(k)>;
    unroll<second_registers>([&](auto r) ROWNORM_LAMBDA {
      batch<double>& sum = to.sum[k()].lane[r()];
      const batch<double> v = fold[k()].lane[r()];
      if constexpr (std::is_same_v<T, double> && std::is_same_v<combine, plus>)
        add_exactly(sum, to.rest[k()].lane[r()], v);
      else sum = combine{}(sum, v);
    });
  });
}
/// It begins as the first fold: zeros to add that to would be stored and loaded again for each row
/// (LayerNorm of 64x64: 0.9 of the time).
template <class T, int K>
ROWNORM_INLINE void begin_with(lane_sets<T, K>& to, const lane_set (&fold)[K]) {
  unroll<K>([&](auto k) ROWNORM_LAMBDA {
    to.sum[k()] = fold[k()];
    if constexpr (std::is_same_v<T, double>)
      for (batch<double>& rest : to.rest[k()].lane) rest = batch<double>(0.0);
  });
}

/// The tree: lane l takes lane l + half, from half the lanes down to one.
template <class Order, class Combine>
ROWNORM_INLINE double tree(lane_set s, Combine combine) {
  constexpr std::size_t n = second_registers;
  if constexpr (std::is_same_v<Order, even_odd>)
    unroll<n / 2>([&](auto i) ROWNORM_LAMBDA {
      const pack<double> v = interleaved(s.lane[2 * i()], s.lane[2 * i() + 1]);
      s.lane[2 * i()] = v.a;
      s.lane[2 * i() + 1] = v.b;
    });
  unroll<2>([&](auto step) ROWNORM_LAMBDA {
    constexpr std::size_t half = n / (std::size_t{2} << step());
    unroll<half>([&](auto i)
                     ROWNORM_LAMBDA { s.lane[i()] = combine(s.lane[i()], s.lane[i() + half]); });
  });
  return across<double>(s.lane[0], combine);
}

template <int K>
struct totals {
  double of[K];
};

template <class T, class Order, int Peaks, int K>
ROWNORM_INLINE totals<K> total(const lane_sets<T, K>& s) {
  totals<K> t;
  unroll<K>([&](auto k) ROWNORM_LAMBDA {
    using combine = combine_of<K, Peaks, decltype(k)>;
    const double sum = tree<Order>(s.sum[k()], combine{});
    t.of[k()] = sum;
    if constexpr (std::is_same_v<T, double> && std::is_same_v<combine, plus>)
      // Of a sum that is infinite the rest is NaN.
      if (in_range(std::fabs(sum), 0.0, std::numeric_limits<double>::infinity()))
        t.of[k()] = sum + tree<Order>(s.rest[k()], plus{});
  });
  return t;
}

/// Pack p of the lanes takes what step gives it.
template <std::size_t... K, class Sums, class Step, class Place>
ROWNORM_INLINE void add_at(std::index_sequence<K...>, Sums& s, std::size_t p, Step& step,
                           Place at) {
  step(at, s.lane[K][p]...);
}

/// How many packs of K sums are kept in registers at once: all, where the ISA has registers for
/// them and for what is added; else the row is passed over in strips of so many packs. A strip has
/// every so many-th pack of a group: those are folded into each other, so that one pack of each sum
/// is all that waits for the next strip (LayerNorm's gradient of 64x33 to 64x128 floats: 0.87 to
/// 0.97 of the time of strips of neighbours, with clang 14 0.72 to 0.87).
#if defined(ROWNORM_AVX512) || defined(ROWNORM_NEON)
inline constexpr std::size_t registers_for_sums = 16;
#else
inline constexpr std::size_t registers_for_sums = 8;
#endif
template <class T, int K>
inline constexpr std::size_t in_strip =
    packs<T> * 2 * K <= registers_for_sums ? packs<T> : registers_for_sums / 2 / K;
template <class T, int K>
inline constexpr std::size_t strips = packs<T> / in_strip<T, K>;
/// How many packs a strip is folded into: all that the second set takes, or one of them.
template <class T, int K>
inline constexpr std::size_t left_of_strip = strips<T, K> == 1 ? packs_left<T> : 1;

/// step(place, lanes...) for the packs of a strip in the last, short group of a row: those that are
/// whole, and what is left in the one after them. (A step for each pack that may be that one: to
/// choose its lanes and step once took LayerNorm of 64x33 to 64x100 floats 1.05 to 1.10 of the
/// time.)
template <class T, class Order, int K, std::size_t Strip, class Step>
ROWNORM_INLINE void sum_short_group(std::size_t begin, std::size_t end, Step& step,
                                    sums<T, K, in_strip<T, K>>& s) {
  constexpr auto k = std::make_index_sequence<K>{};
  const std::size_t whole_packs = (end - begin) / pack_width<T>;
  const std::size_t rest = (end - begin) % pack_width<T>;
  unroll<in_strip<T, K>>([&](auto p) ROWNORM_LAMBDA {
    constexpr std::size_t of_group = Strip + p() * strips<T, K>;
    const std::size_t at = begin + of_group * pack_width<T>;
    if (whole_packs > of_group) add_at(k, s, p(), step, place<T, Order, all>{at, {}});
    else if (whole_packs == of_group && rest != 0)
      add_at(k, s, p(), step, place<T, Order, std::size_t>{at, rest});
  });
}

/// step(place, lanes...) for the packs Strip, Strip + strips, ... of each group of lanes in
/// [begin, end). (What it finds is no result: g++ 12 would copy that through memory, as integers.)
template <class T, class Order, int K, std::size_t Strip, class Step>
ROWNORM_INLINE void sum_strip(std::size_t begin, std::size_t end, Step& step,
                              sums<T, K, in_strip<T, K>>& s) {
  unroll<in_strip<T, K>>([&](auto p) ROWNORM_LAMBDA {
    unroll<K>([&](auto k) ROWNORM_LAMBDA { s.lane[k()][p()] = splat(T(0)); });
  });
  const std::size_t groups_end = end - (end - begin) % lanes<T>;
  for (std::size_t i = begin; i < groups_end; i += lanes<T>)
    unroll<in_strip<T, K>>([&](auto p) ROWNORM_LAMBDA {
      constexpr std::size_t of_group = Strip + p() * strips<T, K>;
      add_at(std::make_index_sequence<K>{}, s, p(), step,
             place<T, Order, all>{i + of_group * pack_width<T>, {}});
    });
  if (!ROWNORM_LIKELY(groups_end == end))
    sum_short_group<T, Order, K, Strip>(groups_end, end, step, s);
}

/// The strips First, First + Step, ...: each folded, then those into each other, in the order in
/// which the lanes of a group meet.
template <class T, class Order, int K, int Peaks, std::size_t First, std::size_t Step,
          class Function>
ROWNORM_INLINE void sum_strips(std::size_t begin, std::size_t end, Function& step,
                               sums<T, K, left_of_strip<T, K>>& s) {
  if constexpr (Step < strips<T, K>) {
    sums<T, K, 1> other;
    sum_strips<T, Order, K, Peaks, First, 2 * Step>(begin, end, step, s);
    sum_strips<T, Order, K, Peaks, First + Step, 2 * Step>(begin, end, step, other);
    unroll<K>([&](auto k) ROWNORM_LAMBDA {
      const pack<T> both[] = {s.lane[k()][0], other.lane[k()][0]};
      fold(s.lane[k()], both, combine_of<K, Peaks, decltype(k)>{});
    });
  } else {
    sums<T, K, in_strip<T, K>> of_strip;
    sum_strip<T, Order, K, First>(begin, end, step, of_strip);
    unroll<K>([&](auto k) ROWNORM_LAMBDA {
      fold(s.lane[k()], of_strip.lane[k()], combine_of<K, Peaks, decltype(k)>{});
    });
  }
}

/// The numbers in [begin, end), a chunk at most: the second set takes their sums. Where it takes
/// two packs and a strip leaves one, those of every other strip meet.
template <class T, class Order, int K, int Peaks, class Step>
ROWNORM_INLINE void sum_chunk(std::size_t begin, std::size_t end, Step& step,
                              lane_sets<T, K>& second) {
  constexpr std::size_t left = left_of_strip<T, K>, parts = packs_left<T> / left;
  lane_set folds[K];
  unroll<parts>([&](auto part) ROWNORM_LAMBDA {
    sums<T, K, left> s;
    sum_strips<T, Order, K, Peaks, part(), parts>(begin, end, step, s);
    unroll<K>([&](auto k) ROWNORM_LAMBDA {
      unroll<left>([&](auto p) ROWNORM_LAMBDA {
        into_second_set<part() + p(), Order>(folds[k()], s.lane[k()][p()],
                                             combine_of<K, Peaks, decltype(k)>{});
      });
    });
  });
  if (begin == 0) begin_with(second, folds);
  else add_fold<Peaks>(second, folds);
}

/// K sums over a row of n numbers; step(place, lanes...) adds a pack's terms to the lanes. The last
/// `Peaks` of the K are largest numbers (of numbers not negative) in place of sums.
template <class T, class Order, int K, int Peaks = 0, class Step>
ROWNORM_INLINE totals<K> sum(std::size_t n, Step step) {
  lane_sets<T, K> second;
  std::size_t i = 0;
  do {  // once at least: a shard of a row may have no numbers
    sum_chunk<T, Order, K, Peaks>(i, n - i < chunk<T> ? n : i + chunk<T>, step, second);
    i += chunk<T>;
  } while (i < n);
  return total<T, Order, Peaks>(second);
}

/// How many numbers of a row are looked at for a guess of its mean: 64 bytes of them.
template <class T>
inline constexpr std::size_t first_numbers = 64 / sizeof(T);
struct sum_and_largest {
  double sum, largest;
};
/// Of a row's first numbers, values(place): their sum, and the largest without its sign.
template <class T, class Order, class Values>
ROWNORM_INLINE sum_and_largest look_at_first(Values values) {
  constexpr bool whole_packs = pack_width<T> <= first_numbers<T>;
  constexpr std::size_t step = whole_packs ? pack_width<T> : first_numbers<T>;
  pack<T> v[first_numbers<T> / step], size[first_numbers<T> / step];
  unroll<first_numbers<T> / step>([&](auto p) ROWNORM_LAMBDA {
    if constexpr (whole_packs) v[p()] = values(place<T, Order, all>{p() * step, {}});
    else v[p()] = values(place<T, Order, std::size_t>{0, step});
    size[p()] = abs(v[p()]);
  });
  lane_set sum, largest;
  fold<Order>(sum, v, plus{});
  fold<Order>(largest, size, larger{});
  return {tree<Order>(sum, plus{}), tree<Order>(largest, larger{})};
}

/// a * b + c of scalars: one rounding where the ISA has it, as in the vectors.
ROWNORM_INLINE double fma(double a, double b, double c) {
#if defined(ROWNORM_SSE2)
  return a * b + c;
#else
  return std::fma(a, b, c);
#endif
}

/// The root of a number that is not negative: of others std::sqrt must tell errno.
ROWNORM_INLINE double square_root(double v) {
#if defined(ROWNORM_AVX512) || defined(ROWNORM_AVX2) || defined(ROWNORM_SSE2)
  const __m128d d = _mm_set_sd(v);
  return _mm_cvtsd_f64(_mm_sqrt_sd(d, d));
#else
  return std::sqrt(v);
#endif
}

/// f(number), or f of a register of numbers, in place of each of the m numbers.
template <class F>
ROWNORM_INLINE void in_registers(double* numbers, std::size_t m, F f) {
  std::size_t i = 0;
  for (; i + width<double> <= m; i += width<double>)
    store_batch(numbers + i, f(load_batch(numbers + i)));
  ROWNORM_ONCE
  for (; i < m; ++i) numbers[i] = f(numbers[i]);
}

/// Asks the memory for what lies `bytes` after p.
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
