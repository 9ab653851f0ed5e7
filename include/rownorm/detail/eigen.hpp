// SPDX-License-Identifier: MIT
// What stands where a call takes numbers (Eigen expressions and the rest) as rows of plain storage;
// the only file with Eigen below the modules, and never a word of a call or a kernel.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "../types.hpp"
#include "arrays.hpp"
#include "config.hpp"

namespace rownorm {

/// Eigen's names for the 16-bit numbers are the public calls' too: the same types, so that no using
/// directive makes them ambiguous.
using float16 = Eigen::half;
using bfloat16 = Eigen::bfloat16;  ///< see float16
template <>
struct storage<Eigen::half> {
  using type = float16_bits;
};
template <>
struct storage<Eigen::bfloat16> {
  using type = bfloat16_bits;
};

inline namespace ROWNORM_ISA {
namespace detail {

// Of any Derived: a VectorBlock, say, is an EigenBase of the Block that it is.
template <class Derived>
std::true_type derives_from_eigen(const Eigen::EigenBase<Derived>*);
std::false_type derives_from_eigen(const void*);
template <class A>
inline constexpr bool is_eigen = decltype(derives_from_eigen(static_cast<A*>(nullptr)))::value;
template <class A>
inline constexpr bool is_rows = false;
template <class T, std::size_t Length>
inline constexpr bool is_rows<rows<T, Length>> = true;
template <class A>
inline constexpr bool is_heads = false;
template <class T>
inline constexpr bool is_heads<heads<T>> = true;
template <class A>
inline constexpr bool is_none = std::is_same_v<A, none_t>;

template <class A>
constexpr bool has_direct_access() {
  return (static_cast<unsigned>(Eigen::internal::traits<A>::Flags) & Eigen::DirectAccessBit) != 0;
}

/// Whether the numbers of each row of E lie side by side in memory.
template <class E>
constexpr bool has_rows() {
  constexpr bool own_storage = has_direct_access<E>();
  static_assert(
      own_storage,
      "rownorm: this Eigen expression has no storage of its own: evaluate it into a matrix "
      "first (auto m = (a + b).eval()) and pass that");
  if constexpr (own_storage) {
    constexpr bool row_major = E::IsVectorAtCompileTime || E::IsRowMajor;
    static_assert(
        row_major,
        "rownorm: the matrix is column-major: declare it Eigen::Matrix<T, Eigen::Dynamic, "
        "Eigen::Dynamic, Eigen::RowMajor>, or pass m.transpose() to normalize its columns");
    constexpr bool side_by_side = E::InnerStrideAtCompileTime == 1;
    static_assert(!row_major || side_by_side,
                  "rownorm: the numbers of a row must lie side by side (inner stride 1): copy the "
                  "expression into a row-major matrix or a vector first");
    return row_major && side_by_side;
  }
  return false;
}

/// An Eigen expression as rows: a vector is one row, anything else must be row-major.
template <class A>
ROWNORM_INLINE auto eigen_rows(A&& a) {
  using E = bare<A>;
  if constexpr (!has_rows<E>()) {
    return after_error();
  } else {
    auto* data = plain_pointer(a.data());
    using S = std::remove_pointer_t<decltype(data)>;
    if constexpr (E::IsVectorAtCompileTime) {
      constexpr auto n = static_cast<std::size_t>(E::SizeAtCompileTime);
      return rows < S, E::SizeAtCompileTime == Eigen::Dynamic
                           ? dynamic
                           : n > (data, 1, static_cast<std::size_t>(a.size()));
    } else {
      constexpr auto n = static_cast<std::size_t>(E::ColsAtCompileTime);
      return rows < S, E::ColsAtCompileTime == Eigen::Dynamic
                           ? dynamic
                           : n > (data, static_cast<std::size_t>(a.rows()),
                                  static_cast<std::size_t>(a.cols()),
                                  static_cast<std::size_t>(a.outerStride()));
    }
  }
}

template <class S, class T, std::size_t Length>
ROWNORM_INLINE rows<S, Length> same_rows(const rows<T, Length>& a, S* data) {
  return {data, a.count, a.length, a.stride};
}

/// What stands where a call takes numbers, as rows of plain storage.
template <class A>
ROWNORM_INLINE auto to_rows(A&& a) {
  using E = bare<A>;
  constexpr bool known = is_rows<E> || is_heads<E> || is_eigen<E> || is_array<E> || is_container<E>;
  static_assert(known,
                "rownorm: a matrix must be an Eigen row-major matrix, map, ref or block, an Eigen "
                "vector, rownorm::rows or rownorm::heads; a parameter a vector of numbers, "
                "rownorm::none, one_plus(gamma) or after_rounding(gamma)");
  if constexpr (is_rows<E>) {
    return same_rows(a, plain_pointer(a.data));
  } else if constexpr (is_heads<E>) {
    using S = typename plain<typename E::value_type>::type;
    return heads<S>(plain_pointer(a.data), a.tokens, a.heads_per_token, a.length, a.token_stride);
  } else if constexpr (is_eigen<E>) {
    return eigen_rows(std::forward<A>(a));
  } else if constexpr (is_array<E>) {
    return array_rows(a);
  } else if constexpr (is_container<E>) {
    auto* data = plain_pointer(a.data());
    return rows<std::remove_pointer_t<decltype(data)>>(data, 1, a.size());
  } else {
    return after_error();
  }
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
