// SPDX-License-Identifier: MIT
// The two halves of every norm and the loops over rows; no Eigen, threads, checks or allocation.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>

#include "../types.hpp"
#include "silu.hpp"
#include "storage.hpp"
#include "sum.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// ---------------------------------------------------------------------------------------------
// Rows: where row i begins.
// ---------------------------------------------------------------------------------------------

template <class S, std::size_t Length>
ROWNORM_INLINE S* row(const rows<S, Length>& m, std::size_t i) {
  return m.data + i * m.stride;
}
template <class S>
ROWNORM_INLINE S* row(const heads<S>& m, std::size_t i) {
  return m.data + i / m.heads_per_token * m.token_stride + i % m.heads_per_token * m.length;
}

/// The numbers of a row: a constant where the type fixes them, which spares short rows much.
template <class S, std::size_t Length>
ROWNORM_INLINE std::size_t row_length(const rows<S, Length>& m) {
  return Length == dynamic ? m.length : Length;
}
template <class S>
ROWNORM_INLINE std::size_t row_length(const heads<S>& m) {
  return m.length;
}

/// How far it is to the row `ahead` rows on, which the memory is asked for: of heads, which are
/// short, nothing. (It may lie behind the last row: to ask for what is not there does no harm, and
/// to look costs each row. 64x64 and 64x128 floats: 0.93 of the time.)
template <class S, std::size_t Length>
ROWNORM_INLINE std::size_t bytes_to(const rows<S, Length>& m, std::size_t ahead) {
  return ahead * m.stride * sizeof(S);
}
template <class S>
ROWNORM_INLINE std::size_t bytes_to(const heads<S>&, std::size_t) {
  return 0;
}

/// gamma or beta: one row for all, or one for each of `heads` rows in turn. S is none_t where there
/// is none. OnePlus: the factor is 1 + gamma. AfterRounding: what it multiplies is rounded first.
template <class S, bool OnePlus = false, bool AfterRounding = false>
struct parameter {
  using stored = S;
  static constexpr bool present = !std::is_same_v<S, none_t>;
  static constexpr bool after_rounding = AfterRounding;
  const S* data;
  std::size_t length;
  std::size_t heads;

  ROWNORM_INLINE parameter at_row(std::size_t i) const {
    if (heads <= 1) return *this;
    return {data + (i < heads ? i : i % heads) * length, length, 1};
  }
  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> operator()(place<T, Order, Count> at) const {
    if constexpr (OnePlus) return load(at, data) + splat(T(1));
    else return load(at, data);
  }
};
using no_parameter = parameter<none_t>;

/// gamma * silu(z), z a matrix: the gain of each row with a gate behind it.
template <class Gamma, class Z>
struct gated_parameter {
  using stored = void;  // as for gated
  static constexpr bool present = true;
  static constexpr bool after_rounding = Gamma::after_rounding;
  Gamma gamma;
  Z z;
  std::size_t i = 0;

  ROWNORM_INLINE gated_parameter at_row(std::size_t r) const { return {gamma.at_row(r), z, r}; }
  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> operator()(place<T, Order, Count> at) const {
    const pack<T> s = silu(load(at, row(z, i)));
    if constexpr (Gamma::present) return gamma(at) * s;
    else return s;
  }
};

/// One number per row, `step` numbers apart: mean, rstd, scales. S is none_t where nobody asked.
template <class S>
struct column {
  S* data;
  std::size_t step = 1;
  ROWNORM_INLINE void set(std::size_t i, double v) const {
    if constexpr (!std::is_same_v<S, none_t>) data[i * step] = static_cast<S>(v);
  }
};

// ---------------------------------------------------------------------------------------------
// What a half reads.
// ---------------------------------------------------------------------------------------------

/// A row as it lies in memory.
template <class S>
struct from {
  using stored = std::remove_const_t<S>;
  const stored* data;
  std::size_t to_next = 0;  // bytes to the row that is read next; 0 where it is not asked for
  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> operator()(place<T, Order, Count> at) const {
    return load(at, data);
  }
};

/// x * silu(z).
template <class X, class Z>
struct gated {
  using stored = void;  // in_order: a NaN from e^z may have any bits, which even_odd does not round
  const X* x;
  const Z* z;
  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> operator()(place<T, Order, Count> at) const {
    return load(at, x) * silu(load(at, z));
  }
};

/// residual + x, stored in residual and rounded to its type.
template <class X, class R>
struct added {
  using stored = std::conditional_t<std::is_same_v<X, R>, X, void>;
  const X* x;
  R* residual;
  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> operator()(place<T, Order, Count> at) const {
    return store_rounded(at, residual, load(at, residual) + load(at, x));
  }
  template <class T, class Order, class Count>
  ROWNORM_INLINE pack<T> peek(place<T, Order, Count> at) const {
    return rounded_to<R>(load(at, residual) + load(at, x));
  }
};

/// What the first half reads, which may store as it goes, and what is read after that.
template <class X>
struct input {
  X x;
  explicit input(const X& x_) : x(x_) {}
  ROWNORM_INLINE auto first(std::size_t i) const { return second(i); }
  ROWNORM_INLINE auto second(std::size_t i, std::size_t ahead = 1) const {
    return from<typename X::value_type>{row(x, i), bytes_to(x, ahead)};
  }
};
template <class X, class R>
struct input_added {
  X x;
  R residual;
  input_added(const X& x_, const R& residual_) : x(x_), residual(residual_) {}
  ROWNORM_INLINE auto first(std::size_t i) const {
    return added<std::remove_const_t<typename X::value_type>, typename R::value_type>{
        row(x, i), row(residual, i)};
  }
  ROWNORM_INLINE auto second(std::size_t i, std::size_t = 1) const {
    return from<typename R::value_type>{row(residual, i)};
  }
};

template <class X, class Z>
struct input_gated {
  X x;
  Z z;
  input_gated(const X& x_, const Z& z_) : x(x_), z(z_) {}
  ROWNORM_INLINE auto first(std::size_t i) const { return second(i); }
  ROWNORM_INLINE auto second(std::size_t i, std::size_t = 1) const {
    return gated<std::remove_const_t<typename X::value_type>,
                 std::remove_const_t<typename Z::value_type>>{row(x, i), row(z, i)};
  }
};

/// Whether a row is zeros alone, as padding is: it need not be done again. Of other sources than
/// memory nobody knows.
template <class T, class Source>
ROWNORM_INLINE bool holds_zeros(std::size_t, const Source&) {
  return false;
}
template <class T, class S>
ROWNORM_FLAT ROWNORM_COLD bool holds_zeros(std::size_t n, from<S> x) {
  // A sum, which a NaN behind the first k of a row spoils: a maximum may pass over it, and over
  // what it met before.
  pack<T> s = splat(T(0));
  each<T, in_order>(n, [&](auto at) ROWNORM_LAMBDA { s = s + abs(x(at)); });
  return in_range(across(s.a + s.b, plus{}), T(0), std::numeric_limits<T>::denorm_min());
}

/// Asks the memory for the row that is read next.
template <class Source, class Place>
ROWNORM_INLINE void fetch_next(const Source&, Place) {}
template <class S, class T, class Order, class Count>
ROWNORM_INLINE void fetch_next(const from<S>& source, place<T, Order, Count> at) {
  if (source.to_next != 0)
    for (std::size_t i = 0; i < pack_width<T>; i += 64 / sizeof(S))
      prefetch(source.data + at.i + i, source.to_next);
}

template <class Source, class Place>
ROWNORM_INLINE auto peek(const Source& source, Place at) {
  return source(at);
}
template <class X, class R, class Place>
ROWNORM_INLINE auto peek(const added<X, R>& source, Place at) {
  return source.peek(at);
}

// ---------------------------------------------------------------------------------------------
// The second half: y = gamma * (x - mu) * r + beta.
// ---------------------------------------------------------------------------------------------

/// A row that is written as it lies in memory; `streaming`: past the cache.
template <class S>
struct to {
  using stored = S;
  S* data;
  bool streaming = false;
  template <class T, class Order, class Count>
  ROWNORM_INLINE void put(place<T, Order, Count> at, pack<T> v) const {
    store(at, data, v);
  }
};

/// A row that is added to.
template <class S>
struct to_sum {
  using stored = S;
  S* data;
  template <class T, class Order, class Count>
  ROWNORM_INLINE void put(place<T, Order, Count> at, pack<T> v) const {
    store(at, data, load(at, data) + v);
  }
};

/// A row of int8 whose scale is given: y / scale, rounded to nearest even, saturated.
struct to_int8 {
  using stored = std::int8_t;
  std::int8_t* data;
  double inverse;
  template <class T, class Order, class Count>
  ROWNORM_INLINE void put(place<T, Order, Count> at, pack<T> v) const {
    const T factor = static_cast<T>(inverse);
    const pack<T> clamped = minimum(maximum(v * splat(factor), splat(T(-128))), splat(T(127)));
    store_int8(data + at.i, clamped, T(1), at.n);
  }
};

/// A row of int8 whose scale comes from the largest of |y|, which the first half finds.
template <class S>
struct to_int8_by_peak {
  using stored = std::int8_t;
  std::int8_t* data;
  S* scale;
};

