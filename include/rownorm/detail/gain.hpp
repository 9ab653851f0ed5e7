// SPDX-License-Identifier: MIT
// What a normalized number is multiplied by and what is added to it: gamma and its words, beta.
// Never a statistic.
#pragma once

#include <cstddef>
#include <type_traits>

#include "source.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// gamma or beta: one row for all, or `count` rows in turn, one for each head of a token.
template <class S>
struct parameter {
  const S* data;
  std::size_t stride, count;

  ROWNORM_INLINE memory_row<const S> at_row(std::size_t i) const {
    if (count <= 1) return {data};
    return {data + (i < count ? i : i % count) * stride};
  }
  ROWNORM_INLINE std::size_t rows_in_turn() const { return count > 1 ? count : 0; }
  ROWNORM_INLINE parameter take(row_span rows) const {
    if (count <= 1) return *this;
    return {data + rows.first % count * stride, stride, rows.step > 1 ? 1 : count};
  }
};

struct no_parameter {
  ROWNORM_INLINE absent_row at_row(std::size_t) const { return {}; }
  ROWNORM_INLINE std::size_t rows_in_turn() const { return 0; }
  ROWNORM_INLINE no_parameter take(row_span) const { return {}; }
};

/// 1 + gamma.
template <class Gamma>
struct one_plus_row {
  using stored = typename Gamma::stored;
  static constexpr bool present = Gamma::present;
  Gamma gamma;

  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> operator()(place<T, Order, Count> at) const {
    return gamma(at) + splat(T(1));
  }
};

/// The gain of after_rounding: affine_row first rounds the normalized number to the type of x.
template <class Gamma>
struct after_rounding_row : Gamma {
  static constexpr bool after_rounding = true;
};
template <class Gamma, class = void>
inline constexpr bool rounds_first = false;
template <class Gamma>
inline constexpr bool rounds_first<Gamma, std::void_t<decltype(Gamma::after_rounding)>> = true;
template <class Gamma>
inline constexpr bool rounds_first<one_plus_row<Gamma>> = rounds_first<Gamma>;
template <class Gamma, class Z>
inline constexpr bool rounds_first<gated_row<Gamma, Z>> = rounds_first<Gamma>;

/// gamma * z + beta of a row; X is the type that after_rounding rounds z to.
template <class X, class Gamma, class Beta>
struct affine_row {
  template <class T, class... S>
  using order = order_for<T, S..., typename Gamma::stored, typename Beta::stored>;
  static constexpr bool rounds = rounds_first<Gamma>;
  Gamma gamma;
  Beta beta;

  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> operator()(place<T, Order, Count> at, pack<T> z) const {
    if constexpr (rounds) z = rounded_to<X>(at, z);
    if constexpr (Gamma::present && Beta::present) return fma(z, gamma(at), beta(at));
    else if constexpr (Gamma::present) return z * gamma(at);
    else if constexpr (Beta::present) return z + beta(at);
    else return z;
  }
};
/// The gain and the shift of a call.
template <class X, class Gamma, class Beta>
struct affine {
  Gamma gamma;
  Beta beta;

  ROWNORM_INLINE auto at_row(std::size_t i) const {
    return affine_row<X, decltype(gamma.at_row(i)), decltype(beta.at_row(i))>{gamma.at_row(i),
                                                                              beta.at_row(i)};
  }
  ROWNORM_INLINE std::size_t rows_in_turn() const { return detail::rows_in_turn(gamma, beta); }
  ROWNORM_INLINE auto take(row_span rows) const {
    using G = decltype(gamma.take(rows));
    using B = decltype(beta.take(rows));
    return affine<X, G, B>{gamma.take(rows), beta.take(rows)};
  }
};
template <class X, class Gamma, class Beta>
inline constexpr bool has_tokens<affine<X, Gamma, Beta>> = has_tokens<Gamma> || has_tokens<Beta>;

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
