// SPDX-License-Identifier: MIT
// The words of the calls: rows, heads, one_plus, quantized and the rest. Data, never a loop.
#pragma once

#include <cstddef>
#include <cstdint>

#include "detail/config.hpp"

/// RMSNorm and LayerNorm over the rows of a matrix. The calls stand in rms_norm.hpp and
/// layer_norm.hpp, the modules with parameters in modules.hpp, the words that change a call in
/// types.hpp; parallel.hpp and mpi.hpp say where a call runs, dispatch.hpp by which code.
namespace rownorm {

/// A 16-bit IEEE number (binary16) as its bits: what rownorm::float16, which is Eigen::half, is
/// below the public calls.
struct float16_bits {
  std::uint16_t bits;  ///< sign, 5 bits of exponent, 10 of fraction
};

/// The upper half of a float (bfloat16) as its bits: what rownorm::bfloat16, which is
/// Eigen::bfloat16, is below the public calls.
struct bfloat16_bits {
  std::uint16_t bits;  ///< sign, 8 bits of exponent, 7 of fraction
};

/// How a type lies in memory: float, double, float16 or bfloat16, as the compilers' own 16-bit
/// types do where there are any (_Float16, __bf16, std::float16_t, std::bfloat16_t). An engine with
/// a type of its own (two bytes, trivially copyable) says so once and may use it in every call:
/// ```cpp
/// struct my_bf16 { unsigned short bits; };
/// template <> struct rownorm::storage<my_bf16> { using type = rownorm::bfloat16; };
/// ```
template <class T>
struct storage {};
template <>
struct storage<float> {
  using type = float;
};
template <>
struct storage<double> {
  using type = double;
};
template <>
struct storage<float16_bits> {
  using type = float16_bits;
};
template <>
struct storage<bfloat16_bits> {
  using type = bfloat16_bits;
};
#if defined(ROWNORM_FLOAT16)
template <>
struct storage<ROWNORM_FLOAT16> {
  using type = float16_bits;
};
#endif
#if defined(ROWNORM_BFLOAT16)
template <>
struct storage<ROWNORM_BFLOAT16> {
  using type = bfloat16_bits;
};
#endif
template <>
struct storage<std::int8_t> {
  using type = std::int8_t;  // inside quantized(q, scales) alone
};

/// The length of `rows` that is known only at run time.
inline constexpr std::size_t dynamic = static_cast<std::size_t>(-1);

inline namespace ROWNORM_ISA {
namespace detail {
using float16 = float16_bits;
using bfloat16 = bfloat16_bits;
/// The stride of rows whose numbers turned out not to lie side by side: the checks refuse it.
inline constexpr std::size_t scattered = ~(static_cast<std::size_t>(-1) / 2);
}  // namespace detail
}  // namespace ROWNORM_ISA

/// `count` rows of `length` numbers each; row i starts at data + i * stride (all counted in
/// numbers). A view: it owns nothing. A Length other than `dynamic` fixes the length by type, as an
/// Eigen matrix of so many columns does: short rows then have code for their length alone, as those
/// of 64, 128 and 256 numbers have in a plain call.
template <class T, std::size_t Length = dynamic>
struct rows {
  using value_type = T;  ///< the type of a number, const where it is only read
  T* data;               ///< the first number of row 0
  std::size_t count;     ///< how many rows
  std::size_t length;    ///< numbers of a row
  std::size_t stride;    ///< numbers from the beginning of a row to that of the next

  /// Rows that begin `stride_` numbers apart.
  constexpr rows(T* data_, std::size_t count_, std::size_t length_, std::size_t stride_) noexcept
      : data(data_), count(count_), length(length_), stride(stride_) {}
  /// Rows one behind the other.
  constexpr rows(T* data_, std::size_t count_, std::size_t length_) noexcept
      : rows(data_, count_, length_, length_) {}
  /// The same where the type fixes the length.
  constexpr rows(T* data_, std::size_t count_) noexcept : rows(data_, count_, Length, Length) {
    static_assert(Length != dynamic, "rownorm: rows whose type fixes no length need one");
  }
  /// A view that may write also serves where one that only reads is asked for.
  constexpr operator rows<const T, Length>() const noexcept {
    return {data, count, length, stride};
  }
};

/// Rows inside packed memory, as in QKV: `tokens` times `heads_per_token` rows of `length` numbers.
/// The heads of a token lie side by side, tokens are token_stride numbers apart. Row t * heads + h
/// is head h of token t. A view: it owns nothing.
template <class T>
struct heads {
  using value_type = T;         ///< the type of a number, const where it is only read
  T* data;                      ///< the first number of the first token's first head
  std::size_t tokens;           ///< how many tokens
  std::size_t heads_per_token;  ///< how many rows of each token
  std::size_t length;           ///< numbers of a row
  std::size_t token_stride;     ///< numbers from one token's first head to the next one's
  std::size_t count;            ///< how many rows in all

