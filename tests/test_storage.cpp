// SPDX-License-Identifier: MIT
// detail/storage.hpp: each 16-bit number through load and store, and packs that are not whole.
#include <rownorm/detail/eigen.hpp>
#include <rownorm/detail/storage.hpp>

#include "reference.hpp"

namespace rn = rownorm;
using namespace test;

namespace {

/// The value of 16 bits, from their fields.
template <class S>
real value_of(std::uint16_t bits) {
  constexpr int fraction_bits = format<S>::digits - 1, exponent_bits = 15 - fraction_bits;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  real v;
  if (exponent == (1 << exponent_bits) - 1)
    v = fraction != 0 ? std::numeric_limits<real>::quiet_NaN()
                      : std::numeric_limits<real>::infinity();
  else if (exponent == 0) v = std::ldexp(static_cast<real>(fraction), format<S>::lowest);
  else
    v = std::ldexp(static_cast<real>(fraction + (1 << fraction_bits)),
                   format<S>::lowest + exponent - 1);
  return (bits >> 15) != 0 ? -v : v;
}

/// v rounded to nearest even, as a value.
template <class S>
real rounded(real v) {
  if (std::isnan(v) || std::isinf(v)) return v;
  const real r = std::rint(v / ulp<S>(v)) * ulp<S>(v);
  const real most = exact(std::numeric_limits<S>::max());
  return std::abs(r) > most ? std::copysign(std::numeric_limits<real>::infinity(), v) : r;
}

bool same(real a, real b) {
  return std::isnan(b) ? std::isnan(a) : a == b && std::signbit(a) == std::signbit(b);
}

template <class T>
inline constexpr std::size_t pack = rn::detail::pack_width<T>;

template <class T, class Order, class S>
void load(const S* from, T* to, std::size_t n) {
  using rn::detail::full;
  const auto* p = reinterpret_cast<const typename rn::storage<S>::type*>(from);
  rn::detail::pack<T> v;
  if (n == pack<T>) v = rn::detail::load(rn::detail::place<T, Order, full>{0, {}}, p);
  else v = rn::detail::load(rn::detail::place<T, Order, std::size_t>{0, n}, p);
  rn::detail::store_batch(to, v.a);
  rn::detail::store_batch(to + pack<T> / 2, v.b);
}
template <class T, class Order, class S>
void store(const T* from, S* to, std::size_t n) {
  using rn::detail::full;
  auto* p = reinterpret_cast<typename rn::storage<S>::type*>(to);
  const rn::detail::pack<T> v{rn::detail::load_batch(from),
                              rn::detail::load_batch(from + pack<T> / 2)};
  if (n == pack<T>) rn::detail::store(rn::detail::place<T, Order, full>{0, {}}, p, v);
  else rn::detail::store(rn::detail::place<T, Order, std::size_t>{0, n}, p, v);
}
/// What store_rounded gives back (and `rounded_to` at a place, which must be the same), as lanes;
/// it stores as store does.
template <class T, class Order, class S>
void keep(const T* from, S* to, std::size_t n, T* kept) {
  using rn::detail::full;
  using stored = typename rn::storage<S>::type;
  auto* p = reinterpret_cast<stored*>(to);
  const rn::detail::pack<T> v{rn::detail::load_batch(from),
                              rn::detail::load_batch(from + pack<T> / 2)};
  const auto at = [&](auto place) {
    const auto r = rn::detail::store_rounded(place, p, v);
    const auto same_r = rn::detail::rounded_to<stored>(place, v);
    rn::detail::store_batch(kept, r.a);
    rn::detail::store_batch(kept + pack<T> / 2, r.b);
    T again[pack<T>];
    rn::detail::store_batch(again, same_r.a);
    rn::detail::store_batch(again + pack<T> / 2, same_r.b);
    EXPECT_EQ(std::memcmp(kept, again, sizeof again), 0);
  };
  if (n == pack<T>) at(rn::detail::place<T, Order, full>{0, {}});
  else at(rn::detail::place<T, Order, std::size_t>{0, n});
}

/// The lane of a pack that number i goes to.
template <class T, class Order>
std::size_t lane(std::size_t i) {
  return std::is_same_v<Order, rn::detail::in_order> ? i : i / 2 + i % 2 * (pack<T> / 2);
}

/// Each of the 65536 numbers, in each lane count of a pack: loaded, and stored again.
template <class S, class T, class Order = rn::detail::in_order>
void check_all_numbers() {
  T lanes[pack<T>];
  for (std::size_t n = 1; n <= pack<T>; ++n)
    for (std::size_t first = 0; first < 65536; first += n) {
      const std::size_t count = std::min(n, 65536 - first);
      guarded<S> in(1, count, count), out(1, count, count);
      for (std::size_t i = 0; i < count; ++i) {
        const auto bits = static_cast<std::uint16_t>(first + i);
        std::memcpy(static_cast<void*>(in.rows().data + i), &bits, 2);
      }
      load<T, Order>(in.rows().data, lanes, count);
      store<T, Order>(lanes, out.rows().data, count);
      bool right = out.untouched();
      for (std::size_t i = 0; i < count; ++i) {
        const auto bits = static_cast<std::uint16_t>(first + i);
        std::uint16_t stored;
        std::memcpy(&stored, out.rows().data + i, 2);
        const real v = value_of<S>(bits);
        right = right && same(exact(lanes[lane<T, Order>(i)]), v) &&
                (std::isnan(v) ? std::isnan(value_of<S>(stored)) : stored == bits);
      }
      for (std::size_t i = count; i < pack<T>; ++i) right = right && lanes[lane<T, Order>(i)] == 0;
      ASSERT_TRUE(right) << format<S>::name << ", numbers from " << first << ", " << count;
    }
}

TEST(Storage, EachHalf) {
  check_all_numbers<Eigen::half, float>();
  check_all_numbers<Eigen::half, double>();
}
TEST(Storage, EachBfloat16) {
  check_all_numbers<Eigen::bfloat16, float>();
  check_all_numbers<Eigen::bfloat16, double>();
#if !defined(ROWNORM_SCALAR)
  check_all_numbers<Eigen::bfloat16, float, rn::detail::even_odd>();
#endif
}

/// Floats at, next to and between the numbers of S: the ties above all.
template <class S>
std::vector<float> floats_around() {
  std::vector<float> v;
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const real here = value_of<S>(static_cast<std::uint16_t>(bits));
    if (std::isnan(here)) continue;
    const real next = value_of<S>(static_cast<std::uint16_t>(bits + 1));
    v.push_back(static_cast<float>(here));
    if (std::isfinite(here)) {
      const real above = std::isfinite(next) ? next : here + std::copysign(ulp<S>(here), here);
      const auto tie = static_cast<float>((here + above) / 2);
      v.insert(v.end(), {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, 2 * tie)});
    }
  }
  const float most = std::numeric_limits<float>::max(),
              least = std::numeric_limits<float>::denorm_min();
  v.insert(v.end(), {most, -most, least, -least, 1e5f, -1e5f, 65520.0f, 65519.996f, 0.0f, -0.0f});
  return v;
}