template <class Y>
struct output {
  Y y;
  bool streaming;
  explicit output(const Y& y_, bool streaming_ = false) : y(y_), streaming(streaming_) {}
  ROWNORM_INLINE auto at_row(std::size_t i) const {
    auto* const p = row(y, i);
    return to<typename Y::value_type>{p, streaming && starts_register(p)};
  }
};

/// The end of a kernel's rows: other threads see y before what comes later.
template <class Y>
ROWNORM_INLINE void end_rows(const Y&) {}
template <class Y>
ROWNORM_INLINE void end_rows(const output<Y>& y) {
  if (y.streaming) end_past_cache();
}

template <class Y>
struct output_sum {
  Y y;
  explicit output_sum(const Y& y_, bool = false) : y(y_) {}  // what is read stays in the cache
  ROWNORM_INLINE auto at_row(std::size_t i) const {
    return to_sum<typename Y::value_type>{row(y, i)};
  }
};
template <class Q>
struct output_int8 {
  Q q;
  double inverse;
  ROWNORM_INLINE to_int8 at_row(std::size_t i) const { return {row(q, i), inverse}; }
};
template <class Q, class S>
struct output_int8_by_peak {
  Q q;
  column<S> scales;
  ROWNORM_INLINE to_int8_by_peak<S> at_row(std::size_t i) const {
    return {row(q, i), scales.data + i * scales.step};
  }
};

template <class Y>
inline constexpr bool needs_peak = false;
template <class S>
inline constexpr bool needs_peak<to_int8_by_peak<S>> = true;

// ---------------------------------------------------------------------------------------------
// The same with types that are told at run time, in double: what rows are done again with.
// ---------------------------------------------------------------------------------------------

/// A row that is read, times a power of two; where there is a gate, times silu(gate).
struct any_row {
  using stored = void;
  load_any* load;
  const void* data;
  bool may_leave_range;  // squares, that of double
  load_any* load_gate = nullptr;
  const void* gate = nullptr;
  double scale = 1;

  template <class Count>
  ROWNORM_INLINE pack<double> operator()(place<double, in_order, Count> at) const {
    pack<double> v = load(data, of_any(at));
    if (load_gate != nullptr) v = v * load_gate(gate, of_any(at));
    return v * splat(scale);
  }
};
template <class S>
ROWNORM_INLINE any_row of_any(const from<S>& x, double scale = 1) {
  using stored = typename from<S>::stored;
  return {load_doubles<stored>, x.data, std::is_same_v<stored, double>, nullptr, nullptr, scale};
}
template <class X, class Z>
ROWNORM_INLINE any_row of_any(const gated<X, Z>& x, double scale = 1) {
  return {load_doubles<X>, x.x, false, load_silu<Z>, x.z, scale};
}

/// gamma, or beta. Where it is absent it is 1, or -0, which change nothing.
struct any_parameter {
  using stored = void;
  static constexpr bool present = true;
  static constexpr bool after_rounding = true;
  double absent = 1;
  load_any* load = nullptr;
  const void* data = nullptr;
  bool one_plus = false;
  round_any* round = nullptr;  // what is multiplied goes through this first
  load_any* load_gate = nullptr;
  const void* gate = nullptr;

  template <class Count>
  ROWNORM_INLINE pack<double> operator()(place<double, in_order, Count> at) const {
    pack<double> v = splat(absent);
    if (data != nullptr) v = load(data, of_any(at));
    if (one_plus) v = v + splat(1.0);
    if (load_gate != nullptr) v = v * load_gate(gate, of_any(at));
    return v;
  }
};
/// X: the type of the row that it multiplies, or is added to.
template <class X, class S, bool OnePlus, bool AfterRounding>
ROWNORM_INLINE any_parameter of_any(const parameter<S, OnePlus, AfterRounding>& p,
                                    double absent = 1) {
  any_parameter any{absent};
  if constexpr (parameter<S>::present) {
    any.load = load_doubles<S>;
    any.data = p.data;
    any.one_plus = OnePlus;
  }
  if constexpr (AfterRounding && !std::is_void_v<X>) any.round = round_doubles<X>;
  return any;
}
template <class X, class Gamma, class Z>
ROWNORM_INLINE any_parameter of_any(const gated_parameter<Gamma, Z>& p) {
  any_parameter gamma = of_any<X>(p.gamma);
  gamma.load_gate = load_silu<std::remove_const_t<typename Z::value_type>>;
  gamma.gate = row(p.z, p.i);
  return gamma;
}
template <class X, class Beta>
ROWNORM_INLINE any_parameter any_shift(const Beta& beta) {
  return of_any<X>(beta, -0.0);
}

/// A row that is written, or added to.
struct any_to {
  using stored = void;
  store_any* store;
  void* data;
  load_any* load = nullptr;  // where it is added to
  template <class Count>
  ROWNORM_INLINE void put(place<double, in_order, Count> at, pack<double> v) const {
    if (load != nullptr) v = load(data, of_any(at)) + v;
    store(data, of_any(at), v);
  }
};
template <class S>
ROWNORM_INLINE any_to of_any(const to<S>& y) {
  return {store_doubles<S>, y.data};
}
template <class S>
ROWNORM_INLINE any_to of_any(const to_sum<S>& y) {
  return {store_doubles<S>, y.data, load_doubles<S>};
}
/// Other outputs as they are.
template <class Y>
ROWNORM_INLINE const Y& of_any(const Y& y) {
  return y;
}

/// y takes value(place), all along a row of n numbers. Past the cache the next row of each source
/// is asked for meanwhile: one loop that asks at each pack, which costs nothing beside the stores
/// and a quarter less to compile than a loop for each.
template <class T, class Order, class Y, class Value, class... Sources>
ROWNORM_INLINE void write_row(std::size_t n, const Y& y, Value value, const Sources&...) {
  each<T, Order>(n, [&](auto at) ROWNORM_LAMBDA { y.put(at, value(at)); });
}
template <class T, class Order, class S, class Value, class... Sources>
ROWNORM_INLINE void write_row(std::size_t n, const to<S>& y, Value value,
                              const Sources&... sources) {
  each<T, Order>(n, [&](auto at) ROWNORM_LAMBDA {
    const pack<T> v = value(at);
    if (ROWNORM_LIKELY(!y.streaming)) return y.put(at, v);
    (fetch_next(sources, at), ...);
    y.put(streamed(at), v);
  });
}

/// The same where value(place) may be found twice: the end of a row is a whole pack that overlaps
/// the one before, found before anything is stored, since y may be x. (To store a part of a pack
/// takes a dozen cycles on a Zen 3.)
template <class T, class Order, class Y, class Value, class... Sources>
ROWNORM_INLINE void write_row_by_packs(std::size_t n, const Y& y, Value value,
                                       const Sources&... sources) {
  write_row<T, Order>(n, y, value, sources...);
}
template <class T, class Order, class S, class Value, class... Sources>
ROWNORM_INLINE void write_row_by_packs(std::size_t n, const to<S>& y, Value value,
                                       const Sources&... sources) {
  const std::size_t rest = n % pack_width<T>;
  const bool overlaps = !ROWNORM_LIKELY(rest == 0) && n > pack_width<T> && !y.streaming;
  const place<T, Order, full> end{n - pack_width<T>, {}};
  pack<T> last;
  if (overlaps) last = value(end);
  write_row<T, Order>(overlaps ? n - rest : n, y, value, sources...);
  if (overlaps) y.put(end, last);
}

/// gamma * z + beta, where they are; X is the type that after_rounding rounds z to.
template <class X, class T, class Order, class Count, class Gamma, class Beta>
ROWNORM_INLINE pack<T> scale_and_shift(place<T, Order, Count> at, pack<T> z, const Gamma& gamma,
                                       const Beta& beta) {
  if constexpr (Gamma::after_rounding) z = rounded_to<X>(at, z);
  if constexpr (Gamma::present && Beta::present) return fma(z, gamma(at), beta(at));
  else if constexpr (Gamma::present) return z * gamma(at);
  else if constexpr (Beta::present) return z + beta(at);
  else return z;
}

template <class X, class Count, class Beta>
ROWNORM_INLINE pack<double> scale_and_shift(place<double, in_order, Count> at, pack<double> z,
                                            const any_parameter& gamma, const Beta& beta) {
  if (gamma.round != nullptr) z = gamma.round(z);
  if constexpr (Beta::present) return fma(z, gamma(at), beta(at));
  else return z * gamma(at);
}

/// Below this, 127 / peak is no T: such a row becomes zeros.
template <class T>
inline constexpr double least_peak = std::is_same_v<T, float> ? 0x1p-120 : 0x1p-1010;

