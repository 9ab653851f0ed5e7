// SPDX-License-Identifier: MIT
// The sum of a row, in the one order that every ISA keeps; never a load or a store.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "config.hpp"
#include "storage.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// ---------------------------------------------------------------------------------------------
// The order of the sum of floats (of doubles: 32 lanes, 128 numbers, and beside the second set what
// its additions round away):
//
//   numbers          0 ... 63 | 64 ... 127 | 128 ... 191 | 192 ... 255     256 ... 511    ...
//   64 lanes         l takes l, l + 64, l + 128, l + 192 by fused          anew
//                    multiply-add                                           |
//   halved to 8      l takes l + 32, then l + 16, then l + 8                |
//                         |                                                 |
//   8 doubles             +------------------------------------------------ + ----------- ...
//   the sum          l takes l + 4, then l + 2, then l + 1
//
// A lane is rounded seven times on its way at most. (With a second set of floats after every 4096
// numbers, rows of 2^20 equal numbers were off by 12 eps, heavy-tailed ones of 1000 by 2.6.)
// ---------------------------------------------------------------------------------------------

template <class T>
inline constexpr std::size_t lanes = 256 / sizeof(T);
template <class T>
inline constexpr std::size_t packs = lanes<T> / pack_width<T>;
template <class T>
inline constexpr std::size_t chunk = 4 * lanes<T>;

/// So many packs of the lanes of K sums.
template <class T, std::size_t K, std::size_t Packs>
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

/// What combines the k-th of K lanes, the last `Peaks` of which keep the largest number.
template <std::size_t K, std::size_t Peaks, class Index>
using combine_of = std::conditional_t<(Index::value < K - Peaks), plus, larger>;

/// The second set of lanes, in registers of doubles. even_odd: registers 0, 2, ... hold the even
/// lanes, 1, 3, ... the odd ones, where there is more than one.
inline constexpr std::size_t second_lanes = 8;
inline constexpr std::size_t second_registers = second_lanes / width<double>;
struct lane_set {
  batch<double> lane[second_registers];
};
template <class T, std::size_t K>
struct lane_sets {
  lane_set sum[K];
  lane_set rest[std::is_same_v<T, double> ? K : 1];  // what the additions of doubles rounded away
};

/// Pack P of what is left of the lanes, halved where it holds more of them than the second set,
/// goes to that set's registers.
template <std::size_t P, class Order, class Combine>
ROWNORM_INLINE void into_second_set(lane_set& second, const pack<float>& v,
                                    [[maybe_unused]] Combine combine) {
  constexpr bool split = std::is_same_v<Order, even_odd>;
  constexpr std::size_t n = width<float>, half = second_lanes / 2;
  if constexpr (second_registers == 4) {
    second.lane[0] = lower_doubles(v.a);
    second.lane[1] = split ? lower_doubles(v.b) : upper_doubles(v.a);
    second.lane[2] = split ? upper_doubles(v.a) : lower_doubles(v.b);
    second.lane[3] = upper_doubles(v.b);
  } else if constexpr (split) {
    const batch<double> even = lower_doubles(halved<half, n>(v.a, combine));
    const batch<double> odd = lower_doubles(halved<half, n>(v.b, combine));
    second.lane[0] = second_registers == 1 ? interleave_lower(even, odd) : even;
    if constexpr (second_registers == 2) second.lane[1] = odd;
  } else {
    const batch<float> left = halved<second_lanes, n>(combine(v.a, v.b), combine);
    second.lane[0] = lower_doubles(left);
    if constexpr (second_registers == 2) second.lane[1] = upper_doubles(left);
  }
}
template <std::size_t P, class Order, class Combine>
ROWNORM_INLINE void into_second_set(lane_set& second, const pack<double>& v,
                                    [[maybe_unused]] Combine combine) {
  if constexpr (second_registers == 1) {
    second.lane[0] = combine(v.a, v.b);
  } else {
    second.lane[2 * P] = v.a;
    second.lane[2 * P + 1] = v.b;
  }
}
/// The lanes in halves, lane l with lane l + half, until `Left` packs are left.
template <std::size_t Left, class T, std::size_t N, class Combine>
ROWNORM_INLINE void fold(pack<T> (&left)[Left], const pack<T> (&v)[N], Combine combine) {
  if constexpr (N == Left) {
    unroll<N>([&](auto p) ROWNORM_LAMBDA { left[p()] = v[p()]; });
  } else {
    pack<T> half[N / 2];
    unroll<N / 2>([&](auto p) ROWNORM_LAMBDA {
      half[p()] = {combine(v[p()].a, v[p() + N / 2].a), combine(v[p()].b, v[p() + N / 2].b)};
    });
    fold(left, half, combine);
  }
}
/// How many packs the second set takes.
template <class T>
inline constexpr std::size_t packs_left =
    second_lanes > pack_width<T> ? second_lanes / pack_width<T> : 1;
/// The same as a second set.
template <class Order, class T, std::size_t N, class Combine>
ROWNORM_INLINE void fold(lane_set& second, const pack<T> (&v)[N], Combine combine) {
  pack<T> left[packs_left<T>];
  fold(left, v, combine);
  unroll<packs_left<T>>(
      [&](auto p) ROWNORM_LAMBDA { into_second_set<p(), Order>(second, left[p()], combine); });
}

