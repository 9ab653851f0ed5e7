// SPDX-License-Identifier: MIT
// Every public call once, on the worked example, in one small program: for trying a compiler or a
// version of Eigen or xsimd, and for clang-tidy. 0: each output was the number of the formula.
#include <cstdio>
#include <rownorm/parallel.hpp>
#include <rownorm/rownorm.hpp>
#include <vector>
#ifdef WITH_DISPATCH
#include <rownorm/dispatch.hpp>
#endif
#ifdef WITH_MPI
#include <rownorm/mpi.hpp>
#endif

namespace rn = rownorm;

namespace {

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using row = Eigen::RowVectorXf;

const float eps = 1e-6f;
const matrix x{{1, 2, 3, 4}, {10, 20, 30, 40}};
const row gamma = row::Ones(4);
const row beta = row::Zero(4);
matrix y(2, 4);
int wrong = 0;

/// The first number of each row, beside what it must be.
void expect(const char* call, float first, float second) {
  const bool right = std::abs(y(0, 0) - first) < 1e-4f && std::abs(y(1, 0) - second) < 1e-4f;
  if (!right) std::printf("%s: %g %g, not %g %g\n", call, y(0, 0), y(1, 0), first, second);
  if (!right) ++wrong;
  y.setZero();
}
const float rms = 0.365148f;       // 1 / sqrt(7.5), and of x twice
const float centred = -1.341641f;  // -1.5 / sqrt(1.25)
const float slope = 0.243432f;     // rms - rms^3 * 10 / 4

void forward() {
  std::vector<double> mean(2), rstd(2);
  rn::rms_norm(x, gamma, y, eps, rstd);
  expect("rms_norm", rms, rms);
  rn::rms_norm(x, gamma, y, rn::saved(rstd));
  expect("rms_norm, saved", rms, rms);
  rn::rms_norm<double>(x, rn::one_plus(beta), rn::streaming(y), rn::outside_root(eps));
  expect("rms_norm<double>, one_plus, streaming, outside_root", rms, rms);
  rn::rms_norm(x, rn::after_rounding(gamma), rn::cached(y));
  expect("rms_norm, after_rounding, cached", rms, rms);
  rn::partial_rms_norm(x, 1, rn::none, y);
  expect("partial_rms_norm", 1, 1);
  matrix residual = x;
  rn::add_rms_norm(x, residual, gamma, y);
  expect("add_rms_norm", rms, rms);
  rn::gated_rms_norm(x, matrix::Constant(2, 4, 1).eval(), gamma, y, eps, rn::norm_first);
  expect("gated_rms_norm", rms * 0.731059f, rms * 0.731059f);
  rn::layer_norm(x, gamma, beta, y, eps, mean, rstd);
  expect("layer_norm", centred, centred);
  rn::layer_norm(x, gamma, beta, y, rn::saved(mean, rstd));
  expect("layer_norm, saved", centred, centred);
  residual = x;
  rn::add_layer_norm(x, residual, gamma, beta, y);
  expect("add_layer_norm", centred, centred);

  std::vector<std::int8_t> q(8);
  std::vector<float> scales(2);
  rn::rms_norm(x, gamma, rn::quantized(rn::rows(q.data(), 2, 4), scales));
  y(0, 0) = static_cast<float>(q[3]);
  expect("quantized", 127, 0);
  const rn::heads<float> heads(y.data(), 1, 2, 4, 8);
  y = x;
  rn::rms_norm(heads, gamma, heads);
  expect("heads", rms, rms);
  Eigen::Matrix<Eigen::half, 1, 4> half;
  Eigen::Matrix<Eigen::bfloat16, 1, 4> brain;
  rn::rms_norm(x.row(0), gamma, half);
  rn::rms_norm(half, gamma, brain);
  y(0, 0) = static_cast<float>(brain[0]);
  expect("Eigen::half, Eigen::bfloat16", 0.365234f, 0);
}

void backward() {
  std::vector<double> mean(2), rstd(2);
  row dgamma = row::Zero(4), dbeta = row::Zero(4);
  const matrix dy = matrix::Ones(2, 4);
  rn::rms_norm_backward(dy, x, gamma, y, dgamma, eps);
  expect("rms_norm_backward", slope, slope / 10);
  rn::add_rms_norm_backward(dy, x, gamma, y, dgamma, eps);
  expect("add_rms_norm_backward", slope, slope / 10);
  rn::layer_norm_backward(dy, x, gamma, y, dgamma, dbeta, eps);
  expect("layer_norm_backward", 0, 0);
  rn::add_layer_norm_backward(dy, x, gamma, y, dgamma, dbeta, eps);
  expect("add_layer_norm_backward", 0, 0);

  rn::RMSNorm<float> rms_module(4, eps);
  rms_module.forward(x, y);
  rms_module.backward(dy, x, y);
  expect("RMSNorm", slope, slope / 10);
  rms_module.zero_grad();
  rn::LayerNorm<float> layer_module(4, eps);
  layer_module.forward(x, y);
  expect("LayerNorm", centred, centred);
  layer_module.backward(dy, x, y);
  layer_module.zero_grad();
}

void elsewhere() {
  const auto pool = [](std::size_t n, const auto& body) {
    for (std::size_t i = 0; i < n; ++i) body(i);
  };
  rn::rms_norm(rn::par_on(pool), x, gamma, y, eps);
  expect("par_on", rms, rms);
#ifdef ROWNORM_TBB
  rn::layer_norm(rn::par, x, gamma, beta, y, eps);
  expect("par", centred, centred);
#endif
#ifdef WITH_DISPATCH
  rn::dispatch::rms_norm(x, gamma, y, eps);
  rn::dispatch::partial_rms_norm(x, 4, gamma, y, eps);
  rn::dispatch::layer_norm(x, gamma, beta, y, eps);
  matrix residual = x;
  rn::dispatch::add_layer_norm(x, residual, gamma, beta, y, eps);
  residual = x;
  rn::dispatch::add_rms_norm(x, residual, gamma, y, eps);
  expect(rn::dispatch::isa(), rms, rms);
  row sums = row::Zero(4);
  const matrix ones = matrix::Ones(2, 4);
  rn::dispatch::layer_norm_backward(ones, x, gamma, y, sums, rn::none, eps);
  rn::dispatch::add_layer_norm_backward(ones, x, gamma, y, rn::none, sums, eps);
  expect("layer_norm_backward, dispatch", 0, 0);
  rn::dispatch::rms_norm_backward(ones, x, gamma, y, sums, eps);
  expect("rms_norm_backward, dispatch", slope, slope / 10);
  rn::dispatch::add_rms_norm_backward(ones, x, gamma, y, sums, eps);
  expect("add_rms_norm_backward, dispatch", slope, slope / 10);
#endif
#ifdef WITH_MPI
  MPI_Init(nullptr, nullptr);
  const rn::columns all(MPI_COMM_SELF, 4);
  rn::rms_norm(all, x, gamma, y, eps);
  rn::layer_norm(all, x, gamma, beta, y, eps);
  row dgamma = row::Zero(4), dbeta = row::Zero(4);
  const matrix dy = matrix::Ones(2, 4);
  rn::layer_norm_backward(all, dy, x, gamma, y, dgamma, dbeta, eps);
  rn::rms_norm_backward(all, dy, x, gamma, y, dgamma, eps);
  expect("columns", slope, slope / 10);
  MPI_Finalize();
#endif
}

}  // namespace

int main() {
  forward();
  backward();
  elsewhere();
  return wrong;
}