/// normalized(place) is (x - mu) * r there; `peak`: the largest of |y|, below 0 where the first
/// half did not find it.
template <class T, class Source, class Gamma, class Beta, class Y, class Normalized>
ROWNORM_INLINE void apply(std::size_t n, const Source& x, const Gamma& gamma, const Beta& beta,
                          const Y& y, Normalized normalized, [[maybe_unused]] double peak = -1) {
  using X = typename Source::stored;
  using order = order_for<T, X, typename Gamma::stored, typename Beta::stored, typename Y::stored>;
  const auto result = [&](auto at) ROWNORM_LAMBDA {
    return scale_and_shift<X>(at, normalized(at), gamma, beta);
  };
  if constexpr (!needs_peak<Y>) {
    write_row_by_packs<T, order>(n, y, result, x);
  } else {
    if (peak < 0) {
      // Beside the largest a sum of v * 0: a maximum may pass over a NaN.
      const totals<2> t =
          sum<T, in_order, 2, 1>(n, [&](auto at, pack<T>& s, pack<T>& m) ROWNORM_LAMBDA {
            const pack<T> v = zero_beyond(at, result(at));
            s = fma(v, splat(T(0)), s);
            m = maximum(m, abs(v));
          });
      peak = t.of[0] == 0 ? t.of[1] : std::numeric_limits<double>::quiet_NaN();
    }
    // No integers stand for a row that holds NaN or infinity: its scale is NaN, its integers are 0.
    const bool finite = in_range(peak, 0.0, std::numeric_limits<double>::infinity());
    const double inverse = finite && peak > least_peak<T> ? 127 / peak : 0;
    using S = std::remove_pointer_t<decltype(y.scale)>;
    *y.scale = finite ? static_cast<S>(peak / 127) : std::numeric_limits<S>::quiet_NaN();
    each<T, order>(n, [&](auto at) ROWNORM_LAMBDA {
      const pack<T> v = finite ? result(at) : splat(T(0));
      store_int8(y.data + at.i, v, static_cast<T>(inverse), at.n);
    });
  }
}

/// Rows in two halves: found = first(i), then second(i, found, r, ahead), row i + ahead being the
/// one to ask for (0: none). Between them factors(r, m, last) makes the r of m rows from
/// spread(found), which of the last row is `last`, and gives back that of the first.
/// Short rows go in blocks: the quotients and the roots of a block are taken side by side in a
/// register, and while one sum ends the next begins (64x128 floats: 0.68 of the time of a row after
/// the other). What leads from one row alone to its r is never in memory, where it would wait twice
/// (one row of 64 to 256 numbers: 0.88 to 0.95 of the time).
template <class First, class Spread, class Factors, class Second>
ROWNORM_INLINE void in_two_halves(std::size_t begin, std::size_t end, std::size_t row_bytes,
                                  First first, Spread spread, Factors factors, Second second) {
  constexpr std::size_t most = 16;
  const std::size_t fit = (std::size_t{16} << 10) / row_bytes;  // half of a small L1
  const std::size_t block = fit < 1 ? 1 : fit < most ? fit : most;
  decltype(first(begin)) found[most];
  double r[most];
  for (std::size_t i = begin; i < end; i += block) {
    const std::size_t m = end - i < block ? end - i : block;
    double last = 0;
    ROWNORM_ONCE
    for (std::size_t j = 0; j < m; ++j) {
      found[j] = first(i + j);
      r[j] = last = spread(found[j]);
    }
    double factor = factors(r, m, last);
    const std::size_t ahead = end - i > block ? block : 0;
    for (std::size_t j = 0;; factor = r[j]) {
      second(i + j, found[j], factor, ahead);
      if (++j == m) break;
    }
  }
}

/// Whether the rows of a call may be heads: float arithmetic, from rows to rows, gamma (and beta)
/// as it is, and nothing kept.
template <class T, class X, class Y, class... Parameters>
inline constexpr bool may_be_heads = false;
template <class X, class Y, class... S>
inline constexpr bool may_be_heads<float, input<X>, output<Y>, parameter<S>...> =
    (parameter<S>::present && ...);

template <std::size_t N>
using length_of = std::integral_constant<std::size_t, N>;

/// rows(n, y), n being a constant (of a type of its own) where `Heads` and it is a usual length of
/// them: such rows need no loop then and no look for an end. Each length takes an eighth of a
/// second to compile, so other calls have none, nor do rows past the cache.
template <bool Heads, class Y, class Rows>
ROWNORM_INLINE void with_length(std::size_t n, const Y& y, const Rows& rows) {
  if constexpr (Heads) {
    if (!y.streaming) {
      const Y to(y.y, false);  // a constant too
      if (n == 64) return rows(length_of<64>{}, to);
      if (n == 128) return rows(length_of<128>{}, to);
      if (n == 256) return rows(length_of<256>{}, to);
    }
  }
  rows(n, y);
}

// ---------------------------------------------------------------------------------------------
// From sums to the factor of a row.
// ---------------------------------------------------------------------------------------------

/// Below this, squares that fell among the subnormals may be felt in a sum of T.
template <class T>
inline constexpr double least = std::is_same_v<T, float> ? 0x1p-100 : 0x1p-900;
/// Above this, the factor of a row may be no normal T.
template <class T>
inline constexpr double largest = std::is_same_v<T, float> ? 0x1p200 : 0x1p1000;
template <class T>
inline constexpr double largest_outside = std::is_same_v<T, float> ? 0x1p100 : 0x1p500;

/// 1 / sqrt(mean_square + eps), and 0 for a row of zeros, so that zeros stay zeros at eps = 0.
ROWNORM_INLINE double reciprocal_root(double mean_square, epsilon eps) {
  const double root =
      eps.outside ? square_root(mean_square) + eps.value : square_root(mean_square + eps.value);
  return root == 0 ? 0 : 1 / root;
}

/// The same from a sum of squares: one division less on the way from a row's first half to its
/// second.
ROWNORM_INLINE double reciprocal_rms(double squares, double length, epsilon eps) {
  const double sum = fma(length, eps.value, squares);
  if (eps.outside || eps.value > 0x1p900 || sum < 0x1p-1000)
    return reciprocal_root(squares / length, eps);
  return square_root(length / sum);
}

/// The same of m rows, none of them zeros at eps = 0, in place of their sums; gives back that of
/// the first. Of one row alone r is not written. Out of line, here and below: with an eps known at
/// run time alone its numbers took registers from the sum, which g++ 12 then kept in memory (one
/// row of 1024 floats: 1.25 of the time).
ROWNORM_FLAT ROWNORM_APART inline double reciprocals_of_rms(double* r, std::size_t m, double last,
                                                            double length, epsilon eps) {
  if (m == 1) return reciprocal_rms(last, length, eps);
  if (eps.outside || eps.value > 0x1p900)
    for (std::size_t i = 0; i < m; ++i) r[i] = reciprocal_root(r[i] / length, eps);
  else
    in_registers(r, m, [&](auto squares) ROWNORM_LAMBDA {
      using V = decltype(squares);
      return square_root(V(length) / fma(V(length), V(eps.value), squares));
    });
  return r[0];
}
/// 1 / sqrt(variance + eps) of m rows, in the same way.
ROWNORM_FLAT ROWNORM_APART inline double reciprocals_of_deviation(double* r, std::size_t m,
                                                                  double last, epsilon eps) {
  if (m == 1) return reciprocal_root(last, eps);
  if (eps.outside)
    for (std::size_t i = 0; i < m; ++i) r[i] = reciprocal_root(r[i], eps);
  else
    in_registers(r, m, [&](auto variance) ROWNORM_LAMBDA {
      using V = decltype(variance);
      return V(1.0) / square_root(variance + V(eps.value));
    });
  return r[0];
}

/// A row of doubles whose squares leave the range is taken times this power of two. Small squares
/// need none beside an eps that is not small, nor do those of equal numbers that are not small.
ROWNORM_INLINE double scale_for(double mean_square, double mean, epsilon eps) {
  if (!(mean_square < 1)) return 0x1p-600;
  const bool lost = eps.outside ? eps.value > 0x1p-450 : eps.value > 0x1p-900;
  return lost || std::fabs(mean) >= 0x1p-300 ? 1 : 0x1p600;
}

/// The eps of numbers times `scale`.
ROWNORM_INLINE epsilon scaled(epsilon eps, double scale) {
  return eps.outside ? epsilon(outside_root(eps.value * scale))
                     : epsilon(eps.value * scale * scale);
}
/// The factor for the scaled numbers, `mean_square` being theirs; times `scale` it is 1/rms.
ROWNORM_INLINE double scaled_factor(double scale, double mean_square, epsilon eps) {
  return reciprocal_root(mean_square, scaled(eps, scale));
}

// ---------------------------------------------------------------------------------------------
// RMSNorm.
// ---------------------------------------------------------------------------------------------

template <class T, class Source>
ROWNORM_INLINE double sum_of_squares(std::size_t n, const Source& x) {
  using order = order_for<T, typename Source::stored>;
  const totals<1> t = sum<T, order, 1>(n, [&](auto at, pack<T>& s) ROWNORM_LAMBDA {
    const pack<T> v = x(at);
    s = fma(v, v, s);
  });
  return t.of[0];
}

/// The same of a row that is done again.
ROWNORM_FLAT ROWNORM_COLD inline double squares_again(std::size_t n, any_row x) {
  return sum_of_squares<double>(n, x);
}