template <class S, class T, class Order = rn::detail::in_order>
void check_rounding() {
  const std::vector<float> v = floats_around<S>();
  T lanes[pack<T>] = {}, kept[pack<T>];
  S out[pack<T>], also[pack<T>];
  for (std::size_t first = 0; first < v.size(); first += pack<T> - 1)
    for (const std::size_t most : {pack<T> - 1, pack<T>}) {  // a part of a pack, and a whole one
      const std::size_t n = std::min(most, v.size() - first);
      for (std::size_t i = 0; i < n; ++i) lanes[lane<T, Order>(i)] = v[first + i];
      store<T, Order>(lanes, out, n);
      keep<T, Order>(lanes, also, n, kept);
      ASSERT_EQ(std::memcmp(out, also, n * sizeof(S)), 0);
      for (std::size_t i = 0; i < n; ++i) {
        std::uint16_t bits;
        std::memcpy(&bits, out + i, 2);
        ASSERT_TRUE(same(value_of<S>(bits), rounded<S>(v[first + i])))
            << format<S>::name << ": " << v[first + i] << " becomes " << value_of<S>(bits);
        ASSERT_TRUE(same(kept[lane<T, Order>(i)], value_of<S>(bits)))
            << format<S>::name << ": " << v[first + i] << " is kept as " << kept[lane<T, Order>(i)];
      }
    }
}

