// SPDX-License-Identifier: MIT
// memcpy and the bare loops as contenders.
#include <cstring>

#include "limits.hpp"
#include "own.hpp"

namespace bench {

namespace {

/// What the first half would find of a row, for the bare second half: rstd, and the factors of the
/// backward pass.
template <class A>
struct factors {
  A mean, rstd, of_x = 0, of_one = 0;
};

template <class S>
std::vector<factors<real<S>>> given(const problem& p, op what) {
  using A = real<S>;
  std::vector<factors<A>> all;
  for (std::size_t i = 0; i < p.rows; ++i) {
    const statistic& row = p.statistics(what)[i];
    all.push_back({static_cast<A>(row.mean), static_cast<A>(row.rstd)});
    if (!backward(what)) continue;
    all.back().of_x = static_cast<A>(p.slopes(what)[i].of_h * row.rstd * row.rstd);
    all.back().of_one = static_cast<A>(p.slopes(what)[i].of_one * row.rstd);
  }
  return all;
}

/// The mean and the variance from the sums of d = x - guess and of d^2.
template <class A>
found moments(A guess, A sum, A squares, std::size_t n) {
  const auto length = static_cast<double>(n);
  const double rest = static_cast<double>(sum) / length;
  return {static_cast<double>(guess) + rest, static_cast<double>(squares) / length - rest * rest};
}

template <class S>
constexpr double rounding = sizeof(S) == 2 ? 1 : 4;
/// The bare sums over rows have one order, and no blocks.
template <class S>
constexpr double gradient_rounding = sizeof(S) == 2 ? 1 : 100;

using contenders = std::vector<contender>;

template <class S>
contenders forward_halves(const problem& p, op what) {
  const std::size_t rows = p.rows, n = p.length;
  const S *x = p.x<S>(), *gamma = p.gamma<S>(), *beta = p.beta<S>();
  S* y = p.y<S>();
  const auto row = given<S>(p, what);
  if (what == op::rms_norm)
    return {finder<S>("bare sum of squares", role::first_half, p, what,
                      [=](std::size_t i) {
                        return moments<real<S>>(0, 0, limits::sum_of_squares(n, x + i * n), n);
                      }),
            writer("bare scale", role::second_half, p, what, rounding<S>, [=] {
              for (std::size_t i = 0; i < rows; ++i)
                limits::scale(n, row[i].rstd, x + i * n, gamma, y + i * n);
            })};
  return {finder<S>("bare sums around the mean", role::first_half, p, what,
                    [=](std::size_t i) {
                      const auto s = limits::sums_around(row[i].mean, n, x + i * n);
                      return moments(row[i].mean, s.of[0], s.of[1], n);
                    }),
          writer("bare scale and shift", role::second_half, p, what, rounding<S>, [=] {
            for (std::size_t i = 0; i < rows; ++i)
              limits::scale_and_shift(n, row[i].mean, row[i].rstd, x + i * n, gamma, beta,
                                      y + i * n);
          })};
}

template <class S>
contenders backward_halves(const problem& p, op what) {
  using A = real<S>;
  const std::size_t rows = p.rows, n = p.length;
  const S *dy = p.dy<S>(), *x = p.x<S>(), *gamma = p.gamma<S>();
  S* dx = p.y<S>();
  A *dgamma = p.dgamma<A>(), *dbeta = p.dbeta<A>();
  const auto row = given<S>(p, what);
  const auto mean_of = [n](A sum) { return static_cast<double>(sum) / static_cast<double>(n); };
  if (what == op::rms_backward)
    return {finder<S>("bare sums of x^2 and gamma*dy*x", role::first_half, p, what,
                      [=](std::size_t i) {
                        const auto s = limits::backward_sums(n, dy + i * n, x + i * n, gamma);
                        found f = moments<A>(0, 0, s.of[0], n);
                        f.product = mean_of(s.of[1]);
                        return f;
                      }),
            writer("bare dx and dgamma", role::second_half, p, what, gradient_rounding<S>, [=] {
              for (std::size_t i = 0; i < rows; ++i)
                limits::backward(n, row[i].rstd, row[i].of_x, dy + i * n, x + i * n, gamma,
                                 dx + i * n, dgamma);
            })};
  return {
      finder<S>("bare sums around the mean, with gamma*dy", role::first_half, p, what,
                [=](std::size_t i) {
                  const auto s =
                      limits::backward_sums_around(row[i].mean, n, dy + i * n, x + i * n, gamma);
                  found f = moments(row[i].mean, s.of[0], s.of[1], n);
                  f.product = mean_of(s.of[2]);
                  f.level = mean_of(s.of[3]);
                  return f;
                }),
      writer("bare dx, dgamma and dbeta", role::second_half, p, what, gradient_rounding<S>, [=] {
        for (std::size_t i = 0; i < rows; ++i)
          limits::backward_around(n, row[i].mean, row[i].rstd, row[i].of_x, row[i].of_one,
                                  dy + i * n, x + i * n, gamma, dx + i * n, dgamma, dbeta);
      })};
}

/// A contender after which the answer's row i holds right(place in x), bit by bit.
template <class S, class F, class Right>
contender mover(const char* called, const problem& p, op what, F f, Right right) {
  const auto error = [&p, what, f, right] {
    p.forget_result(what);
    f();
    const auto* const y = static_cast<const S*>(p.places(what).y);
    for (std::size_t i = 0; i < p.rows; ++i)
      for (std::size_t j = 0; j < p.length; ++j) {
        const S expected = right(i * p.length + j);
        const std::size_t at = what == op::rms_heads ? p.place_of_head(i) : i * p.length;
        if (std::memcmp(&expected, y + at + j, sizeof expected) != 0) return 1.0;
      }
    return 0.0;
  };
  return {called, role::copy, what, repeated(f), error, 0};
}

template <class S>
contender copy(const problem& p, op what) {
  const auto from_x = [x = p.x<S>()](std::size_t i) { return x[i]; };
  if (what != op::rms_heads)
    return mover<S>(
        "memcpy", p, what, [&p] { std::memcpy(p.y<std::byte>(), p.x<std::byte>(), p.bytes()); },
        from_x);
  return mover<S>(
      "memcpy of each token's heads", p, what,
      [&p] {
        const std::size_t together = p.packed.heads * p.length * sizeof(S);
        for (std::size_t i = 0; i < p.rows; i += p.packed.heads)
          std::memcpy(static_cast<void*>(p.packed_y<S>() + p.place_of_head(i)),
                      p.packed_x<S>() + p.place_of_head(i), together);
      },
      from_x);
}

/// The bare loop that moves as many matrices as the backward pass, or the add.
template <class S>
contender bare_copy(const problem& p, op what) {
  const std::size_t n = p.rows * p.length;
  const S *x = p.x<S>(), *dy = p.dy<S>();
  S *y = p.y<S>(), *residual = p.residual<S>();
  const auto sum = [=](std::size_t i) { return static_cast<S>(real<S>(x[i]) + real<S>(dy[i])); };
  if (backward(what))
    return mover<S>(
        "bare, two reads and one write", p, what, [=] { limits::sum_of_two(n, x, dy, y); }, sum);
  return mover<S>(
      "bare, two reads and two writes", p, what, [=] { limits::add_and_copy(n, x, residual, y); },
      sum);
}

template <class S>
contenders limits_on(const problem& p, op what) {
  const bool bare = limits::convertible<S> && p.length >= limits::step<S>;
  contenders all;
  if (what == op::rms_norm || what == op::layer_norm || what == op::rms_heads)
    all.push_back(copy<S>(p, what));
  if constexpr (limits::convertible<S>) {
    if (!bare) return all;
    if (backward(what) || adds(what)) all.push_back(bare_copy<S>(p, what));
    if (backward(what))
      for (contender& c : backward_halves<S>(p, what)) all.push_back(std::move(c));
    if (what == op::rms_norm || what == op::layer_norm)
      for (contender& c : forward_halves<S>(p, what)) all.push_back(std::move(c));
  }
  return all;
}

}  // namespace

std::vector<contender> limits_of(const problem& p, op what) {
  return with_type(p.numbers, [&](auto zero) { return limits_on<decltype(zero)>(p, what); });
}

}  // namespace bench
