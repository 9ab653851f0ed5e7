// SPDX-License-Identifier: MIT
// What a user of Eigen writes: the norm as expressions over the matrix, and as a loop over its
// rows.
#include <Eigen/Core>
#include <cmath>
#include <type_traits>

#include "contender.hpp"

namespace bench {

namespace {

template <class S>
std::vector<contender> eigen_peers_of(const problem& p, op what) {
  using A = std::conditional_t<std::is_same_v<S, double>, double, float>;
  using matrix = Eigen::Array<S, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using vector = Eigen::Array<S, 1, Eigen::Dynamic>;
  using column = Eigen::Array<A, Eigen::Dynamic, 1>;
  const auto rows = static_cast<Eigen::Index>(p.rows), n = static_cast<Eigen::Index>(p.length);
  const Eigen::Map<const matrix> x(p.x<S>(), rows, n);
  const Eigen::Map<const vector> gamma(p.gamma<S>(), n), beta(p.beta<S>(), n);
  Eigen::Map<matrix> y(p.y<S>(), rows, n);
  const A eps = static_cast<A>(epsilon(what));

  if (what == op::rms_norm)
    return {
        peer("Eigen expression", p, what,
             [=]() mutable {
               const auto v = x.template cast<A>();
               const column r = (v.square().rowwise().mean() + eps).rsqrt();
               y = ((v.colwise() * r).rowwise() * gamma.template cast<A>()).template cast<S>();
             }),
        peer("Eigen rows", p, what,
             [=]() mutable {
               for (Eigen::Index i = 0; i < rows; ++i) {
                 const auto v = x.row(i).template cast<A>();
                 const A r = 1 / std::sqrt(v.square().mean() + eps);
                 y.row(i) = (v * r * gamma.template cast<A>()).template cast<S>();
               }
             }),
    };
  if (what != op::layer_norm) return {};
  return {
      peer("Eigen expression", p, what,
           [=]() mutable {
             const auto v = x.template cast<A>();
             const column mean = v.rowwise().mean();
             const auto centred = v.colwise() - mean;
             const column r = (centred.square().rowwise().mean() + eps).rsqrt();
             y = (((centred.colwise() * r).rowwise() * gamma.template cast<A>()).rowwise() +
                  beta.template cast<A>())
                     .template cast<S>();
           }),
      peer("Eigen rows", p, what,
           [=]() mutable {
             for (Eigen::Index i = 0; i < rows; ++i) {
               const auto v = x.row(i).template cast<A>();
               const A mean = v.mean();
               const A r = 1 / std::sqrt((v - mean).square().mean() + eps);
               y.row(i) = ((v - mean) * r * gamma.template cast<A>() + beta.template cast<A>())
                              .template cast<S>();
             }
           }),
  };
}

}  // namespace

std::vector<contender> eigen_peers(const problem& p, op what) {
  return with_type(p.numbers, [&](auto zero) { return eigen_peers_of<decltype(zero)>(p, what); });
}

}  // namespace bench