/// The same, and the largest of |x * gamma| beside it.
template <class T, class X, class Source, class Gamma>
ROWNORM_FLAT ROWNORM_APART totals<2> squares_and_peak(std::size_t n, Source x, Gamma gamma) {
  using order = order_for<T, typename Source::stored, typename Gamma::stored>;
  return sum<T, order, 2, 1>(n, [&](auto at, pack<T>& s, pack<T>& m) ROWNORM_LAMBDA {
    const pack<T> v = x(at);
    s = fma(v, v, s);
    m = maximum(m, abs(scale_and_shift<X>(at, v, gamma, no_parameter{})));
  });
}

template <class T, class Source, class Gamma, class Y>
ROWNORM_INLINE void apply_scale(std::size_t n, const Source& x, double r, const Gamma& gamma,
                                const Y& y, double peak = -1) {
  const pack<T> factor = splat(static_cast<T>(r));
  apply<T>(
      n, x, gamma, no_parameter{}, y, [&](auto at) ROWNORM_LAMBDA { return x(at) * factor; }, peak);
}

/// Half of the scale (its root, a power of two as well) goes to the numbers and half to the factor:
/// all of it would take a number far below the row's rms to 0, or one far above the first k of a
/// row, of which its statistic is, to infinity. None where r is 0: infinity times it is no 0.
template <class T, class Gamma, class Y>
ROWNORM_INLINE void apply_scale(std::size_t n, any_row x, double r, const Gamma& gamma,
                                const Y& y) {
  x.scale = r == 0 ? 1 : square_root(x.scale);
  r *= x.scale;
  apply<T>(n, x, gamma, no_parameter{}, y,
           [&](auto at) ROWNORM_LAMBDA { return x(at) * splat(r); });
}

/// Whether a row can leave the range of T: in double, the squares of any other storage stay in it.
template <class T, class X>
inline constexpr bool may_leave_range = std::is_same_v<T, float> || std::is_same_v<X, double>;

/// Whether the factor of a row can be had from this sum of its squares, taken in T.
template <class T>
ROWNORM_INLINE bool usable(double squares, epsilon eps) {
  return in_range(squares, least<T>, std::numeric_limits<double>::infinity()) &&
         eps.value < (eps.outside ? largest_outside<T> : largest<T>);
}

/// What the first half of a row finds: the sum of its squares and, where y asks for it, the largest
/// of |x * gamma| (else a number below 0).
struct squares_and_largest {
  double squares, largest;
};

/// The first half of a row of n numbers, its statistic from the first k of them.
template <class T, class X, class Y, class First, class Gamma>
ROWNORM_INLINE squares_and_largest rms_norm_first(std::size_t n, std::size_t k, const First& x,
                                                  const Gamma& gamma) {
  if constexpr (needs_peak<Y> && !Gamma::after_rounding) {
    if (k == n) {
      const totals<2> t = squares_and_peak<T, X>(n, x, gamma);
      return {t.of[0], t.of[1]};
    }
  }
  return {sum_of_squares<T>(k, x), -1};
}

/// A row whose sum of squares left the range of T: in double, or as scaled doubles. `squares`: that
/// sum, where T is double.
template <class T, class Y>
ROWNORM_FLAT ROWNORM_COLD double rms_norm_row_again(std::size_t n, std::size_t k, any_row x,
                                                    const any_parameter& gamma, const Y& y,
                                                    epsilon eps, double squares) {
  if (std::is_same_v<T, float>) squares = squares_again(k, x);
  if (x.may_leave_range && !usable<double>(squares, eps)) {
    x.scale = scale_for(squares, 0, eps);
    squares = squares_again(k, x);
  }
  const double r = reciprocal_rms(squares, static_cast<double>(k), scaled(eps, x.scale));
  apply_scale<double>(n, x, r, gamma, y);
  return r * x.scale;
}

/// The second half, r being 1/rms where the squares are usable; gives back 1/rms.
template <class T, class Source, class Gamma, class Y>
ROWNORM_INLINE double rms_norm_second(std::size_t n, std::size_t k, const Source& x,
                                      const Gamma& gamma, const Y& y, epsilon eps,
                                      const squares_and_largest& found, double r) {
  using X = typename Source::stored;
  constexpr bool may_leave = may_leave_range<T, X>;
  double factor = r;
  if (!ROWNORM_LIKELY(may_leave ? usable<T>(found.squares, eps) : found.squares != 0)) {
    if constexpr (may_leave)
      if (found.squares != 0 || !holds_zeros<T>(n, x))
        return rms_norm_row_again<T>(n, k, of_any(x), of_any<X>(gamma), of_any(y), eps,
                                     found.squares);
    r = reciprocal_rms(0, static_cast<double>(k), eps);
    factor = may_leave ? 0 : r;  // of zeros alone 1/rms may be infinite in T
  }
  apply_scale<T>(n, x, factor, gamma, y, found.largest < 0 ? -1 : found.largest * factor);
  return r;
}

/// Rows `begin` to `end` of a matrix whose rows have n numbers.
template <class T, class X, class Gamma, class Y, class R>
ROWNORM_INLINE void rows_rms_norm(std::size_t begin, std::size_t end, std::size_t n, std::size_t k,
                                  const X& x, const Gamma& gamma, const Y& y, epsilon eps, R rstd) {
  using stored = typename decltype(x.second(0u))::stored;
  constexpr bool constants = may_be_heads<T, X, Y, Gamma> && std::is_same_v<R, column<none_t>>;
  with_length<constants>(n, y, [&](auto length, const auto& to) ROWNORM_LAMBDA {
    const std::size_t first = k == n ? std::size_t{length} : k;
    in_two_halves(
        begin, end, length * sizeof(T),
        [&](std::size_t i) ROWNORM_LAMBDA {
          return rms_norm_first<T, stored, decltype(to.at_row(0u))>(length, first, x.first(i),
                                                                    gamma.at_row(i));
        },
        [](const squares_and_largest& found) ROWNORM_LAMBDA { return found.squares; },
        [&](double* r, std::size_t m, double last) ROWNORM_LAMBDA {
          return reciprocals_of_rms(r, m, last, static_cast<double>(first), eps);
        },
        [&](std::size_t i, const squares_and_largest& found, double r, std::size_t ahead)
            ROWNORM_LAMBDA {
              rstd.set(i, rms_norm_second<T>(length, first, x.second(i, ahead), gamma.at_row(i),
                                             to.at_row(i), eps, found, r));
            });
  });
}

// ---------------------------------------------------------------------------------------------
// LayerNorm.
// ---------------------------------------------------------------------------------------------

/// The mean in two numbers, the T next to it and the rest, and the variance.
template <class T>
struct moments {
  T mean;
  double rest;
  double variance;
};

/// Sums of x - shift and of its squares.
template <class T, class Source>
ROWNORM_INLINE totals<2> sums_around(T shift, std::size_t n, const Source& x) {
  using order = order_for<T, typename Source::stored>;
  const pack<T> less = splat(-shift);
  return sum<T, order, 2>(n, [&](auto at, pack<T>& s, pack<T>& q) ROWNORM_LAMBDA {
    const pack<T> d = zero_beyond(at, x(at) + less);
    s = s + d;
    q = fma(d, d, q);
  });
}

template <class T, class Source>
ROWNORM_FLAT ROWNORM_APART totals<2> sums_around_apart(T shift, std::size_t n, Source x) {
  return sums_around(shift, n, x);
}

/// The mean of the first numbers; 0 where that is little beside the largest of them, since x - 0 is
/// exact. 0 for rows of one chunk: the guess would cost each of them what a second pass costs those
/// with a large mean (LayerNorm of 64x128 without it: 0.81 of the time, and 1.22 where the mean is
/// three standard deviations).
template <class T, class Source>
ROWNORM_INLINE T guess_mean(std::size_t n, const Source& x) {
  if (n <= chunk<T>) return 0;
  using order = order_for<T, typename Source::stored>;
  const sum_and_largest f =
      look_at_first<T, order>([&](auto at) ROWNORM_LAMBDA { return peek(x, at); });
  const double mean = f.sum / static_cast<double>(first_numbers<T>);
  return 8 * std::fabs(mean) <= f.largest ? T(0) : static_cast<T>(mean);
}

/// K sums of a row, the first of x - shift, the second of its squares; delta and square are their
/// means.
template <class T, int K>
struct around {
  T shift;
  totals<K> sums;
  double delta, square;
};

/// first(shift) gives the sums around a shift. Where the mean proves to be further from it than a
/// standard deviation, again(shift) gives them around the mean that was found: one pass for most
/// rows. In double the bound is half a variance: its sums have nothing wider to end in, and at a
/// whole one what cancels in square - delta^2 cost a row of 3 numbers 4.09 eps.
template <int K, class T, class First, class Again>
ROWNORM_INLINE around<T, K> sums_near_mean(std::size_t n, T shift, First first, Again again) {
  // A product, since a quotient would wait for the sums (64x33 to 64x96 floats: 0.95 to 0.96 of the
  // time). The second time a quotient: of equal numbers both means are exact then, and the variance
  // is 0.
  const double length = static_cast<double>(n), share = 1 / length;
  const totals<K> t = first(shift);
  around<T, K> a{shift, t, t.of[0] * share, t.of[1] * share};
  constexpr double apart = std::is_same_v<T, double> ? 3 : 2;
  if (!ROWNORM_LIKELY(apart * a.delta * a.delta <= a.square)) {
    shift = static_cast<T>(static_cast<double>(shift) + a.delta);
    const totals<K> u = again(shift);
    a = {shift, u, u.of[0] / length, u.of[1] / length};
  }
  return a;
}

