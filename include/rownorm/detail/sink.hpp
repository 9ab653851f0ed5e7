// SPDX-License-Identifier: MIT
// Where a half of a norm writes, row by row: memory, memory that is added to, int8; and the loop
// that writes a row. Never a statistic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "source.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// ---------------------------------------------------------------------------------------------
// A row is written by put(at, pack), place by place. `stored` as for a source. A row that needs the
// largest of |y| before its first number has begin(peak), by which needs_peak knows it.
// ---------------------------------------------------------------------------------------------

/// A row as it lies in memory.
template <class S>
struct written_row {
  using stored = S;
  S* data;
  bool streaming;  ///< by non-temporal stores

  template <class T, class Order, class Count>
  ROWNORM_INLINE void put(place<T, Order, Count> at, pack<T> v) const {
    store(at, data, v);
  }
};

/// A row that is added to.
template <class Row>
struct sum_row {
  using stored = typename Row::stored;
  Row row;

  template <class T, class Order, class Count>
  ROWNORM_INLINE void put(place<T, Order, Count> at, pack<T> v) const {
    store(at, row.data, row(at) + v);
  }
};

/// v * of / scale = v * power * inverse. The power of two is not 1 where of / scale alone may
/// overflow float.
struct inverse_of {
  double power, inverse;
  ROWNORM_INLINE explicit inverse_of(double scale, double of = 1)
      : power(scale < 0x1p-120 ? 0x1p100 : 1), inverse(of / (scale * power)) {}

  template <class T>
  ROWNORM_INLINE pack<T> enlarged(pack<T> v) const {
    return ROWNORM_LIKELY(power == 1) ? v : v * splat(static_cast<T>(power));
  }
  template <class T>
  ROWNORM_INLINE T factor() const {
    constexpr double most = static_cast<double>((std::numeric_limits<T>::max)());
    return static_cast<T>(inverse < most ? inverse : most);
  }
};

/// A row of int8 whose scale is given: y / scale, rounded to nearest even, saturated.
template <class Row, class Scale = inverse_of>
struct int8_row {
  using stored = std::int8_t;
  Row row;
  Scale scale;

  template <class T, class Order, class Count>
  ROWNORM_INLINE void put(place<T, Order, Count> at, pack<T> v) const {
    const pack<T> q = scale.enlarged(v) * splat(scale.template factor<T>());
    store_int8(row.data + at.i, minimum(maximum(q, splat(T(-128))), splat(T(127))), T(1), at.n);
  }
};

/// A row of int8 whose scale is the largest of |y| divided by 127.
template <class Row, class Scale>
struct int8_by_peak_row {
  using stored = std::int8_t;
  Row row;
  Scale scale;  ///< where it goes
  inverse_of of_peak{1};
  bool finite = true;

  /// No integers stand for a row that holds NaN or infinity: its scale is NaN, its integers are 0.
  ROWNORM_INLINE void begin(double peak) {
    using S = std::remove_pointer_t<Scale>;
    finite = in_range(peak, 0.0, std::numeric_limits<double>::infinity());
    *scale = finite ? static_cast<S>(peak / 127) : std::numeric_limits<S>::quiet_NaN();
    // Rounded upwards, 127 may become 128, which int8 would take for -128.
    const bool upwards = peak + peak * 0x1p-60 > peak;
    of_peak = inverse_of(finite && peak > 0 ? peak : 1, upwards ? 126.999 : 127);
  }
  template <class T, class Order, class Count>
  ROWNORM_INLINE void put(place<T, Order, Count> at, pack<T> v) const {
    v = finite ? of_peak.enlarged(v) : splat(T(0));
    store_int8(row.data + at.i, v, of_peak.template factor<T>(), at.n);
  }
};

/// Whether a row is begun with the largest of |y|.
template <class Y, class = void>
inline constexpr bool needs_peak = false;
template <class Y>
inline constexpr bool needs_peak<Y, std::void_t<decltype(std::declval<Y&>().begin(0.0))>> = true;

// ---------------------------------------------------------------------------------------------
// Matrices of such rows.
// ---------------------------------------------------------------------------------------------

template <class M>
struct written {
  M y;
  bool streaming;
  ROWNORM_INLINE auto at_row(std::size_t i) const {
    return written_row<typename M::stored>{y.row(i), streaming};
  }
  ROWNORM_INLINE std::size_t rows_in_turn() const { return y.rows_in_turn(); }
  ROWNORM_INLINE auto take(row_span rows) const {
    return written<decltype(y.take(rows))>{y.take(rows), streaming};
  }
};
template <class M>
written(M, bool) -> written<M>;
template <class M>
inline constexpr bool has_tokens<written<M>> = has_tokens<M>;