/// Knuth's two-sum: sum + v, and what that rounds away goes into `rest`.
ROWNORM_INLINE void add_exactly(batch<double>& sum, batch<double>& rest, batch<double> v) {
  const batch<double> s = sum + v, part = s - sum;
  rest = rest + ((sum - (s - part)) + (v - part));
  sum = s;
}
/// The second set takes a fold.
template <std::size_t Peaks, class T, std::size_t K>
ROWNORM_INLINE void add_fold(lane_sets<T, K>& second, const lane_set (&fold)[K]) {
  unroll<K>([&](auto k) ROWNORM_LAMBDA {
    using combine = combine_of<K, Peaks, decltype(k)>;
    unroll<second_registers>([&](auto r) ROWNORM_LAMBDA {
      batch<double>& sum = second.sum[k()].lane[r()];
      const batch<double> v = fold[k()].lane[r()];
      if constexpr (std::is_same_v<T, double> && std::is_same_v<combine, plus>)
        add_exactly(sum, second.rest[k()].lane[r()], v);
      else sum = combine{}(sum, v);
    });
  });
}
/// It begins as the first fold: zeros would be stored and loaded again for each row (LayerNorm of
/// 64x64: 0.9 of the time).
template <class T, std::size_t K>
ROWNORM_INLINE void begin_with(lane_sets<T, K>& second, const lane_set (&fold)[K]) {
  unroll<K>([&](auto k) ROWNORM_LAMBDA {
    second.sum[k()] = fold[k()];
    if constexpr (std::is_same_v<T, double>)
      for (batch<double>& rest : second.rest[k()].lane) rest = batch<double>(0.0);
  });
}

/// The tree: lane l takes lane l + half, from half the lanes down to one.
template <class Order, class Combine>
ROWNORM_INLINE double tree(lane_set s, Combine combine) {
  constexpr std::size_t n = second_registers;
  if constexpr (std::is_same_v<Order, even_odd>)
    unroll<n / 2>([&](auto i) ROWNORM_LAMBDA {
      const batch<double> even = s.lane[2 * i()], odd = s.lane[2 * i() + 1];
      s.lane[2 * i()] = interleave_lower(even, odd);
      s.lane[2 * i() + 1] = interleave_upper(even, odd);
    });
  unroll<2>([&](auto step) ROWNORM_LAMBDA {
    constexpr std::size_t half = n / (std::size_t{2} << step());
    unroll<half>([&](auto i)
                     ROWNORM_LAMBDA { s.lane[i()] = combine(s.lane[i()], s.lane[i() + half]); });
  });
  return across<double>(s.lane[0], combine);
}

template <std::size_t K>
struct totals {
  double of[K];
};

template <class T, class Order, std::size_t Peaks, std::size_t K>
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

/// How many packs of K sums are in registers at once: all, or where that would spill a strip of
/// them, and the row is passed over once for each strip. A strip has every strips-th pack of a
/// group: folded into each other they leave one pack of each sum to wait for the next strip
/// (LayerNorm's gradient of 64x33 to 64x128 floats: 0.87 to 0.97 of the time of strips of
/// neighbours, clang 0.72 to 0.87).
template <class T, std::size_t K>
inline constexpr std::size_t in_strip =
    packs<T> * 2 * K <= registers_for_sums ? packs<T> : registers_for_sums / 2 / K;
template <class T, std::size_t K>
inline constexpr std::size_t strips = packs<T> / in_strip<T, K>;
/// How many packs a strip is folded into: all that the second set takes, or one of them.
template <class T, std::size_t K>
inline constexpr std::size_t left_of_strip = strips<T, K> == 1 ? packs_left<T> : 1;

/// step(place, lanes...) for the packs of a strip in the last, short group of a row: those that are
/// whole, and what is left in the one after them. (Each pack has that step: one step behind them
/// must choose its lanes, and LayerNorm of 64x33 to 64x100 floats took 1.05 to 1.10 of the time.)
template <class T, class Order, std::size_t K, std::size_t Strip, class Step>
ROWNORM_INLINE void sum_short_group(std::size_t begin, std::size_t end, Step& step,
                                    sums<T, K, in_strip<T, K>>& s) {
  constexpr auto k = std::make_index_sequence<K>{};
  const std::size_t whole_packs = (end - begin) / pack_width<T>;
  const std::size_t rest = (end - begin) % pack_width<T>;
  unroll<in_strip<T, K>>([&](auto p) ROWNORM_LAMBDA {
    constexpr std::size_t of_group = Strip + p() * strips<T, K>;
    const std::size_t at = begin + of_group * pack_width<T>;
    if (whole_packs > of_group) add_at(k, s, p(), step, place<T, Order, full>{at, {}});
    else if (whole_packs == of_group && rest != 0)
      add_at(k, s, p(), step, place<T, Order, std::size_t>{at, rest});
  });
}

/// step(place, lanes...) for the packs Strip, Strip + strips, ... of each group of lanes in
/// [begin, end). (No result: g++ 12 copies a returned one through memory.)
template <class T, class Order, std::size_t K, std::size_t Strip, class Step>
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
             place<T, Order, full>{i + of_group * pack_width<T>, {}});
    });
  if (!ROWNORM_LIKELY(groups_end == end))
    sum_short_group<T, Order, K, Strip>(groups_end, end, step, s);
}

/// The strips First, First + Step, ...: each folded, then those into each other, in the order in
/// which the lanes of a group meet.
template <class T, class Order, std::size_t K, std::size_t Peaks, std::size_t First,
          std::size_t Step, class Function>
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
template <class T, class Order, std::size_t K, std::size_t Peaks, class Step>
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
template <class T, class Order, std::size_t K, std::size_t Peaks = 0, class Step>
ROWNORM_INLINE totals<K> sum(std::size_t n, Step step) {
  lane_sets<T, K> second;
  std::size_t i = 0;
  do {  // once at least: a shard of a row may have no numbers
    sum_chunk<T, Order, K, Peaks>(i, n - i < chunk<T> ? n : i + chunk<T>, step, second);
    i += chunk<T>;
  } while (i < n);
  return total<T, Order, Peaks>(second);
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
