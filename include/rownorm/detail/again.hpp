// SPDX-License-Identifier: MIT
// What a fallback reads and writes: type-erased rows in double, so that the code which does a row
// again in a wider or scaled way is there once for all calls; never a statistic.
#pragma once

#include <cstddef>

#include "sink.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

// A type-erased row is a pointer to a row and a function that calls that row's own operator in
// double. Rows go to a fallback by value: one that a cold function has a reference to, the compiler
// keeps in memory for the hot path too. Packs go by reference: g++ 12 does not align those that it
// passes on the stack of a tail call.

using erased_place = place<double, in_order, std::size_t>;
ROWNORM_INLINE erased_place erased(place<double, in_order, full> at) {
  return {at.i, pack_width<double>};
}
ROWNORM_INLINE erased_place erased(erased_place at) {
  return at;
}

template <class Row>
ROWNORM_FLAT ROWNORM_COLD pack<double> read_erased(const void* row, erased_place at) {
  return (*static_cast<const Row*>(row))(at);
}
/// A row that is read, times a power of two.
struct erased_source {
  using stored = void;
  static constexpr bool present = true;
  const void* row;
  pack<double> (*read)(const void* row, erased_place at);
  double scale = 1;

  template <class Row>
  explicit erased_source(const Row* r) : row(r), read(read_erased<Row>) {}
  template <class Count>
  ROWNORM_INLINE pack<double> operator()(place<double, in_order, Count> at) const {
    return read(row, erased(at)) * splat(scale);
  }
};

template <class Affine>
ROWNORM_FLAT ROWNORM_COLD pack<double> scale_erased(const void* affine, erased_place at,
                                                    const pack<double>& z) {
  return (*static_cast<const Affine*>(affine))(at, z);
}
/// gamma * z + beta, whatever they are.
struct erased_affine {
  template <class T, class... S>
  using order = in_order;
  const void* affine;
  pack<double> (*scale)(const void* affine, erased_place at, const pack<double>& z);

  template <class Affine>
  explicit erased_affine(const Affine* a) : affine(a), scale(scale_erased<Affine>) {}
  template <class Count>
  ROWNORM_INLINE pack<double> operator()(place<double, in_order, Count> at, pack<double> z) const {
    return scale(affine, erased(at), z);
  }
};

template <class Row>
ROWNORM_FLAT ROWNORM_COLD void put_erased(void* row, erased_place at, const pack<double>& v) {
  static_cast<Row*>(row)->put(at, v);
}
/// A row that is written.
struct erased_sink {
  using stored = void;
  void* row;
  void (*write)(void* row, erased_place at, const pack<double>& v);

  template <class Row>
  explicit erased_sink(Row* r) : row(r), write(put_erased<Row>) {}
  template <class Count>
  ROWNORM_INLINE void put(place<double, in_order, Count> at, pack<double> v) const {
    write(row, erased(at), v);
  }
};

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
