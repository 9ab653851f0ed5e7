// SPDX-License-Identifier: MIT
// The bare loops: each half of a norm by hand, for whole rows of one type, with nothing around it.
// Written on the compilers' vectors and apart from the library, so that neither helps the other.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__F16C__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace bench::limits {

#if defined(__AVX512F__) && defined(__AVX512BW__)
inline constexpr std::size_t register_bytes = 64, registers = 32;
#elif defined(__AVX2__)
inline constexpr std::size_t register_bytes = 32, registers = 16;
#elif defined(__aarch64__)
inline constexpr std::size_t register_bytes = 16, registers = 32;
#else
inline constexpr std::size_t register_bytes = 16, registers = 16;
#endif

/// The type of the arithmetic on numbers of S.
template <class S>
using real = std::conditional_t<std::is_same_v<S, double>, double, float>;

template <class A>
struct vector_of {
  typedef A type __attribute__((vector_size(register_bytes)));
};
template <class A>
using vec = typename vector_of<A>::type;
template <class A>
inline constexpr std::size_t width = register_bytes / sizeof(A);
using words = vec<std::uint32_t>;

/// Two registers of numbers, which is what one register of 16-bit numbers holds.
template <class A>
struct pair {
  vec<A> a, b;
};
template <class S>
inline constexpr std::size_t step = 2 * width<real<S>>;

#if defined(__F16C__) || defined(__aarch64__)
inline constexpr bool has_fp16 = true;
#else
inline constexpr bool has_fp16 = false;
#endif
/// Whether the ISA can read and write numbers of S.
template <class S>
inline constexpr bool convertible = has_fp16 || !std::is_same_v<S, Eigen::half>;

/// Even numbers of bfloat16 go to a, odd ones to b.
template <class S>
inline constexpr bool even_odd = std::is_same_v<S, Eigen::bfloat16>;

