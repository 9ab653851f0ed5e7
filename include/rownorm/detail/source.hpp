// SPDX-License-Identifier: MIT
// What a half of a norm reads, row by row: memory, sums with a residual, gates; and matrices of
// such rows. Never finds a statistic, never writes y.
#pragma once

#include <cstddef>
#include <limits>
#include <type_traits>
#include <utility>

#include "silu.hpp"
#include "sum.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// ---------------------------------------------------------------------------------------------
// A row is a function of a place: row(at) is the pack of its numbers there. `stored` is the type
// that they have in memory, void where they are computed.
// ---------------------------------------------------------------------------------------------

/// A row as it lies in memory.
template <class S>
struct memory_row {
  using stored = std::remove_const_t<S>;
  static constexpr bool present = true;
  S* data;

  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> operator()(place<T, Order, Count> at) const {
    return load(at, data);
  }
};

/// No gamma or no beta; 1 for a fallback, which multiplies by any gamma.
struct absent_row {
  using stored = none_t;
  static constexpr bool present = false;

  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> operator()(place<T, Order, Count>) const {
    return splat(T(1));
  }
};

/// residual + x, rounded to residual's type and stored there.
template <class X, class R>
struct added_row {
  using stored = std::conditional_t<std::is_same_v<typename X::stored, typename R::stored>,
                                    typename X::stored, void>;
  X x;
  R residual;

  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> operator()(place<T, Order, Count> at) const {
    return store_rounded(at, residual.data, residual(at) + x(at));
  }
  /// The same number without the store.
  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> peek(place<T, Order, Count> at) const {
    return rounded_to<typename R::stored>(residual(at) + x(at));
  }
};

/// x * silu(z). `stored` is void, which keeps it in order: a NaN that comes of e^z may have any
/// bits, and even_odd's rounding keeps only some NaN.
template <class X, class Z>
struct gated_row {
  using stored = void;
  static constexpr bool present = true;
  X x;
  Z z;

  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> operator()(place<T, Order, Count> at) const {
    const pack<T> gate = silu(z(at));
    if constexpr (X::present) return x(at) * gate;
    else return gate;
  }
};

/// A pack of a row without the store that reading it may bring.
template <class Source, class Place>
ROWNORM_INLINE auto peek(const Source& source, Place at) {
  return source(at);
}
template <class X, class R, class Place>
ROWNORM_INLINE auto peek(const added_row<X, R>& source, Place at) {
  return source.peek(at);
}

/// A row of memory, and the bytes from it to the row to prefetch; 0: none.
template <class S>
struct prefetching_row : memory_row<S> {
  std::size_t to_next;
};
template <class Source, class Place>
ROWNORM_INLINE void prefetch_next(const Source&, Place) {}
template <class S, class T, class Order, class Count>
ROWNORM_INLINE void prefetch_next(const prefetching_row<S>& row, place<T, Order, Count> at) {
  if (row.to_next != 0)
    for (std::size_t i = 0; i < pack_width<T>; i += 64 / sizeof(S))
      prefetch(row.data + at.i + i, row.to_next);
}

/// Whether a row of memory is zeros alone, as padding is: no fallback is needed then.
template <class Source>
ROWNORM_INLINE bool holds_zeros(std::size_t, const Source&) {
  return false;
}
template <class S>
ROWNORM_FLAT ROWNORM_COLD bool holds_zeros(std::size_t n, memory_row<S> x) {
  using T = std::conditional_t<std::is_same_v<std::remove_const_t<S>, double>, double, float>;
  // A sum: a maximum may pass over a NaN, and over what it met before one. (Behind the first k of a
  // row there may be one.)
  pack<T> s = splat(T(0));
  each<T, in_order>(n, [&](auto at) ROWNORM_LAMBDA { s = s + abs(x(at)); });
  return in_range(across(s.a + s.b, plus{}), T(0), std::numeric_limits<T>::denorm_min());
}

// ---------------------------------------------------------------------------------------------
// Matrices give a row for each number i of one.
// ---------------------------------------------------------------------------------------------

/// `count` rows of a call from row `first` on, `step` apart: 1 within a token; the heads of a token
/// for one head of many tokens.
struct row_span {
  std::size_t first, step, count;
};

/// Where rows lie: `stride` numbers apart.
template <class S, bool Tokens = false>
struct matrix {
  using stored = std::remove_const_t<S>;
  S* data;
  std::size_t stride;

  ROWNORM_INLINE S* row(std::size_t i) const { return data + i * stride; }
  ROWNORM_INLINE memory_row<S> at_row(std::size_t i) const { return {row(i)}; }
  ROWNORM_INLINE std::size_t rows_in_turn() const { return 0; }
  ROWNORM_INLINE matrix take(row_span rows) const { return {row(rows.first), stride * rows.step}; }
};
/// Heads: those of a token, per_token of them, lie `stride` numbers apart, tokens token_stride.
/// per_token = 0: all rows are of one token.
template <class S>
struct matrix<S, true> {
  using stored = std::remove_const_t<S>;
  S* data;
  std::size_t stride, per_token, token_stride;

