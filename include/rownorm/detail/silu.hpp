// SPDX-License-Identifier: MIT
// e^x of a batch and silu of a pack; never a load or a store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "config.hpp"
#include "storage.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// 2^k for integers k that to_integer was added to.
ROWNORM_INLINE batch<float> power_of_two(batch<float> k) {
  return as<float>((as<std::uint32_t>(k) + words(127u)) << 23);
}
ROWNORM_INLINE batch<double> power_of_two(batch<double> k) {
  using longs = batch<std::uint64_t>;
  return as<double>((as<std::uint64_t>(k) + longs(std::uint64_t{1023})) << 52);
}

/// 1 / n!, and no array: an inline one becomes a unique symbol, which keeps a plugin from being
/// unloaded.
constexpr double inverse_factorial(std::size_t n) {
  double product = 1;
  for (std::size_t i = 2; i <= n; ++i) product *= static_cast<double>(i);
  return 1 / product;
}

/// e^x for x in [-87, 88] (double: [-700, 709]), infinity for 89 (710): x = k * ln 2 + r, and the
/// Taylor polynomial of r, of so high a degree that what it leaves is less than a tenth of the step
/// of T at 1. k is 128 (1024) at most, as it is for 89 unless it is rounded upwards.
template <class T>
ROWNORM_INLINE batch<T> exp(batch<T> x) {
  constexpr bool single = std::is_same_v<T, float>;
  constexpr std::size_t degree = single ? 7 : 13;
  const batch<T> most(to_integer<T> + (single ? 128 : 1024));
  const batch<T> shifted =
      minimum(fma(x, batch<T>(T(1.4426950408889634)), batch<T>(to_integer<T>)), most);
  const batch<T> k = batch<T>(to_integer<T>) - shifted;
  // -ln 2 comes in two parts, the first with zeros at its end so that k times it is exact.
  batch<T> r = fma(k, batch<T>(single ? T(0x1.62e4p-1) : T(0x1.62e42fefa38p-1)), x);
  r = fma(k, batch<T>(single ? T(0x1.7f7d1cp-20) : T(0x1.ef35793c7673p-45)), r);
  constexpr T first = static_cast<T>(inverse_factorial(degree));
  batch<T> p(first);
  unroll<degree>([&](auto i) ROWNORM_LAMBDA {
    constexpr T next = static_cast<T>(inverse_factorial(degree - 1 - i()));
    p = fma(p, r, batch<T>(next));
  });
  return p * power_of_two(shifted);
}

/// z / (1 + e^-z): -0 below z = -88.4 (double: -709.5), where it is less than 4e-37 (6e-306) in
/// size, NaN for z = -infinity as by the formula.
template <class T>
ROWNORM_INLINE pack<T> silu(pack<T> z) {
  constexpr bool single = std::is_same_v<T, float>;
  const pack<T> least = splat(single ? T(-87) : T(-700)), most = splat(single ? T(89) : T(710));
  const pack<T> x = maximum(minimum(splat(T(0)) - z, most), least);
  return z / (splat(T(1)) + pack<T>{exp(x.a), exp(x.b)});
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