/// What the sums around the shift leave goes into the mean and the variance, so that neither
/// cancels (the corrected two-pass of Chan, Golub and LeVeque).
template <class T, int K>
ROWNORM_INLINE moments<T> corrected(const around<T, K>& a) {
  const double variance = fma(-a.delta, a.delta, a.square);
  // shift + delta and its rounding error (Knuth's two-sum).
  const double c = static_cast<double>(a.shift), sum = c + a.delta;
  const double c_part = sum - a.delta, delta_part = sum - c_part;
  const double error = (c - c_part) + (a.delta - delta_part);
  const T mean = static_cast<T>(sum);
  return {mean, (sum - static_cast<double>(mean)) + error, variance < 0 ? 0 : variance};
}

/// A constant n would be lost in a function apart (LayerNorm of 64x64 and 64x128: 0.82 to 0.89 of
/// the time).
template <class T, class Length, class First, class Second>
ROWNORM_INLINE moments<T> find_moments(Length n, const First& first, const Second& x) {
  return corrected(sums_near_mean<2>(
      n, guess_mean<T>(n, first),
      [&](T shift) ROWNORM_LAMBDA {
        if constexpr (std::is_same_v<Length, std::size_t>)
          return sums_around_apart(shift, n, first);
        else return sums_around(shift, n, first);
      },
      [&](T shift) ROWNORM_LAMBDA { return sums_around_apart(shift, n, x); }));
}

template <class T, class Source, class Gamma, class Beta, class Y>
ROWNORM_INLINE void apply_centred(std::size_t n, const Source& x, const moments<T>& m, double r,
                                  const Gamma& gamma, const Beta& beta, const Y& y) {
  // The mean is taken off in two steps, so that the T next to it does no harm: x - mean is exact
  // near the mean, and the rest comes in with the product's rounding.
  const pack<T> less = splat(-m.mean), factor = splat(static_cast<T>(r));
  const pack<T> rest = splat(static_cast<T>(-m.rest * r));
  apply<T>(n, x, gamma, beta, y,
           [&](auto at) ROWNORM_LAMBDA { return fma(x(at) + less, factor, rest); });
}

/// Whether the factor of a row can be had from these moments in T.
template <class T>
ROWNORM_INLINE bool usable(const moments<T>& m, epsilon eps) {
  return in_range(m.variance + (eps.outside ? 0 : eps.value), least<T>, largest<T>) &&
         !(eps.outside && eps.value >= largest_outside<T>);
}

struct mean_and_rstd {
  double mean, rstd;
};

/// A row whose sums left the range of T: in double, or as scaled doubles. `m`: its moments, where T
/// is double.
template <class T, class Y>
ROWNORM_FLAT ROWNORM_COLD mean_and_rstd layer_norm_row_again(std::size_t n, any_row x,
                                                             const any_parameter& gamma,
                                                             const any_parameter& beta, const Y& y,
                                                             epsilon eps, const moments<T>& of_x) {
  moments<double> m{static_cast<double>(of_x.mean), of_x.rest, of_x.variance};
  if (std::is_same_v<T, float>) m = find_moments<double>(n, x, x);
  if (x.may_leave_range && !usable(m, eps)) {
    x.scale = scale_for(m.variance, m.mean, eps);
    m = find_moments<double>(n, x, x);
  }
  const double r = scaled_factor(x.scale, m.variance, eps);
  apply_centred<double>(n, x, m, r, gamma, beta, y);
  // Of equal numbers eps alone is left, which times scale^2 may be 0.
  return {(m.mean + m.rest) / x.scale, m.variance == 0 ? reciprocal_root(0, eps) : r * x.scale};
}

/// The second half of a row, r being 1/sqrt(variance + eps) where m is usable; gives back its mean
/// and that.
template <class T, class Source, class Gamma, class Beta, class Y>
ROWNORM_INLINE mean_and_rstd layer_norm_second(std::size_t n, const Source& x, const Gamma& gamma,
                                               const Beta& beta, const Y& y, epsilon eps,
                                               const moments<T>& m, double r) {
  using X = typename Source::stored;
  if constexpr (may_leave_range<T, X>) {
    if (!ROWNORM_LIKELY(usable(m, eps)))
      return layer_norm_row_again(n, of_any(x), of_any<X>(gamma), any_shift<X>(beta), of_any(y),
                                  eps, m);
  } else if (m.variance + eps.value == 0) {
    r = 0;
  }
  apply_centred<T>(n, x, m, r, gamma, beta, y);
  return {static_cast<double>(m.mean) + m.rest, r};
}

/// Rows `begin` to `end` of a matrix whose rows have n numbers.
template <class T, class X, class Gamma, class Beta, class Y, class M, class R>
ROWNORM_INLINE void rows_layer_norm(std::size_t begin, std::size_t end, std::size_t n, const X& x,
                                    const Gamma& gamma, const Beta& beta, const Y& y, epsilon eps,
                                    M mean, R rstd) {
  constexpr bool constants = may_be_heads<T, X, Y, Gamma, Beta> &&
                             std::is_same_v<M, column<none_t>> && std::is_same_v<R, column<none_t>>;
  with_length<constants>(n, y, [&](auto length, const auto& to) ROWNORM_LAMBDA {
    in_two_halves(
        begin, end, length * sizeof(T),
        [&](std::size_t i)
            ROWNORM_LAMBDA { return find_moments<T>(length, x.first(i), x.second(i)); },
        [](const moments<T>& m) ROWNORM_LAMBDA { return m.variance; },
        [&](double* r, std::size_t m, double last)
            ROWNORM_LAMBDA { return reciprocals_of_deviation(r, m, last, eps); },
        [&](std::size_t i, const moments<T>& m, double r, std::size_t ahead) ROWNORM_LAMBDA {
          const mean_and_rstd s = layer_norm_second<T>(length, x.second(i, ahead), gamma.at_row(i),
                                                       beta.at_row(i), to.at_row(i), eps, m, r);
          mean.set(i, s.mean);
          rstd.set(i, s.rstd);
        });
  });
}

// ---------------------------------------------------------------------------------------------
// Given statistics: the second half alone.
// ---------------------------------------------------------------------------------------------

/// What is known of a row before its call: nothing but eps, or its saved statistics.
struct row_statistics {
  epsilon eps;
  bool known;
  double mean, r;
  double rounding = 0;  // what the mean may have lost where it was saved
};
struct from_x {
  epsilon eps;
  ROWNORM_INLINE row_statistics at_row(std::size_t) const { return {eps, false, 0, 0}; }
};
/// M is none_t for RMSNorm. A saved 1/rms that left the range of its type belongs to a row so large
/// or so small that eps is nothing beside it: a backward call finds it again, with eps = 0.
template <class M, class R>
struct from_saved {
  const M* mean;
  const R* rstd;
  std::size_t step = 1;
  ROWNORM_INLINE row_statistics at_row(std::size_t i) const {
    i *= step;
    const R r = rstd[i];
    const bool known =
        r == 0 || in_range(r, std::numeric_limits<R>::min(), std::numeric_limits<R>::infinity());
    if constexpr (std::is_same_v<M, none_t>) return {epsilon(0), known, 0, static_cast<double>(r)};
    else
      return {epsilon(0), known, static_cast<double>(mean[i]), static_cast<double>(r),
              std::fabs(static_cast<double>(mean[i])) * std::numeric_limits<M>::epsilon()};
  }
};

/// Whether T holds a row's statistics, and its numbers less the mean, with room to spare.
template <class T>
ROWNORM_INLINE bool holds(const row_statistics& s) {
  return std::is_same_v<T, double> || ((s.r == 0 || in_range(s.r, 0x1p-100, 0x1p100)) &&
                                       in_range(std::fabs(s.mean), 0.0, 0x1p100));
}

template <class Y>
ROWNORM_FLAT ROWNORM_COLD void rms_norm_given_again(std::size_t n, const any_row& x,
                                                    const any_parameter& gamma, const Y& y,
                                                    const row_statistics& s) {
  apply_scale<double>(n, x, s.r, gamma, y);
}
template <class Y>
ROWNORM_FLAT ROWNORM_COLD void layer_norm_given_again(std::size_t n, const any_row& x,
                                                      const any_parameter& gamma,
                                                      const any_parameter& beta, const Y& y,
                                                      const row_statistics& s) {
  apply_centred<double>(n, x, moments<double>{s.mean, 0, 0}, s.r, gamma, beta, y);
}