/// After a call's last row: the fence behind non-temporal stores, so that other threads see y
/// before what is stored later.
template <class Y>
ROWNORM_INLINE void end_rows(const Y&) {}
template <class M>
ROWNORM_INLINE void end_rows(const written<M>& y) {
  if (y.streaming) end_past_cache();
}
/// Whether rows are written by non-temporal stores.
template <class Y>
ROWNORM_INLINE bool streams(const Y&) {
  return false;
}
template <class M>
ROWNORM_INLINE bool streams(const written<M>& y) {
  return y.streaming;
}

// ---------------------------------------------------------------------------------------------
// A row is written: y takes value(place) at each place of its n numbers. Pure: value may be found
// twice for a number, and stores nothing by itself.
// ---------------------------------------------------------------------------------------------

template <bool Pure, class T, class Order, class Y, class Value, class... Sources>
ROWNORM_INLINE void write_row(std::size_t n, const Y& y, Value value, const Sources&...) {
  each<T, Order>(n, [&](auto at) ROWNORM_LAMBDA { y.put(at, value(at)); });
}

/// A store across two lines of 64 bytes takes twice the time, so a row that does not begin at a
/// multiple of a register is first written up to the next one; rows of no more bytes than this gain
/// nothing.
inline constexpr std::size_t most_bytes_unaligned = 1024;
/// How many numbers lie before that multiple, or before one of a pack's bytes where they are fewer;
/// 0: the row is written from its beginning.
template <class T, class S>
ROWNORM_INLINE std::size_t numbers_to_align(const S* row, std::size_t n) {
  constexpr std::size_t of_pack = pack_width<T> * sizeof(S);
  constexpr std::size_t unit = of_pack < register_bytes ? of_pack : register_bytes;
  const std::size_t bytes = (0 - reinterpret_cast<std::uintptr_t>(row)) % unit;
  return n * sizeof(S) <= most_bytes_unaligned || bytes % sizeof(S) != 0 ? 0 : bytes / sizeof(S);
}

/// Where stores are non-temporal, the next row of each source is prefetched meanwhile: one loop
/// that asks at each pack, which costs nothing beside the stores, and a quarter less to compile
/// than a loop for each. First and last numbers that fill no pack of their own are written as a
/// whole pack that overlaps its neighbour, found before anything is stored, since y may be x. (A
/// store of part of a pack takes a dozen cycles on a Zen 3.) A value that is not pure, and a row of
/// no more than a pack, are written in parts.
template <bool Pure, class T, class Order, class S, class Value, class... Sources>
ROWNORM_INLINE void write_row(std::size_t n, const written_row<S>& y, Value value,
                              const Sources&... sources) {
  constexpr std::size_t width = pack_width<T>;
  const auto at = [](std::size_t i) ROWNORM_LAMBDA { return place<T, Order, full>{i, {}}; };
  const auto part = [&](std::size_t i, std::size_t count) ROWNORM_LAMBDA {
    const place<T, Order, std::size_t> some{i, count};
    y.put(some, value(some));
  };
  const std::size_t head = numbers_to_align<T>(y.data, n);
  const bool streaming = y.streaming && starts_register(y.data + head);
  pack<T> first, last;
  const bool overlaps = Pure && n > width;
  if (!ROWNORM_LIKELY(head == 0)) {
    if (overlaps) first = value(at(0));
    else part(0, head);
  }
  const std::size_t rest = (n - head) % width;
  if (!ROWNORM_LIKELY(rest == 0) && overlaps) last = value(at(n - width));
  ROWNORM_UNROLL_2
  for (std::size_t i = head; i + width <= n; i += width) {
    const pack<T> v = value(at(i));
    if (ROWNORM_LIKELY(!streaming)) {
      y.put(at(i), v);
    } else {
      (prefetch_next(sources, at(i)), ...);
      y.put(streamed(at(i)), v);
    }
  }
  if (overlaps) {
    if (!ROWNORM_LIKELY(head == 0)) y.put(at(0), first);
    if (!ROWNORM_LIKELY(rest == 0)) y.put(at(n - width), last);
  } else if (!ROWNORM_LIKELY(rest == 0)) {
    part(n - rest, rest);
  }
}
template <bool Pure, class T, class Order, class Row, class Value, class... Sources>
ROWNORM_INLINE void write_row(std::size_t n, const sum_row<Row>& y, Value value,
                              const Sources&... sources) {
  const auto sum = [&](auto at) ROWNORM_LAMBDA {
    const pack<T> v = value(at);
    return y.row(at) + v;
  };
  write_row<Pure, T, Order>(n, written_row<typename Row::stored>{y.row.data, false}, sum,
                            sources...);
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