  /// tokens_ times heads_ rows.
  constexpr heads(T* data_, std::size_t tokens_, std::size_t heads_, std::size_t length_,
                  std::size_t token_stride_) noexcept
      : data(data_),
        tokens(tokens_),
        heads_per_token(heads_),
        length(length_),
        token_stride(token_stride_),
        count(tokens_ * heads_) {}
};

/// No gain, no shift, no output: stands where a call takes gamma, beta, mean or rstd.
struct none_t {};
// Hidden, here and below: a unique symbol keeps a plugin from being unloaded.
/// The value to write: rms_norm(x, none, y).
[[gnu::visibility("hidden")]] inline constexpr none_t none{};

/// Gemma's gain: 1 + gamma, added in the type of the arithmetic.
template <class Gamma>
struct one_plus {
  const Gamma& gamma;  ///< by reference: for the duration of a call
  /// Of gamma as a call takes it.
  constexpr explicit one_plus(const Gamma& gamma_) noexcept : gamma(gamma_) {}
};

/// The gain of LLaMA, T5 and ONNX: the normalized number is rounded to x's type, then times gamma.
template <class Gamma>
struct after_rounding {
  const Gamma& gamma;  ///< by reference: for the duration of a call
  /// Of gamma as a call takes it, or of one_plus(gamma).
  constexpr explicit after_rounding(const Gamma& gamma_) noexcept : gamma(gamma_) {}
};

/// What a forward call gave for each row, in place of eps in a backward call or another forward
/// call: saved(rstd) for RMSNorm, saved(mean, rstd) for LayerNorm.
template <class Mean, class Rstd>
struct saved {
  const Mean& mean;  ///< a number per row, or none
  const Rstd& rstd;  ///< a number per row
  /// For LayerNorm.
  constexpr saved(const Mean& mean_, const Rstd& rstd_) noexcept : mean(mean_), rstd(rstd_) {}
  /// For RMSNorm.
  constexpr explicit saved(const Rstd& rstd_) noexcept : mean(none), rstd(rstd_) {}
};
/// The types of the word from its arguments.
template <class Rstd>
saved(const Rstd&) -> saved<none_t, Rstd>;

/// Rows of int8 as the output of a call. quantized(q, scales): each row's scale is max|y| / 127 and
/// goes to `scales`; a row of zeros has scale 0, a row with NaN or infinity has scale NaN and
/// zeros. quantized(q, scale): one given scale, numbers beyond int8 saturate. q = y / scale,
/// rounded to nearest even (as y times the number of the arithmetic's type next to 1 / scale).
template <class Q, class Scale>
struct quantized {
  Q&& q;          ///< rows of int8
  Scale&& scale;  ///< a float or double for each row, which is written, or one number
  /// As the output of a call.
  constexpr quantized(Q&& q_, Scale&& scale_) noexcept
      : q(static_cast<Q&&>(q_)), scale(static_cast<Scale&&>(scale_)) {}
};
/// The types of the word from its arguments.
template <class Q, class Scale>
quantized(Q&&, Scale&&) -> quantized<Q, Scale>;

/// y written by stores that pass by the cache: for what is not read again soon. Without a word that
/// is done for a y that is not x from the size on that detail/streaming.hpp tells. Rows of up to
/// 1024 bytes that begin within a register's bytes, and ISAs without such stores, are written as
/// ever.
template <class Y>
struct streaming {
  Y&& y;  ///< the output
  /// Of y as a call takes it.
  constexpr explicit streaming(Y&& y_) noexcept : y(static_cast<Y&&>(y_)) {}
};
/// The types of the word from its arguments.
template <class Y>
streaming(Y&&) -> streaming<Y>;

/// y written through the cache, however large it is: for what is read again at once.
template <class Y>
struct cached {
  Y&& y;  ///< the output
  /// Of y as a call takes it.
  constexpr explicit cached(Y&& y_) noexcept : y(static_cast<Y&&>(y_)) {}
};
/// The types of the word from its arguments.
template <class Y>
cached(Y&&) -> cached<Y>;

/// What comes first in gated_rms_norm.
enum class gate_order {
  norm_first,  ///< y = rms_norm(x, gamma) * silu(z)
  gate_first   ///< y = rms_norm(x * silu(z), gamma)
};
/// The word for a call.
[[gnu::visibility("hidden")]] inline constexpr gate_order norm_first = gate_order::norm_first;
/// The word for a call.
[[gnu::visibility("hidden")]] inline constexpr gate_order gate_first = gate_order::gate_first;

/// eps added to the root, not under it: \f$x / (\sqrt{\mathrm{mean}(x^2)} + \epsilon)\f$, as the
/// paper's own code has it.
struct outside_root {
  double value;  ///< eps
  /// outside_root(1e-8)
  constexpr explicit outside_root(double eps) noexcept : value(eps) {}
};

/// What every call takes as eps: a number (under the root) or outside_root(number).
struct epsilon {
  double value;  ///< eps, finite and not negative
  bool outside;  ///< whether it is added to the root
  /// Under the root.
  constexpr epsilon(double eps) noexcept : value(eps), outside(false) {}
  /// Beside it.
  constexpr epsilon(outside_root eps) noexcept : value(eps.value), outside(true) {}
};

}  // namespace rownorm