template <class T, class Source, class Gamma, class Y>
ROWNORM_INLINE void rms_norm_given(std::size_t n, const Source& x, const Gamma& gamma, const Y& y,
                                   const row_statistics& s) {
  if (ROWNORM_LIKELY(holds<T>(s))) apply_scale<T>(n, x, s.r, gamma, y);
  else rms_norm_given_again(n, of_any(x), of_any<typename Source::stored>(gamma), of_any(y), s);
}
template <class T, class Source, class Gamma, class Beta, class Y>
ROWNORM_INLINE void layer_norm_given(std::size_t n, const Source& x, const Gamma& gamma,
                                     const Beta& beta, const Y& y, const row_statistics& s) {
  using X = typename Source::stored;
  const T mean = static_cast<T>(s.mean);
  if (ROWNORM_LIKELY(holds<T>(s)))
    apply_centred<T>(n, x, moments<T>{mean, s.mean - static_cast<double>(mean), 0}, s.r, gamma,
                     beta, y);
  else layer_norm_given_again(n, of_any(x), of_any<X>(gamma), any_shift<X>(beta), of_any(y), s);
}

/// The rows of rms_norm and layer_norm with `from_saved` in place of eps.
template <class T, class X, class Gamma, class Y, class M, class S>
ROWNORM_INLINE void rows_rms_norm(std::size_t begin, std::size_t end, std::size_t n, std::size_t,
                                  const X& x, const Gamma& gamma, const Y& y,
                                  const from_saved<M, S>& statistics, column<none_t>) {
  for (std::size_t i = begin; i < end; ++i)
    rms_norm_given<T>(n, x.second(i), gamma.at_row(i), y.at_row(i), statistics.at_row(i));
}
template <class T, class X, class Gamma, class Beta, class Y, class M, class S>
ROWNORM_INLINE void rows_layer_norm(std::size_t begin, std::size_t end, std::size_t n, const X& x,
                                    const Gamma& gamma, const Beta& beta, const Y& y,
                                    const from_saved<M, S>& statistics, column<none_t>,
                                    column<none_t>) {
  for (std::size_t i = begin; i < end; ++i)
    layer_norm_given<T>(n, x.second(i), gamma.at_row(i), beta.at_row(i), y.at_row(i),
                        statistics.at_row(i));
}

// ---------------------------------------------------------------------------------------------
// Heads as rows: all heads of a token lie at one distance, and so does one head of all tokens.
// ---------------------------------------------------------------------------------------------

template <class M>
inline constexpr bool has_heads = false;
template <class S>
inline constexpr bool has_heads<heads<S>> = true;
template <template <class...> class Of, class... M>
inline constexpr bool has_heads<Of<M...>> = (has_heads<M> || ...);

/// How many rows in turn lie at one distance: of a token, or of gamma; 0: all.
template <class M>
ROWNORM_INLINE std::size_t in_turn_of(const M&) {
  return 0;
}
template <class S>
ROWNORM_INLINE std::size_t in_turn_of(const heads<S>& m) {
  return m.heads_per_token;
}
template <class S, bool OnePlus, bool AfterRounding>
ROWNORM_INLINE std::size_t in_turn_of(const parameter<S, OnePlus, AfterRounding>& m) {
  return m.heads > 1 ? m.heads : 0;
}

/// Rows `first`, first + step, ... of a call, `count` of them: of a token where step is 1, of one
/// head where it is the heads of a token.
struct part {
  std::size_t first, step, count;

  template <class S, std::size_t Length>
  ROWNORM_INLINE rows<S> operator()(const rows<S, Length>& m) const {
    return {row(m, first), count, m.length, m.stride * step};
  }
  template <class S>
  ROWNORM_INLINE rows<S> operator()(const heads<S>& m) const {
    return {row(m, first), count, m.length, step == m.heads_per_token ? m.token_stride : m.length};
  }
  template <class S, bool OnePlus, bool AfterRounding>
  ROWNORM_INLINE auto operator()(parameter<S, OnePlus, AfterRounding> m) const {
    if (m.heads > 1) m.data += first % m.heads * m.length;
    if (step > 1) m.heads = 1;
    return m;
  }
  template <class S>
  ROWNORM_INLINE column<S> operator()(const column<S>& c) const {
    return {c.data == nullptr ? nullptr : c.data + first, step};
  }
  template <class M, class R>
  ROWNORM_INLINE from_saved<M, R> operator()(const from_saved<M, R>& s) const {
    return {s.mean == nullptr ? nullptr : s.mean + first, s.rstd + first, step};
  }
};

/// What a kernel is given, with f of each matrix, parameter or column in place of it.
template <class M, class F>
ROWNORM_INLINE auto map(const M& m, F f) {
  return f(m);
}
template <class F>
ROWNORM_INLINE epsilon map(epsilon eps, F) {
  return eps;
}
template <class Gamma, class Z, class F>
ROWNORM_INLINE auto map(const gated_parameter<Gamma, Z>& m, F f) {
  return gated_parameter<Gamma, decltype(f(m.z))>{f(m.gamma), f(m.z)};
}
template <class X, class F>
ROWNORM_INLINE auto map(const input<X>& m, F f) {
  return input<decltype(f(m.x))>(f(m.x));
}
template <class X, class R, class F>
ROWNORM_INLINE auto map(const input_added<X, R>& m, F f) {
  return input_added<decltype(f(m.x)), decltype(f(m.residual))>(f(m.x), f(m.residual));
}
template <class X, class Z, class F>
ROWNORM_INLINE auto map(const input_gated<X, Z>& m, F f) {
  return input_gated<decltype(f(m.x)), decltype(f(m.z))>(f(m.x), f(m.z));
}
template <class Y, class F>
ROWNORM_INLINE auto map(const output<Y>& m, F f) {
  return output<decltype(f(m.y))>(f(m.y), m.streaming);
}
template <class Q, class F>
ROWNORM_INLINE auto map(const output_int8<Q>& m, F f) {
  return output_int8<decltype(f(m.q))>{f(m.q), m.inverse};
}
template <class Q, class S, class F>
ROWNORM_INLINE auto map(const output_int8_by_peak<Q, S>& m, F f) {
  return output_int8_by_peak<decltype(f(m.q)), S>{f(m.q), f(m.scales)};
}

/// kernel(begin, end, a...) for all rows from `begin` to `end`, in parts where some of them are
/// heads: token by token, or where a token has few, head by head of 32 tokens at a time (64 rows of
/// 64 or 128 floats: 0.80 to 0.95 of the time of a walk from row to row).
template <class Kernel, class... A>
ROWNORM_INLINE void in_parts(std::size_t begin, std::size_t end, Kernel kernel, const A&... a) {
  if constexpr (!(has_heads<A> || ...)) {
    kernel(begin, end, a...);
  } else {
    std::size_t in_turn = 0;
    bool alike = true;
    const auto look = [&](const auto& m) ROWNORM_LAMBDA {
      const std::size_t n = in_turn_of(m);
      alike = alike && (n == 0 || in_turn == 0 || n == in_turn);
      if (n != 0) in_turn = n;
      return m;
    };
    (map(a, look), ...);
    if (!alike) in_turn = 1;
    constexpr std::size_t few = 6, at_once = 32;
    for (std::size_t i = begin; i < end;) {
      const std::size_t left = end - i, of_token = in_turn - i % in_turn;
      const std::size_t tokens = left / in_turn < at_once ? left / in_turn : at_once;
      const bool across = alike && in_turn < few && tokens > 1;
      for (std::size_t h = 0; h < (across ? in_turn : 1); ++h) {
        const part p =
            across ? part{i + h, in_turn, tokens} : part{i, 1, of_token < left ? of_token : left};
        kernel(0, p.count, map(a, p)...);
      }
      i += across ? tokens * in_turn : of_token;
    }
  }
}

/// RMSNorm of rows `begin` to `end`, which have n numbers, the statistic being that of the first k
/// or a saved one.
template <class T, class X, class Gamma, class Y, class Statistics, class R>
ROWNORM_FLAT inline void rms_norm(std::size_t begin, std::size_t end, std::size_t n, std::size_t k,
                                  const X& x, const Gamma& gamma, const Y& y,
                                  const Statistics& statistics, R rstd) {
  if (n == 0) return;
  in_parts(
      begin, end,
      [&](std::size_t first, std::size_t last, const auto&... a)
          ROWNORM_LAMBDA { rows_rms_norm<T>(first, last, n, k, a...); },
      x, gamma, y, statistics, rstd);
  end_rows(y);
}
template <class T, class X, class Gamma, class Beta, class Y, class Statistics, class M, class R>
ROWNORM_FLAT inline void layer_norm(std::size_t begin, std::size_t end, std::size_t n, const X& x,
                                    const Gamma& gamma, const Beta& beta, const Y& y,
                                    const Statistics& statistics, M mean, R rstd) {
  if (n == 0) return;
  in_parts(
      begin, end,
      [&](std::size_t first, std::size_t last, const auto&... a)
          ROWNORM_LAMBDA { rows_layer_norm<T>(first, last, n, a...); },
      x, gamma, beta, y, statistics, mean, rstd);
  end_rows(y);
}

