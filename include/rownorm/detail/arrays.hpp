// SPDX-License-Identifier: MIT
// Numbers as plain storage, and the containers and arrays of other libraries as rows of them, by
// what they offer; never one of those libraries' headers.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "../types.hpp"
#include "config.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

template <class A>
using bare = std::remove_cv_t<std::remove_reference_t<A>>;

template <class S, class = void>
inline constexpr bool has_storage = false;
template <class S>
inline constexpr bool has_storage<S, std::void_t<typename storage<S>::type>> = true;

// A mistake is one error and not a page of them: what is asked has a name for clang to print,
// stands in a function (of a class clang uses nothing after an error), once for each type, and is
// followed by code that compiles, such as these rows in place of an argument.
ROWNORM_INLINE rows<float> after_error() {
  return {nullptr, 0, 0};
}

/// Whether calls may take numbers of this type (not const).
template <class Number>
constexpr bool is_number() {
  constexpr bool known = has_storage<Number>;
  static_assert(known,
                "rownorm: the numbers must be float, double, Eigen::half or Eigen::bfloat16, or of "
                "a type for which rownorm::storage is specialized");
  if constexpr (known)
    static_assert(sizeof(typename storage<Number>::type) == sizeof(Number),
                  "rownorm::storage: the sizes of the types differ");
  return known;
}
/// The plain type below T, const where T is; an engine's type may be said to lie as another does.
template <class T>
struct plain {
  using next = typename std::conditional_t<is_number<T>(), storage<T>, storage<float>>::type;
  using type = typename std::conditional_t<std::is_same_v<next, T>, storage<T>, plain<next>>::type;
};
template <class T>
struct plain<const T> {
  using type = const typename plain<T>::type;
};
template <class T>
ROWNORM_INLINE auto plain_pointer(T* p) {
  using S = typename plain<T>::type;
  if constexpr (std::is_same_v<S, T>) return p;
  else return reinterpret_cast<S*>(p);
}

// Not std::void_t, an alias by which clang 14 takes two specializations for one (CWG 1980).
template <class...>
struct if_valid {
  using type = void;
};

/// The axes of an array: how many, whether its type says that the last is the dense one, and of
/// each how far it goes and how far apart its numbers are.
template <class A, class = void>
struct axes {
  static constexpr bool supported = false;
};
/// Eigen::Tensor and TensorMap, which are no Eigen matrices.
template <class A>
struct axes<A, typename if_valid<decltype(A::NumIndices), decltype(A::Layout),
                                 decltype(std::declval<A&>().dimension(0)),
                                 decltype(std::declval<A&>().data())>::type> {
  static constexpr auto rank = static_cast<std::size_t>(A::NumIndices);
  static constexpr bool row_major = static_cast<int>(A::Layout) != 0;  // Eigen::ColMajor
  static constexpr bool supported = rank == 1 || (rank == 2 && row_major);
  static auto* data(A& a) { return a.data(); }
  static auto extent(A& a, std::size_t axis) { return axis == 0 ? a.dimension(0) : a.dimension(1); }
  static auto stride(A& a, std::size_t axis) { return axis + 1 == rank ? 1 : a.dimension(1); }
};
/// boost::multi_array and multi_array_ref.
template <class A>
struct axes<A,
            typename if_valid<decltype(A::dimensionality), decltype(std::declval<A&>().shape()[0]),
                              decltype(std::declval<A&>().strides()[0]),
                              decltype(std::declval<A&>().data())>::type> {
  static constexpr auto rank = static_cast<std::size_t>(A::dimensionality);
  static constexpr bool supported = rank == 1 || rank == 2;
  static auto* data(A& a) { return a.data(); }
  static auto extent(A& a, std::size_t axis) { return a.shape()[axis]; }
  static auto stride(A& a, std::size_t axis) { return a.strides()[axis]; }
};
/// std::mdspan.
template <class A>
struct axes<A, typename if_valid<decltype(A::rank()), decltype(std::declval<A&>().extent(0)),
                                 decltype(std::declval<A&>().stride(0)),
                                 decltype(std::declval<A&>().data_handle())>::type> {
  static constexpr auto rank = static_cast<std::size_t>(A::rank());
  static constexpr bool supported = rank == 1 || rank == 2;
  static auto* data(A& a) { return a.data_handle(); }
  static auto extent(A& a, std::size_t axis) { return axis == 0 ? a.extent(0) : a.extent(1); }
  static auto stride(A& a, std::size_t axis) { return axis == 0 ? a.stride(0) : a.stride(1); }
};

template <template <class> class Member, class A, class = void>
inline constexpr bool offers = false;
template <template <class> class Member, class A>
inline constexpr bool offers<Member, A, std::void_t<Member<A>>> = true;
// clang-format off
template <class A> using member_shape = decltype(std::declval<A&>().shape());
template <class A> using member_strides = decltype(std::declval<A&>().strides());
template <class A> using member_stride = decltype(std::declval<A&>().stride());
template <class A> using member_stride_of = decltype(std::declval<A&>().stride(0));
template <class A> using member_extent_of = decltype(std::declval<A&>().extent(0));
template <class A> using member_dimension = decltype(std::declval<A&>().dimension());
template <class A> using member_dimensions = decltype(std::declval<A&>().dimensions());
template <class A> using member_rank = decltype(std::declval<A&>().rank());
template <class A> using member_rows = decltype(std::declval<A&>().rows());
template <class A> using member_columns = decltype(std::declval<A&>().columns());
template <class A> using member_data = decltype(*std::declval<A&>().data());
template <class A> using member_size = decltype(std::declval<A&>().size());
// clang-format on

/// Whether A speaks of axes, so that data() and size() do not make one row of it.
template <class A>
inline constexpr bool is_array =
    axes<A>::supported || offers<member_shape, A> || offers<member_strides, A> ||
    offers<member_stride, A> || offers<member_stride_of, A> || offers<member_extent_of, A> ||
    offers<member_dimension, A> || offers<member_dimensions, A> || offers<member_rank, A> ||
    offers<member_rows, A> || offers<member_columns, A>;
/// std::vector, std::array, std::span and what is like them: one row.
template <class A>
inline constexpr bool is_container = offers<member_data, A>&& offers<member_size, A>;

template <class A>
constexpr bool has_axes_of_rows() {
  constexpr bool supported = axes<A>::supported;
  static_assert(supported,
                "rownorm: an array must have one axis, or two and be row-major: pass "
                "rownorm::rows(data, count, length, stride) instead");
  return supported;
}
/// An array of one axis as one row, one of two as its rows.
template <class A>
ROWNORM_INLINE auto array_rows(A& a) {
  if constexpr (has_axes_of_rows<std::remove_const_t<A>>()) {
    using array = axes<A>;
    constexpr std::size_t last = array::rank - 1;
    auto* data = plain_pointer(array::data(a));
    const auto length = static_cast<std::size_t>(array::extent(a, last));
    const bool dense = length < 2 || array::stride(a, last) == 1;
    return rows<std::remove_pointer_t<decltype(data)>>(
        data, last == 0 ? 1 : static_cast<std::size_t>(array::extent(a, 0)), length,
        !dense      ? scattered
        : last == 0 ? length
                    : static_cast<std::size_t>(array::stride(a, 0)));
  } else {
    return after_error();
  }
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