TEST(Storage, HalfRoundsToNearestEven) {
  check_rounding<Eigen::half, float>();
  check_rounding<Eigen::half, double>();
}
TEST(Storage, Bfloat16RoundsToNearestEven) {
  check_rounding<Eigen::bfloat16, float>();
  check_rounding<Eigen::bfloat16, double>();
#if !defined(ROWNORM_SCALAR)
  check_rounding<Eigen::bfloat16, float, rn::detail::even_odd>();
#endif
}

/// NaNs whose fraction the narrow type would cut off. (A whole pack of bfloat16 is rounded as
/// arithmetic leaves it: its NaNs are quiet.)
template <class S>
void check_nan() {
  for (const std::uint32_t nan :
       {0x7f800001u, 0x7fc00000u, 0xff800001u, 0xffffffffu, 0x7f801fffu, 0x7fffffffu}) {
    float lanes[pack<float>];
    S out[pack<float>];
    for (float& l : lanes) std::memcpy(&l, &nan, 4);
    const bool quiet = (nan & 0x00400000u) != 0 || !std::is_same_v<S, Eigen::bfloat16>;
    for (const std::size_t n : {std::size_t{1}, quiet ? pack<float> : pack<float> - 1}) {
      store<float, rn::detail::in_order>(lanes, out, n);
      for (std::size_t i = 0; i < n; ++i) EXPECT_TRUE(std::isnan(exact(out[i]))) << nan;
      using stored = typename rn::storage<S>::type;
      const auto v = rn::detail::rounded_to<stored>(rn::detail::load_batch(lanes));
      float first[pack<float>];
      rn::detail::store_batch(first, v);
      EXPECT_TRUE(std::isnan(first[0])) << nan;
    }
  }
}
TEST(Storage, NanStaysNan) {
  check_nan<Eigen::half>();
  check_nan<Eigen::bfloat16>();
}

/// rounded_to is a store and a load.
template <class S>
void check_rounded_to() {
  const std::vector<float> v = floats_around<S>();
  float lanes[pack<float>], kept[pack<float>];
  for (std::size_t first = 0; first + pack<float> <= v.size(); first += pack<float>) {
    std::copy_n(v.begin() + static_cast<std::ptrdiff_t>(first), pack<float>, lanes);
    const rn::detail::pack<float> p{rn::detail::load_batch(lanes),
                                    rn::detail::load_batch(lanes + pack<float> / 2)};
    const auto r = rn::detail::rounded_to<typename rn::storage<S>::type>(p);
    rn::detail::store_batch(kept, r.a);
    rn::detail::store_batch(kept + pack<float> / 2, r.b);
    for (std::size_t i = 0; i < pack<float>; ++i)
      ASSERT_TRUE(same(kept[i], rounded<S>(lanes[i]))) << format<S>::name << ' ' << lanes[i];
  }
}
TEST(Storage, RoundedTo) {
  check_rounded_to<Eigen::half>();
  check_rounded_to<Eigen::bfloat16>();
}

/// float and double: a part of a pack reads and writes its numbers and no other.
template <class S, class T>
void check_parts() {
  for (std::size_t n = 0; n <= pack<T>; ++n) {
    const matrix<S> x = normals<S>(1, n, 7);
    const guarded<S> in(x, n);
    guarded<S> out(1, n, n);
    T lanes[pack<T>];
    load<T, rn::detail::in_order>(in.rows().data, lanes, n);
    store<T, rn::detail::in_order>(lanes, out.rows().data, n);
    for (std::size_t i = 0; i < pack<T>; ++i)
      EXPECT_EQ(lanes[i], i < n ? static_cast<T>(x(0, static_cast<Eigen::Index>(i))) : T(0)) << n;
    EXPECT_TRUE(sizeof(S) > sizeof(T) || same_bits(out.map(), x)) << n;
    EXPECT_TRUE(out.untouched()) << n;
  }
}
TEST(Storage, PartsOfAPack) {
  check_parts<float, float>();
  check_parts<double, double>();
  check_parts<float, double>();
  check_parts<double, float>();
}

}  // namespace