// ---------------------------------------------------------------------------------------------
// Gradients. With h = (x - mu) * r, the normalized numbers, and g = gamma * dy:
//   RMSNorm:   dx = r * (g - h * mean(g * h))
//   LayerNorm: dx = r * (g - mean(g) - h * mean(g * h))
//   dgamma += sum over rows of dy * h, dbeta += sum over rows of dy.
// ---------------------------------------------------------------------------------------------

/// Sums over rows, for dgamma and dbeta: rows add to `partial` in T, in blocks of `rows_per_block`,
/// and each block then adds to `total`, which is null where there is one block: its sums are the
/// total. Where gamma tells heads apart, so do the sums.
inline constexpr std::size_t rows_per_block = 32;
template <class T>
struct row_sums {
  T* partial;
  double* total;
  std::size_t length, heads;

  ROWNORM_INLINE row_sums at_row(std::size_t i) const {
    return heads > 1 ? row_sums{partial + i % heads * length, total, length, 1} : *this;
  }
  /// The sums from number `begin` to `end` of all heads together.
  row_sums columns(std::size_t begin, std::size_t end) const {
    return {partial + begin, total + begin, end - begin, 1};
  }
  template <class A, class Count>
  ROWNORM_INLINE void add(place<A, in_order, Count> at, pack<A> x, pack<A> y) const {
    store(at, partial, fma(x, y, load(at, partial)));
  }
  template <class A, class Count>
  ROWNORM_INLINE void add(place<A, in_order, Count> at, pack<A> x) const {
    store(at, partial, load(at, partial) + x);
  }
  ROWNORM_FLAT void end_block() const {
    if (total == nullptr) return;
    each<double, in_order>(length * heads, [&](auto at) ROWNORM_LAMBDA {
      store(at, total, load(at, total) + load(at, partial));
      store(at, partial, splat(0.0));
    });
  }
};
template <>
struct row_sums<none_t> {
  ROWNORM_INLINE row_sums at_row(std::size_t) const { return *this; }
  template <class Place, class... A>
  ROWNORM_INLINE void add(Place, A...) const {}
  void end_block() const {}
};

/// The same with types told at run time.
struct any_sums {
  load_any* load = nullptr;
  store_any* store = nullptr;
  void* partial = nullptr;
  template <class Count>
  ROWNORM_INLINE void add(place<double, in_order, Count> at, pack<double> x, pack<double> y) const {
    if (partial != nullptr) store(partial, of_any(at), fma(x, y, load(partial, of_any(at))));
  }
  template <class Count>
  ROWNORM_INLINE void add(place<double, in_order, Count> at, pack<double> x) const {
    if (partial != nullptr) store(partial, of_any(at), load(partial, of_any(at)) + x);
  }
};
template <class T>
ROWNORM_INLINE any_sums of_any(const row_sums<T>& sums) {
  return {load_doubles<T>, store_doubles<T>, sums.partial};
}
ROWNORM_INLINE any_sums of_any(const row_sums<none_t>&) {
  return {};
}

/// d += total, for a gradient that lies in rows `stride` numbers apart. Where one block is all, its
/// sums are added in T: a sum of two such numbers in double, rounded to T, has the same bits (4096
/// floats: 0.35 of the time).
template <class T, class S>
ROWNORM_FLAT void add_total(const row_sums<T>& sums, S* d, std::size_t stride) {
  const auto add = [&](auto a, const auto* total) ROWNORM_LAMBDA {
    for (std::size_t h = 0; h < sums.heads; ++h)
      each<decltype(a), in_order>(sums.length, [&](auto at) ROWNORM_LAMBDA {
        S* const to = d + h * stride;
        store(at, to, load(at, to) + load(at, total + h * sums.length));
      });
  };
  using A = std::conditional_t<std::is_same_v<S, double>, double, T>;
  if (sums.total != nullptr) add(double{}, sums.total);
  else add(A{}, sums.partial);
}

/// The order of a loop that also adds to sums over rows: those are kept in order.
template <class T, class Sums, class... S>
using backward_order =
    std::conditional_t<std::is_same_v<Sums, row_sums<none_t>>, order_for<T, S...>, in_order>;

/// gamma * dy; what after_rounding rounds, it rounds with a slope of 1.
template <class T, class Gamma, class Place>
ROWNORM_INLINE pack<T> times_gamma(Place at, pack<T> dy, const Gamma& gamma) {
  if constexpr (Gamma::present) return dy * gamma(at);
  else return dy;
}

/// gamma * dy + c, with one rounding: a product and a sum apart would be contracted or not.
template <class T, class Gamma, class Place>
ROWNORM_INLINE pack<T> times_gamma_plus(Place at, pack<T> dy, const Gamma& gamma, pack<T> c) {
  if constexpr (Gamma::present) return fma(dy, gamma(at), c);
  else return dy + c;
}

/// With eps outside the root, the slope of r is that of 1 / rms: larger by (rms + eps) / rms.
ROWNORM_INLINE double slope_of_root(double mean_square, double r, epsilon eps) {
  if (!eps.outside) return 1;
  const double rms = square_root(mean_square);
  return rms > 0 ? 1 / (rms * r) : 0;
}

/// Whether a sum over dy lost nothing among the subnormals and did not overflow.
template <class T>
ROWNORM_INLINE bool usable_gradient(double sum) {
  return std::is_same_v<T, double> ||
         in_range(std::fabs(sum), least<T>, std::numeric_limits<double>::infinity());
}
/// The same where dy, or x of a product, may be zeros, as they are of padding and of tokens that
/// are not learnt from.
template <class T, class... Sources>
ROWNORM_INLINE bool usable_gradient(double sum, std::size_t n, const Sources&... sources) {
  return ROWNORM_LIKELY(usable_gradient<T>(sum)) ||
         (sum == 0 && (holds_zeros<T>(n, sources) || ...));
}

/// dx = r * scale * (g - shift - h * slope) with h = (x - mean - rest) * r.
template <class T>
struct gradient_factors {
  double r;
  double scale;  // of x, by which dx is multiplied in a step of its own: r times it may overflow
  double slope;
  double shift = 0;
  T mean = 0;
  double rest = 0;
};
template <bool Centred, class T, class DY, class Source, class Gamma, class DX, class G, class B>
ROWNORM_INLINE void apply_gradient(std::size_t n, const DY& dy, const Source& x, const Gamma& gamma,
                                   const DX& dx, const G& dgamma, const B& dbeta,
                                   const gradient_factors<T>& f) {
  using sums_over_rows = std::conditional_t<std::is_same_v<G, row_sums<none_t>>, B, G>;
  using order = backward_order<T, sums_over_rows, typename DY::stored, typename Source::stored,
                               typename Gamma::stored, typename DX::stored>;
  const pack<T> r = splat(static_cast<T>(f.r)), scale = splat(static_cast<T>(f.scale));
  const pack<T> slope = splat(static_cast<T>(-f.slope)), shift = splat(static_cast<T>(-f.shift));
  const pack<T> less = splat(-f.mean), rest = splat(static_cast<T>(-f.rest * f.r));
  const auto gradient = [&](auto at) ROWNORM_LAMBDA {
    const pack<T> v = dy(at);
    const pack<T> h = Centred ? fma(x(at) + less, r, rest) : x(at) * r;
    const pack<T> g = Centred ? times_gamma_plus(at, v, gamma, shift) : times_gamma(at, v, gamma);
    const pack<T> d = fma(h, slope, g) * r;
    dgamma.add(at, v, h);
    dbeta.add(at, v);
    return std::is_same_v<Source, any_row> ? d * scale : d;
  };
  write_row<T, order>(n, dx, gradient, dy, x);
}

/// The sums of x^2 and of g * x. gamma is a reference, here and below: three words are passed in
/// memory, written by one and two and read by two and one, which waits (0.91 to 0.99 of the time).
template <class T, class DY, class Source, class Gamma>
ROWNORM_FLAT ROWNORM_APART totals<2> gradient_sums(std::size_t n, DY dy, Source x,
                                                   const Gamma& gamma) {
  using order = order_for<T, typename DY::stored, typename Source::stored, typename Gamma::stored>;
  return sum<T, order, 2>(n, [&](auto at, pack<T>& s, pack<T>& c) ROWNORM_LAMBDA {
    const pack<T> v = x(at);
    s = fma(v, v, s);
    c = fma(times_gamma(at, dy(at), gamma), v, c);
  });
}

/// The quotient does not wait for r: it is found while r is (64x64 to 1024x128 floats: 0.93 to 0.96
/// of the time).
ROWNORM_INLINE double slope_of_rms(double gx, double r, double square, double length, epsilon eps) {
  return gx / length * r * slope_of_root(square, r, eps);
}

