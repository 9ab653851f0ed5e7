// SPDX-License-Identifier: MIT
// Sums over rows, for dgamma and dbeta, in blocks of rows and one order; never a statistic.
#pragma once

#include <cstddef>
#include <type_traits>

#include "again.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// Rows add to `partial` in T, in blocks of `rows_per_block`, and each block then adds to `total`,
/// which is null where there is one block: its sums are the total. Where gamma tells heads apart,
/// so do the sums.
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

/// After row i of those before `end`: where a block ends, its sums go to the total.
template <class... Sums>
ROWNORM_INLINE void end_row(std::size_t i, std::size_t end, const Sums&... sums) {
  if ((i + 1) % rows_per_block == 0 || i + 1 == end) (sums.end_block(), ...);
}

/// d += total, for a gradient that lies in rows `stride` numbers apart. Where one block is all, its
/// sums are added in T: a sum of two such numbers in double, rounded to T, has the same bits (4096
/// floats: 0.35 of the time).
template <class T, class S>
ROWNORM_FLAT void add_total(const row_sums<T>& sums, S* d, std::size_t stride) {
  const auto add = [&](auto a, const auto* total) ROWNORM_LAMBDA {
    for (std::size_t h = 0; h < sums.heads; ++h)
      each<decltype(a), in_order>(sums.length, [&](auto at) ROWNORM_LAMBDA {
        S* const row = d + h * stride;
        store(at, row, load(at, row) + load(at, total + h * sums.length));
      });
  };
  using A = std::conditional_t<std::is_same_v<S, double>, double, T>;
  if (sums.total != nullptr) add(double{}, sums.total);
  else add(A{}, sums.partial);
}

template <class Sums>
ROWNORM_FLAT ROWNORM_COLD void add_erased(const void* sums, erased_place at, const pack<double>& x,
                                          const pack<double>& y) {
  static_cast<const Sums*>(sums)->add(at, x, y);
}
/// The sums that a fallback adds to.
struct erased_sums {
  const void* sums;
  void (*add_product)(const void* sums, erased_place at, const pack<double>& x,
                      const pack<double>& y);

  template <class Sums>
  explicit erased_sums(const Sums* s) : sums(s), add_product(add_erased<Sums>) {}
  template <class Count>
  ROWNORM_INLINE void add(place<double, in_order, Count> at, pack<double> x,
                          pack<double> y = splat(1.0)) const {
    add_product(sums, erased(at), x, y);
  }
};

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
