// SPDX-License-Identifier: MIT
// Packs, their places in a row, and load and store of numbers of any type; never a sum or an
// intrinsic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../types.hpp"
#include "config.hpp"
#include "format.hpp"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstringop-overflow"  // where copy_few's size cannot be
#pragma GCC diagnostic ignored "-Warray-bounds"
#endif

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

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
ROWNORM_INLINE pack<T> maximum(pack<T> x, pack<T> y) {
  return {maximum(x.a, y.a), maximum(x.b, y.b)};
}
template <class T>
ROWNORM_INLINE pack<T> minimum(pack<T> x, pack<T> y) {
  return {minimum(x.a, y.a), minimum(x.b, y.b)};
}
ROWNORM_INLINE pack<double> to_doubles(batch<float> v) {
  return {lower_doubles(v), upper_doubles(v)};
}
ROWNORM_INLINE batch<float> to_floats(pack<double> v) {
  return to_floats(v.a, v.b);
}

// ---------------------------------------------------------------------------------------------
// Places in a row.
// ---------------------------------------------------------------------------------------------

/// Numbers 0, 1, 2, ... go to the lanes 0, 1, 2, ... of a pack.
struct in_order {};
/// Numbers 0, 2, 4, ... go to batch a, numbers 1, 3, 5, ... to b: for bfloat16 a shift and a mask
/// where the other order needs two widening shuffles.
struct even_odd {};
template <class T, class... S>
using order_for =
    std::conditional_t<deals_pairs && std::is_same_v<T, float> &&
                           ((std::is_same_v<S, bfloat16> || std::is_same_v<S, none_t>)&&...),
                       even_odd, in_order>;

/// A pack's place: it begins at number i of the row and holds n numbers.
template <class T, class Order, class Count>
struct place {
  std::size_t i;
  Count n;
};

/// How many of a pack's numbers are in its first batch, and in its second.
template <class Whole>
ROWNORM_INLINE Whole first_part(Whole n, std::size_t) {
  return n;
}
template <class Whole>
ROWNORM_INLINE Whole second_part(Whole n, std::size_t) {
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
template <class T, class S, class Count>
ROWNORM_INLINE S* beyond(S* p, [[maybe_unused]] Count n1) {
  if constexpr (whole<Count>) return p + width<T>;
  else return p + n1;
}

/// v as it is where the place is a whole pack; zeros beyond the end of the row elsewhere.
template <class T, class Order, class Count>
ROWNORM_INLINE pack<T> zero_beyond(place<T, Order, Count> at, pack<T> v) {
  if constexpr (whole<Count>) return v;
  else if constexpr (std::is_same_v<Order, in_order>)
    return {keep(v.a, first_part(at.n, width<T>)), keep(v.b, second_part(at.n, width<T>))};
  else return {keep(v.a, (at.n + 1) / 2), keep(v.b, at.n / 2)};
}

/// The same place, for a store past the cache.
template <class T, class Order>
ROWNORM_INLINE place<T, Order, past_cache> streamed(place<T, Order, full> at) {
  return {at.i, {}};
}
ROWNORM_INLINE bool starts_register(const void* p) {
  return reinterpret_cast<std::uintptr_t>(p) % register_bytes == 0;
}

/// step(place) for every pack of a row of n numbers.
template <class T, class Order, class Step>
ROWNORM_INLINE void each(std::size_t n, Step step) {
  std::size_t i = 0;
  ROWNORM_UNROLL_2
  for (; i + pack_width<T> <= n; i += pack_width<T>) step(place<T, Order, full>{i, {}});
  if (i < n) step(place<T, Order, std::size_t>{i, n - i});
}

/// f(number), or f of a register of numbers, in place of each of the m numbers.
template <class F>
ROWNORM_INLINE void in_registers(double* numbers, std::size_t m, F f) {
  std::size_t i = 0;
  for (; i + width<double> <= m; i += width<double>)
    store_batch(numbers + i, f(load_batch(numbers + i)));
  ROWNORM_NO_UNROLL
  for (; i < m; ++i) numbers[i] = f(numbers[i]);
}

// ---------------------------------------------------------------------------------------------
// A pack of T from numbers of any storage, and back.
// ---------------------------------------------------------------------------------------------

/// v rounded to what a number of storage S can hold.
template <class S, class T>
ROWNORM_INLINE pack<T> rounded_to(pack<T> v) {
  if constexpr (std::is_same_v<T, S> || std::is_same_v<S, double> || std::is_void_v<S>) return v;
  else if constexpr (std::is_same_v<T, double>) return to_doubles(rounded_to<S>(to_floats(v)));
  else return {rounded_to<S>(v.a), rounded_to<S>(v.b)};
}

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
  } else if constexpr (std::is_same_v<S, bfloat16> && whole<Count>) {
    store_pairs(p, round_in_turn(v.a, v.b), n);
  } else {
    store_floats(p, v.a, n1);
    store_floats(beyond<T>(p, n1), v.b, n2);
  }
}

/// The two bfloat16 numbers of each word, as floats.
ROWNORM_INLINE pack<float> side_by_side(words w) {
  return {as<float>(w << 16), as<float>(w & words(0xffff0000u))};
}

template <class T, class Order, class Count, class S>
ROWNORM_INLINE pack<T> load(place<T, Order, Count> at, const S* row) {
  static_assert(std::is_same_v<Order, in_order> || std::is_same_v<S, bfloat16>,
                "even_odd is for bfloat16 alone");
  if constexpr (std::is_same_v<Order, in_order>) return load_pack<T>(row + at.i, at.n);
  else return side_by_side(load_pairs(row + at.i, at.n));
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
  static_assert(std::is_same_v<Order, in_order> || std::is_same_v<S, bfloat16>,
                "even_odd is for bfloat16 alone");
  if constexpr (std::is_same_v<Order, in_order>) {
    v = rounded_to<S>(v);
    store_pack<T>(row + at.i, v, at.n);
    return v;
  } else {
    const words w = round_side_by_side(v.a, v.b);
    store_pairs(row + at.i, w, at.n);
    return side_by_side(w);
  }
}
template <class T, class Order, class Count, class S>
ROWNORM_INLINE void store(place<T, Order, Count> at, S* row, pack<T> v) {
  if constexpr (std::is_same_v<Order, in_order>) store_pack<T>(row + at.i, v, at.n);
  else store_rounded(at, row, v);
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
    const words a = as<std::uint32_t>(q.a), b = as<std::uint32_t>(q.b);
    if constexpr (whole<Count>) {
      store_bytes(p, a, b);
    } else {
      const std::size_t n1 = first_part(n, width<float>);
      store_bytes(p, a, n1);
      store_bytes(p + n1, b, n - n1);
    }
  }
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
