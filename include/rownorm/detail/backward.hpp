// SPDX-License-Identifier: MIT
// The second halves of the gradients and the loop over rows. With h = (x - mean) * r, the
// normalized numbers, and g = gamma * dy:
//   RMSNorm:   dx = r * (g - h * mean(g * h))
//   LayerNorm: dx = r * (g - mean(g) - h * mean(g * h))
//   dgamma += the sum over rows of dy * h, dbeta += the sum over rows of dy.
// Never an argument or a check.
#pragma once

#include <cstddef>
#include <type_traits>

#include "forward.hpp"
#include "gradient.hpp"
#include "row_sums.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// The order of a loop that also adds to sums over rows: those are kept in order.
template <class G, class B, class T, class... S>
using backward_order =
    std::conditional_t<std::is_same_v<G, row_sums<none_t>> && std::is_same_v<B, row_sums<none_t>>,
                       order_for<T, S...>, in_order>;

// ---------------------------------------------------------------------------------------------
// The second half.
// ---------------------------------------------------------------------------------------------

template <bool Centred, class T, class DY, class Source, class Gamma, class DX, class G, class B>
ROWNORM_INLINE void write_gradient(std::size_t n, const DY& dy, const Source& x, const Gamma& gamma,
                                   const DX& dx, const G& dgamma, const B& dbeta,
                                   const gradient_factors& f) {
  using order = backward_order<G, B, T, typename DY::stored, typename Source::stored,
                               typename Gamma::stored, typename DX::stored>;
  const pack<T> r = splat(static_cast<T>(f.r));
  const pack<T> slope = splat(static_cast<T>(-f.slope)), shift = splat(static_cast<T>(-f.shift));
  const pack<T> less = splat(static_cast<T>(-f.mean)), rest = splat(static_cast<T>(-f.rest * f.r));
  const auto gradient = [&](auto at) ROWNORM_LAMBDA {
    const pack<T> v = dy(at);
    const pack<T> h = Centred ? fma(x(at) + less, r, rest) : x(at) * r;
    const pack<T> g = Centred ? times_gamma_plus(at, v, gamma, shift) : times_gamma(at, v, gamma);
    const pack<T> d = fma(h, slope, g) * r;
    dgamma.add(at, v, h);
    dbeta.add(at, v);
    // In a step of its own: r times the scale may overflow.
    return std::is_same_v<Source, erased_source> ? d * splat(static_cast<T>(f.scale)) : d;
  };
  constexpr bool pure = std::is_same_v<G, row_sums<none_t>> && std::is_same_v<B, row_sums<none_t>>;
  write_row<pure, T, order>(n, dx, gradient, dy, x);
}

template <bool Centred>
ROWNORM_FLAT ROWNORM_COLD void write_gradient_again(std::size_t n, const erased_source& dy,
                                                    erased_source x, const erased_source& gamma,
                                                    const erased_sink& dx,
                                                    const erased_sums& dgamma,
                                                    const erased_sums& dbeta,
                                                    const gradient_factors& f) {
  x.scale = f.scale;
  write_gradient<Centred, double>(n, dy, x, gamma, dx, dgamma, dbeta, f);
}
template <bool Centred, class DY, class Source, class Gamma, class DX, class G, class B>
ROWNORM_COLD void gradient_row_again(std::size_t n, DY dy, Source x, Gamma gamma, DX dx, G dgamma,
                                     B dbeta, gradient_factors f) {
  write_gradient_again<Centred>(n, erased_source(&dy), erased_source(&x), erased_source(&gamma),
                                erased_sink(&dx), erased_sums(&dgamma), erased_sums(&dbeta), f);
}
/// dx of one row, and what it adds to dgamma and dbeta. f.scale is `held` where T holds f and x.
template <bool Centred, class T, class DY, class Source, class Gamma, class DX, class G, class B>
ROWNORM_INLINE void gradient_row(std::size_t n, const DY& dy, const Source& x, const Gamma& gamma,
                                 const DX& dx, const G& dgamma, const B& dbeta,
                                 const gradient_factors& f) {
  if (ROWNORM_LIKELY(f.scale == held))
    write_gradient<Centred, T>(n, dy, x, gamma, dx, dgamma, dbeta, f);
  else gradient_row_again<Centred>(n, dy, x, gamma, dx, dgamma, dbeta, f);
}

// ---------------------------------------------------------------------------------------------
// The rows of a call, which have n numbers, and the loop over them.
// ---------------------------------------------------------------------------------------------

/// The statistics of a backward call that another did not save.
struct not_saved {
  epsilon eps;
  ROWNORM_INLINE saved_row at_row(std::size_t) const { return {0, 0, 0, false}; }
};
ROWNORM_INLINE epsilon eps_of(const not_saved& s) {
  return s.eps;
}
template <class M, class R>
ROWNORM_INLINE epsilon eps_of(const saved_columns<M, R>&) {
  return 0;
}

template <class T, class DY, class X, class Gamma, class DX, class Statistic>
struct rms_gradient_rows {
  using number = T;
  std::size_t n;
  DY dy;
  X x;
  Gamma gamma;
  DX dx;
  Statistic statistic;

  template <class G>
  ROWNORM_INLINE void row(std::size_t i, const G& dgamma) const {
    const saved_row saved = statistic.at_row(i);
    const epsilon eps = eps_of(statistic);
    const auto dy_row = at_row_ahead(dy, i, 1);
    const auto x_row = at_row_ahead(x, i, 1);
    const rms_gradient s = find_rms_gradient<T>(n, dy_row, x_row, gamma.at_row(i), eps, saved);
    gradient_row<false, T>(n, dy_row, x_row, gamma.at_row(i), dx.at_row(i), dgamma,
                           row_sums<none_t>{}, factors_of(s, static_cast<double>(n), eps, saved));
  }
};
template <class T, class DY, class X, class Gamma, class DX, class Statistic>
struct layer_gradient_rows {
  using number = T;
  std::size_t n;
  DY dy;
  X x;
  Gamma gamma;
  DX dx;
  Statistic statistic;

  template <class G, class B>
  ROWNORM_INLINE void row(std::size_t i, const G& dgamma, const B& dbeta) const {
    const saved_row saved = statistic.at_row(i);
    const epsilon eps = eps_of(statistic);
    const auto dy_row = at_row_ahead(dy, i, 1);
    const auto x_row = at_row_ahead(x, i, 1);
    const layer_gradient s = find_layer_gradient<T>(n, dy_row, x_row, gamma.at_row(i), eps, saved);
    gradient_row<true, T>(n, dy_row, x_row, gamma.at_row(i), dx.at_row(i), dgamma, dbeta,
                          factors_of(s, static_cast<double>(n), eps, saved));
  }
};

template <template <class...> class Rows, class T, class DY, class X, class Gamma, class DX,
          class Statistic>
ROWNORM_INLINE auto gradient_rows(std::size_t n, const DY& dy, const X& x, const Gamma& gamma,
                                  const DX& dx, const Statistic& statistic) {
  return Rows<T, DY, X, Gamma, DX, Statistic>{n, dy, x, gamma, dx, statistic};
}

/// Rows `begin` to `end`; `begin` is a multiple of rows_per_block.
template <class Rows, class... Sums>
ROWNORM_FLAT void for_gradient_rows(std::size_t begin, std::size_t end, const Rows& rows,
                                    const Sums&... sums) {
  if (rows.n == 0) return;
  for (std::size_t i = begin; i < end; ++i) {
    rows.row(i, sums.at_row(i)...);
    end_row(i, end, sums...);
  }
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