  ROWNORM_INLINE S* row(std::size_t i) const {
    if (per_token == 0) return data + i * stride;
    return data + i / per_token * token_stride + i % per_token * stride;
  }
  ROWNORM_INLINE memory_row<S> at_row(std::size_t i) const { return {row(i)}; }
  ROWNORM_INLINE std::size_t rows_in_turn() const { return per_token; }
  ROWNORM_INLINE matrix<S> take(row_span rows) const {
    const bool across = rows.step == per_token && per_token != 0;
    return {row(rows.first), across ? token_stride : stride * rows.step};
  }
};

/// The same value for every row.
template <class V>
struct for_all_rows {
  V value;
  ROWNORM_INLINE V at_row(std::size_t) const { return value; }
  ROWNORM_INLINE std::size_t rows_in_turn() const { return 0; }
  ROWNORM_INLINE for_all_rows take(row_span) const { return *this; }
};

/// One number per row, `step` numbers apart: mean, rstd, scales. S is none_t where nobody asked.
template <class S>
struct column {
  S* data;
  std::size_t step = 1;
  ROWNORM_INLINE void set(std::size_t i, double v) const {
    if constexpr (!std::is_same_v<S, none_t>) data[i * step] = static_cast<S>(v);
  }
  ROWNORM_INLINE S* at_row(std::size_t i) const { return data + i * step; }
  ROWNORM_INLINE std::size_t rows_in_turn() const { return 0; }
  ROWNORM_INLINE column take(row_span rows) const {
    return {data == nullptr ? nullptr : data + rows.first * step, rows.step * step};
  }
};

/// Row i, which prefetches row i + ahead. That may lie behind the last row: the prefetch does no
/// harm, a check would cost each row.
template <class M>
ROWNORM_INLINE auto at_row_ahead(const M& m, std::size_t i, std::size_t) {
  return m.at_row(i);
}
template <class S, bool Tokens>
ROWNORM_INLINE prefetching_row<S> at_row_ahead(const matrix<S, Tokens>& m, std::size_t i,
                                               std::size_t ahead) {
  // Heads are too short to gain.
  return {{m.row(i)}, m.rows_in_turn() == 0 ? ahead * m.stride * sizeof(S) : 0};
}

/// Whether M may be heads, whose rows do not lie at one distance.
template <class M>
inline constexpr bool has_tokens = false;
template <class S>
inline constexpr bool has_tokens<matrix<S, true>> = true;

/// How many rows in turn lie at one distance in each of m...; 0: all rows, do_not_agree: two
/// matrices differ.
inline constexpr std::size_t do_not_agree = static_cast<std::size_t>(-1);
template <class... M>
ROWNORM_INLINE std::size_t rows_in_turn(const M&... m) {
  std::size_t agreed = 0;
  const auto look = [&](std::size_t n) ROWNORM_LAMBDA {
    if (n != 0) agreed = agreed == 0 || agreed == n ? n : do_not_agree;
  };
  (look(m.rows_in_turn()), ...);
  return agreed;
}

template <std::size_t I, class M>
struct numbered {
  M value;
};
template <class Indices, template <class...> class Row, class... M>
struct over_indexed;
template <std::size_t... I, template <class...> class Row, class... M>
struct over_indexed<std::index_sequence<I...>, Row, M...> : numbered<I, M>... {
  template <std::size_t J>
  ROWNORM_INLINE const auto& get() const {
    return at_index<J>(*this);
  }
  ROWNORM_INLINE auto at_row(std::size_t i) const {
    return Row<decltype(std::declval<const M&>().at_row(i))...>{get<I>().at_row(i)...};
  }
  ROWNORM_INLINE std::size_t rows_in_turn() const { return detail::rows_in_turn(get<I>()...); }
  ROWNORM_INLINE auto take(row_span rows) const {
    using taken = over_indexed<std::index_sequence<I...>, Row,
                               decltype(std::declval<const M&>().take(rows))...>;
    return taken{{get<I>().take(rows)}...};
  }

 private:
  template <std::size_t J, class N>
  static ROWNORM_INLINE const N& at_index(const numbered<J, N>& m) {
    return m.value;
  }
};
/// The matrix whose row i is Row of the rows i of m...
template <template <class...> class Row, class... M>
ROWNORM_INLINE auto over(const M&... m) {
  return over_indexed<std::index_sequence_for<M...>, Row, M...>{{m}...};
}
template <class Indices, template <class...> class Row, class... M>
inline constexpr bool has_tokens<over_indexed<Indices, Row, M...>> = (has_tokens<M> || ...);

/// What a forward call reads: `first` in the first half, which may store as it goes; `again` in the
/// second half and in a fallback.
template <class First, class Again>
struct input {
  First first;
  Again again;
  ROWNORM_INLINE std::size_t rows_in_turn() const { return detail::rows_in_turn(first, again); }
  ROWNORM_INLINE auto take(row_span rows) const {
    return input<decltype(first.take(rows)), decltype(again.take(rows))>{first.take(rows),
                                                                         again.take(rows)};
  }
};
template <class First, class Again>
input(First, Again) -> input<First, Again>;
template <class First, class Again>
inline constexpr bool has_tokens<input<First, Again>> = has_tokens<First> || has_tokens<Again>;

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