/// A row whose sums left the range of T: in double, or with x as scaled doubles. `squares`: that of
/// x, where T is double.
template <class T>
ROWNORM_FLAT ROWNORM_COLD void rms_norm_backward_row_again(std::size_t n, const any_row& dy,
                                                           any_row x, const any_parameter& gamma,
                                                           const any_to& dx, const any_sums& dgamma,
                                                           row_statistics known, double squares) {
  totals<2> t{{squares, 0}};
  if (std::is_same_v<T, float>) t = gradient_sums<double>(n, dy, x, gamma);
  if (x.may_leave_range && !usable<double>(t.of[0], known.eps)) {
    x.scale = scale_for(t.of[0], 0, known.eps);
    t = gradient_sums<double>(n, dy, x, gamma);
  }
  const double length = static_cast<double>(n);
  const double square = t.of[0] / length;
  const double r =
      known.known ? known.r / x.scale : reciprocal_rms(t.of[0], length, scaled(known.eps, x.scale));
  const double slope = slope_of_rms(t.of[1], r, square, length, known.eps);
  apply_gradient<false>(n, dy, x, gamma, dx, dgamma, row_sums<none_t>{},
                        gradient_factors<double>{r, x.scale, slope});
}

template <class T, class DY, class Source, class Gamma, class DX, class G>
ROWNORM_INLINE void rms_norm_backward_row(std::size_t n, const DY& dy, const Source& x,
                                          const Gamma& gamma, const DX& dx, const G& dgamma,
                                          const row_statistics& known) {
  const totals<2> t = gradient_sums<T>(n, dy, x, gamma);
  const double length = static_cast<double>(n);
  const double square = t.of[0] / length;
  const double r = known.known ? known.r : reciprocal_rms(t.of[0], length, known.eps);
  if constexpr (may_leave_range<T, typename Source::stored>) {
    const bool in_T = ROWNORM_LIKELY(usable<T>(t.of[0], known.eps)) ||
                      (t.of[0] == 0 && holds<T>({known.eps, true, 0, r}) && holds_zeros<T>(n, x));
    if (!(in_T && usable_gradient<T>(t.of[1], n, x, dy)))
      return rms_norm_backward_row_again<T>(n, of_any(dy), of_any(x),
                                            of_any<typename Source::stored>(gamma), of_any(dx),
                                            of_any(dgamma), known, t.of[0]);
  }
  const double slope = slope_of_rms(t.of[1], r, square, length, known.eps);
  apply_gradient<false>(n, dy, x, gamma, dx, dgamma, row_sums<none_t>{},
                        gradient_factors<T>{r, 1, slope});
}

/// row(i) for the rows from `begin` to `end`; after each block of rows the sums over them are put
/// away. `begin` is a multiple of rows_per_block.
template <class Row, class... Sums>
ROWNORM_INLINE void in_blocks_of_rows(std::size_t begin, std::size_t end, Row row_at,
                                      const Sums&... sums) {
  for (std::size_t i = begin; i < end; ++i) {
    row_at(i);
    if ((i + 1) % rows_per_block == 0 || i + 1 == end) (sums.end_block(), ...);
  }
}

/// Rows `begin` to `end` of matrices whose rows have n numbers.
template <class T, class DY, class X, class Gamma, class DX, class G, class Statistics>
ROWNORM_FLAT void rms_norm_backward(std::size_t begin, std::size_t end, std::size_t n, const DY& dy,
                                    const X& x, const Gamma& gamma, const DX& dx, const G& dgamma,
                                    const Statistics& statistics) {
  if (n == 0) return;
  in_blocks_of_rows(
      begin, end,
      [&](std::size_t i) ROWNORM_LAMBDA {
        rms_norm_backward_row<T>(n, dy.second(i), x.second(i), gamma.at_row(i), dx.at_row(i),
                                 dgamma.at_row(i), statistics.at_row(i));
      },
      dgamma);
  end_rows(dx);
}

/// The sums of d = x - shift, d^2, g and g * d.
template <class T, class DY, class Source, class Gamma>
ROWNORM_FLAT ROWNORM_APART totals<4> gradient_sums_around(T shift, std::size_t n, DY dy, Source x,
                                                          const Gamma& gamma) {
  using order = order_for<T, typename DY::stored, typename Source::stored, typename Gamma::stored>;
  const pack<T> less = splat(-shift);
  return sum<T, order, 4>(
      n, [&](auto at, pack<T>& s, pack<T>& q, pack<T>& sg, pack<T>& sgd) ROWNORM_LAMBDA {
        const pack<T> d = zero_beyond(at, x(at) + less);
        const pack<T> v = dy(at);
        s = s + d;
        q = fma(d, d, q);
        sg = times_gamma_plus(at, v, gamma, sg);
        sgd = fma(times_gamma(at, v, gamma), d, sgd);
      });
}

template <class T, class DY, class Source, class Gamma>
ROWNORM_INLINE around<T, 4> gradient_sums_near_mean(std::size_t n, const DY& dy, const Source& x,
                                                    const Gamma& gamma, double scale,
                                                    const row_statistics& known) {
  const auto pass = [&](T shift)
                        ROWNORM_LAMBDA { return gradient_sums_around(shift, n, dy, x, gamma); };
  const T shift = known.known ? static_cast<T>(known.mean * scale) : guess_mean<T>(n, x);
  around<T, 4> a = sums_near_mean<4>(n, shift, pass, pass);
  // A saved mean is what the caller says, but for the rounding that it went through.
  const double given = known.mean * scale - static_cast<double>(a.shift);
  if (known.known && !(std::fabs(a.delta - given) <= known.rounding * scale)) a.delta = given;
  return a;
}

template <class T, class DY, class Source, class Gamma, class DX, class G, class B>
ROWNORM_INLINE void apply_layer_norm_gradient(std::size_t n, const DY& dy, const Source& x,
                                              const Gamma& gamma, const DX& dx, const G& dgamma,
                                              const B& dbeta, const around<T, 4>& a,
                                              const moments<T>& m, double r, double scale,
                                              epsilon eps) {
  const double share = 1 / static_cast<double>(n);
  const double sum_g = a.sums.of[2];
  const double sum_gd = fma(-a.delta, sum_g, a.sums.of[3]);
  apply_gradient<true>(
      n, dy, x, gamma, dx, dgamma, dbeta,
      gradient_factors<T>{r, scale, sum_gd * share * r * slope_of_root(m.variance, r, eps),
                          sum_g * share, m.mean, m.rest});
}

/// A row whose sums left the range of T: in double, or with x as scaled doubles. `of_x`: its
/// moments, where T is double.
template <class T>
ROWNORM_FLAT ROWNORM_COLD void layer_norm_backward_row_again(
    std::size_t n, const any_row& dy, any_row x, const any_parameter& gamma, const any_to& dx,
    const any_sums& dgamma, const any_sums& dbeta, row_statistics known, const moments<T>& of_x) {
  around<double, 4> a{};
  moments<double> m{static_cast<double>(of_x.mean), of_x.rest, of_x.variance};
  const auto sum = [&] {
    a = gradient_sums_near_mean<double>(n, dy, x, gamma, x.scale, known);
    m = corrected(a);
  };
  if (std::is_same_v<T, float>) sum();
  if (x.may_leave_range && !usable(m, known.eps)) {
    x.scale = scale_for(m.variance, m.mean, known.eps);
    sum();
  }
  const double r = known.known ? known.r / x.scale : scaled_factor(x.scale, m.variance, known.eps);
  apply_layer_norm_gradient(n, dy, x, gamma, dx, dgamma, dbeta, a, m, r, x.scale, known.eps);
}

template <class T, class DY, class Source, class Gamma, class DX, class G, class B>
ROWNORM_INLINE void layer_norm_backward_row(std::size_t n, const DY& dy, const Source& x,
                                            const Gamma& gamma, const DX& dx, const G& dgamma,
                                            const B& dbeta, const row_statistics& known) {
  const around<T, 4> a = gradient_sums_near_mean<T>(n, dy, x, gamma, 1, known);
  const moments<T> m = corrected(a);
  if constexpr (may_leave_range<T, typename Source::stored>)
    if (!(ROWNORM_LIKELY(usable(m, known.eps)) && usable_gradient<T>(a.sums.of[2], n, dy) &&
          usable_gradient<T>(a.sums.of[3], n, dy)))
      return layer_norm_backward_row_again(n, of_any(dy), of_any(x),
                                           of_any<typename Source::stored>(gamma), of_any(dx),
                                           of_any(dgamma), of_any(dbeta), known, m);
  const double r = known.known ? known.r : reciprocal_root(m.variance, known.eps);
  apply_layer_norm_gradient(n, dy, x, gamma, dx, dgamma, dbeta, a, m, r, 1, known.eps);
}

/// Rows `begin` to `end` of matrices whose rows have n numbers.
template <class T, class DY, class X, class Gamma, class DX, class G, class B, class Statistics>
ROWNORM_FLAT void layer_norm_backward(std::size_t begin, std::size_t end, std::size_t n,
                                      const DY& dy, const X& x, const Gamma& gamma, const DX& dx,
                                      const G& dgamma, const B& dbeta,
                                      const Statistics& statistics) {
  if (n == 0) return;
  in_blocks_of_rows(
      begin, end,
      [&](std::size_t i) ROWNORM_LAMBDA {
        layer_norm_backward_row<T>(n, dy.second(i), x.second(i), gamma.at_row(i), dx.at_row(i),
                                   dgamma.at_row(i), dbeta.at_row(i), statistics.at_row(i));
      },
      dgamma, dbeta);
  end_rows(dx);
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