template <class V, class S>
V bits_at(const S* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class S, class V>
void put_bits(S* p, V v) {
  std::memcpy(static_cast<void*>(p), &v, sizeof v);
}

#if defined(__AVX512F__) && defined(__AVX512BW__)
inline vec<float> widen(const Eigen::half* p) {
  return _mm512_cvtph_ps(bits_at<__m256i>(p));
}
inline void narrow(Eigen::half* p, vec<float> v) {
  put_bits(p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#elif defined(__AVX2__) && defined(__F16C__)
inline vec<float> widen(const Eigen::half* p) {
  return _mm256_cvtph_ps(bits_at<__m128i>(p));
}
inline void narrow(Eigen::half* p, vec<float> v) {
  put_bits(p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__F16C__)
inline vec<float> widen(const Eigen::half* p) {
  return _mm_cvtph_ps(_mm_cvtsi64_si128(bits_at<long long>(p)));
}
inline void narrow(Eigen::half* p, vec<float> v) {
  put_bits(p, _mm_cvtsi128_si64(_mm_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)));
}
#elif defined(__aarch64__)
inline vec<float> widen(const Eigen::half* p) {
  return vcvt_f32_f16(bits_at<float16x4_t>(p));
}
inline void narrow(Eigen::half* p, vec<float> v) {
  put_bits(p, vcvt_f16_f32(v));
}
#endif

/// To nearest even, in the upper halves; a NaN is none of a limit's business.
inline words rounded(vec<float> v) {
  const words bits = reinterpret_cast<words>(v);
  return bits + 0x7fff + ((bits >> 16) & 1);
}

template <class S>
pair<real<S>> load(const S* p) {
  using A = real<S>;
  if constexpr (std::is_same_v<S, A>) {
    return {bits_at<vec<A>>(p), bits_at<vec<A>>(p + width<A>)};
  } else if constexpr (even_odd<S>) {
    const words w = bits_at<words>(p);
    return {reinterpret_cast<vec<A>>(w << 16), reinterpret_cast<vec<A>>(w & 0xffff0000)};
  } else {
    return {widen(p), widen(p + width<A>)};
  }
}
template <class S>
void store(S* p, pair<real<S>> v) {
  using A = real<S>;
  if constexpr (std::is_same_v<S, A>) {
    put_bits(p, v.a);
    put_bits(p + width<A>, v.b);
  } else if constexpr (even_odd<S>) {
    put_bits(p, rounded(v.a) >> 16 | (rounded(v.b) & 0xffff0000));
  } else {
    narrow(p, v.a);
    narrow(p + width<A>, v.b);
  }
}

/// Numbers as the next operation would read them from memory.
template <class S>
pair<real<S>> kept(S* p, pair<real<S>> v) {
  store(p, v);
  if constexpr (std::is_same_v<S, real<S>>) return v;
  else return load(static_cast<const S*>(p));
}

/// Zeros in place of the first `counted` numbers of a step.
template <class S>
pair<real<S>> drop(std::size_t counted, pair<real<S>> v) {
  using A = real<S>;
  using index = vec<std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>>;
  using integer = std::decay_t<decltype(index{}[0])>;
  index a, b;
  for (std::size_t l = 0; l < width<A>; ++l) {
    a[l] = static_cast<integer>(even_odd<S> ? 2 * l : l);
    b[l] = static_cast<integer>(even_odd<S> ? 2 * l + 1 : width<A> + l);
  }
  const auto first = static_cast<integer>(counted);
  return {reinterpret_cast<vec<A>>(reinterpret_cast<index>(v.a) & (a >= first)),
          reinterpret_cast<vec<A>>(reinterpret_cast<index>(v.b) & (b >= first))};
}

template <class V, std::size_t... I>
auto across(V v, std::index_sequence<I...>) {
  if constexpr (sizeof...(I) == 1) return v[0] + v[1];
  else
    return across(
        __builtin_shufflevector(v, v, I...) + __builtin_shufflevector(v, v, (I + sizeof...(I))...),
        std::make_index_sequence<sizeof...(I) / 2>{});
}

template <std::size_t K>
using number = std::integral_constant<std::size_t, K>;

template <class A, std::size_t K>
struct sums {
  A of[K];
};

/// What the backward pass sums over: x - mean and gamma * dy.
template <class A>
struct terms {
  vec<A> x, g;
};
template <class A>
struct terms_pair {
  terms<A> a, b;
};
template <class S>
terms_pair<real<S>> drop(std::size_t counted, terms_pair<real<S>> v) {
  const pair<real<S>> x = drop<S>(counted, pair<real<S>>{v.a.x, v.b.x});
  const pair<real<S>> g = drop<S>(counted, pair<real<S>>{v.a.g, v.b.g});
  return {{x.a, g.a}, {x.b, g.b}};
}

/// f(place, counted) for each step of a row of n: the last numbers are in the step that ends at the
/// row's end, of which the first `counted` numbers were in the step before.
template <class S, class F>
[[gnu::always_inline]] inline void steps(std::size_t n, F f) {
  std::size_t i = 0;
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 2  // as the library's loops
#endif
  for (; i + step<S> <= n; i += step<S>) f(i, std::size_t{0});
  if (i < n) f(n - step<S>, i + step<S> - n);
}
/// As drop, and nothing where nothing was counted.
template <class S>
[[gnu::always_inline]] inline pair<real<S>> rest(std::size_t counted, pair<real<S>> v) {
  return counted == 0 ? v : drop<S>(counted, v);
}

/// K sums over a row of n numbers: at(place) gives what is summed, add(that, a register of each
/// sum) adds it. Eight chains, since two multiply-adds begin in each cycle and take four (or fewer,
/// where eight of each sum do not fit half the registers); each a variable, since g++ leaves an
/// array of them in memory.
template <std::size_t K, class S, class At, class Add>
[[gnu::always_inline]] inline sums<real<S>, K> sum(std::size_t n, At at, Add add) {
  using A = real<S>;
  vec<A> c0[K] = {}, c1[K] = {}, c2[K] = {}, c3[K] = {};
  vec<A> c4[K] = {}, c5[K] = {}, c6[K] = {}, c7[K] = {};
  constexpr std::size_t chains = 16 * K <= registers ? 8 : 8 * K <= registers ? 4 : 2;
  const auto add_pair = [&](auto v, vec<A>(&a)[K], vec<A>(&b)[K]) __attribute__((always_inline)) {
    add(v.a, a);
    add(v.b, b);
  };
  std::size_t i = 0;
  for (; i + chains / 2 * step<S> <= n; i += chains / 2 * step<S>) {
    add_pair(at(i), c0, c1);
    if constexpr (chains >= 4) add_pair(at(i + step<S>), c2, c3);
    if constexpr (chains == 8) {
      add_pair(at(i + 2 * step<S>), c4, c5);
      add_pair(at(i + 3 * step<S>), c6, c7);
    }
  }
  for (; i + step<S> <= n; i += step<S>) add_pair(at(i), c0, c1);
  if (i < n) add_pair(drop<S>(i + step<S> - n, at(n - step<S>)), c2, c3);
  const auto total = [&](auto k) __attribute__((always_inline)) {
    return across(
        ((c0[k()] + c1[k()]) + (c2[k()] + c3[k()])) + ((c4[k()] + c5[k()]) + (c6[k()] + c7[k()])),
        std::make_index_sequence<width<A> / 2>{});
  };
  if constexpr (K == 1) return {{total(number<0>{})}};
  else if constexpr (K == 2) return {{total(number<0>{}), total(number<1>{})}};
  else return {{total(number<0>{}), total(number<1>{}), total(number<2>{}), total(number<3>{})}};
}

/// y = of(numbers, place) for a row of n.
template <class S, class Of>
[[gnu::always_inline]] inline void apply(std::size_t n, const S* x, S* y, Of of) {
  steps<S>(
      n, [&](std::size_t i, std::size_t)
             __attribute__((always_inline)) { store(y + i, of(load(x + i), i)); });
}

template <class S>
[[gnu::always_inline]] inline real<S> sum_of_squares(std::size_t n, const S* x) {
  using V = vec<real<S>>;
  return sum<1, S>(
             n, [=](std::size_t i) { return load(x + i); }, [](V v, V(&s)[1]) { s[0] += v * v; })
      .of[0];
}

/// Of x - mean: the sum, and the sum of the squares.
template <class S>
[[gnu::always_inline]] inline sums<real<S>, 2> sums_around(real<S> mean, std::size_t n,
                                                           const S* x) {
  using V = vec<real<S>>;
  return sum<2, S>(
      n,
      [=](std::size_t i) {
        const pair<real<S>> v = load(x + i);
        return pair<real<S>>{v.a - mean, v.b - mean};
      },
      [](V v, V(&s)[2]) {
        s[0] += v;
        s[1] += v * v;
      });
}

/// y = r * x * gamma.
template <class S>
[[gnu::always_inline]] inline void scale(std::size_t n, real<S> r, const S* x, const S* gamma,
                                         S* y) {
  using P = pair<real<S>>;
  apply(n, x, y, [=](P v, std::size_t i) {
    const P g = load(gamma + i);
    return P{v.a * r * g.a, v.b * r * g.b};
  });
}

/// y = (x - mean) * r * gamma + beta.
template <class S>
[[gnu::always_inline]] inline void scale_and_shift(std::size_t n, real<S> mean, real<S> r,
                                                   const S* x, const S* gamma, const S* beta,
                                                   S* y) {
  using P = pair<real<S>>;
  apply(n, x, y, [=](P v, std::size_t i) {
    const P g = load(gamma + i), b = load(beta + i);
    return P{(v.a - mean) * r * g.a + b.a, (v.b - mean) * r * g.b + b.b};
  });
}

/// What backward_sums and backward_sums_around have at a place.
template <class S>
[[gnu::always_inline]] inline terms_pair<real<S>> terms_at(real<S> mean, const S* dy, const S* x,
                                                           const S* gamma) {
  const pair<real<S>> v = load(x), d = load(dy), g = load(gamma);
  return {{v.a - mean, g.a * d.a}, {v.b - mean, g.b * d.b}};
}

/// Of x^2, and of gamma * dy * x.
template <class S>
[[gnu::always_inline]] inline sums<real<S>, 2> backward_sums(std::size_t n, const S* dy, const S* x,
                                                             const S* gamma) {
  using A = real<S>;
  return sum<2, S>(
      n, [=](std::size_t i) { return terms_at(A{0}, dy + i, x + i, gamma + i); },
      [](terms<A> t, vec<A>(&s)[2]) {
        s[0] += t.x * t.x;
        s[1] += t.g * t.x;
      });
}

/// Of d = x - mean, of d^2, of gamma * dy * d, and of gamma * dy.
template <class S>
[[gnu::always_inline]] inline sums<real<S>, 4> backward_sums_around(real<S> mean, std::size_t n,
                                                                    const S* dy, const S* x,
                                                                    const S* gamma) {
  using A = real<S>;
  return sum<4, S>(
      n, [=](std::size_t i) { return terms_at(mean, dy + i, x + i, gamma + i); },
      [](terms<A> t, vec<A>(&s)[4]) {
        s[0] += t.x;
        s[1] += t.x * t.x;
        s[2] += t.g * t.x;
        s[3] += t.g;
      });
}

template <class V, std::size_t... I>
pair<float> interleaved(V a, V b, std::index_sequence<I...>) {
  constexpr std::size_t w = sizeof...(I);
  return {__builtin_shufflevector(a, b, (I / 2 + I % 2 * w)...),
          __builtin_shufflevector(a, b, (w / 2 + I / 2 + I % 2 * w)...)};
}
/// to += v, the numbers of v being dealt as those of S are.
template <class S>
[[gnu::always_inline]] inline void add_to(real<S>* to, pair<real<S>> v) {
  using A = real<S>;
  if constexpr (even_odd<S>) v = interleaved(v.a, v.b, std::make_index_sequence<width<A>>{});
  const pair<A> before = load(static_cast<const A*>(to));
  store(to, pair<A>{before.a + v.a, before.b + v.b});
}

/// dx = r * gamma * dy - k * x; dgamma += r * dy * x.
template <class S>
[[gnu::always_inline]] inline void backward(std::size_t n, real<S> r, real<S> k, const S* dy,
                                            const S* x, const S* gamma, S* dx, real<S>* dgamma) {
  using P = pair<real<S>>;
  steps<S>(
      n, [=](std::size_t i, std::size_t counted) __attribute__((always_inline)) {
        const P d = load(dy + i), v = load(x + i), g = load(gamma + i);
        store(dx + i, P{r * g.a * d.a - k * v.a, r * g.b * d.b - k * v.b});
        add_to<S>(dgamma + i, rest<S>(counted, P{r * v.a * d.a, r * v.b * d.b}));
      });
}

/// With d = x - mean: dx = r * gamma * dy - (k * d + m); dgamma += r * dy * d; dbeta += dy.
template <class S>
[[gnu::always_inline]] inline void backward_around(std::size_t n, real<S> mean, real<S> r,
                                                   real<S> k, real<S> m, const S* dy, const S* x,
                                                   const S* gamma, S* dx, real<S>* dgamma,
                                                   real<S>* dbeta) {
  using P = pair<real<S>>;
  steps<S>(
      n, [=](std::size_t i, std::size_t counted) __attribute__((always_inline)) {
        const P d = load(dy + i), in = load(x + i), g = load(gamma + i);
        const P v{in.a - mean, in.b - mean};
        store(dx + i, P{r * g.a * d.a - (k * v.a + m), r * g.b * d.b - (k * v.b + m)});
        add_to<S>(dgamma + i, rest<S>(counted, P{r * v.a * d.a, r * v.b * d.b}));
        add_to<S>(dbeta + i, rest<S>(counted, d));
      });
}

/// residual += x at a place; gives the sum as it was stored.
template <class S>
[[gnu::always_inline]] inline pair<real<S>> add_step(const S* x, S* residual, std::size_t counted) {
  const pair<real<S>> v = rest<S>(counted, load(x)), h = load(static_cast<const S*>(residual));
  return kept(residual, pair<real<S>>{h.a + v.a, h.b + v.b});
}

/// residual += x.
template <class S>
[[gnu::always_inline]] inline void add(std::size_t n, const S* x, S* residual) {
  steps<S>(
      n, [=](std::size_t i, std::size_t counted)
             __attribute__((always_inline)) { add_step(x + i, residual + i, counted); });
}

/// Two reads and two writes: residual += x, y = residual.
template <class S>
[[gnu::always_inline]] inline void add_and_copy(std::size_t n, const S* x, S* residual, S* y) {
  steps<S>(
      n, [=](std::size_t i, std::size_t counted) __attribute__((always_inline)) {
        store(y + i, add_step(x + i, residual + i, counted));
      });
}

/// Two reads and one write: y = a + b.
template <class S>
[[gnu::always_inline]] inline void sum_of_two(std::size_t n, const S* a, const S* b, S* y) {
  using P = pair<real<S>>;
  apply(n, a, y, [=](P v, std::size_t i) {
    const P w = load(b + i);
    return P{v.a + w.a, v.b + w.b};
  });
}

}  // namespace bench::limits
