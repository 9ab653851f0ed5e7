// SPDX-License-Identifier: MIT
// A training step's norm over threads: oneTBB's by the word par, where it was found, and OpenMP's
// by par_on, which takes whatever can run a loop. The bits are those of one thread.
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <rownorm/parallel.hpp>
#include <vector>

namespace rn = rownorm;
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

struct result {
  matrix y, dx, dgamma;
};

/// y = rms_norm(x), and the gradient of its sum; `where` says where, or is left out.
template <class... Where>
result step(const matrix& x, const matrix& gamma, const Where&... where) {
  result r{x, x, matrix::Zero(1, x.cols())};
  std::vector<float> rstd(static_cast<std::size_t>(x.rows()));
  rn::rms_norm(where..., x, gamma, r.y, 1e-6, rstd);
  const matrix dy = matrix::Ones(x.rows(), x.cols());
  rn::rms_norm_backward(where..., dy, x, gamma, r.dx, r.dgamma, rn::saved(rstd));
  return r;
}

bool same_bits(const matrix& a, const matrix& b) {
  return std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0;
}
bool report(const char* name, const result& r, const result& one_thread) {
  const bool same = same_bits(r.y, one_thread.y) && same_bits(r.dx, one_thread.dx) &&
                    same_bits(r.dgamma, one_thread.dgamma);
  std::printf("%s: %s bits as in one thread\n", name, same ? "the same" : "OTHER");
  return same;
}

int main() {
  const matrix x = matrix::Random(2048, 1024), gamma = matrix::Random(1, 1024);
  const result one_thread = step(x, gamma);

  const rn::par_on openmp([](std::size_t n, const auto& body) {
#if defined(_OPENMP)
#pragma omp parallel for schedule(dynamic)
#endif
    for (std::size_t i = 0; i < n; ++i) body(i);
  });
  bool same = report("par_on(OpenMP)", step(x, gamma, openmp), one_thread);

#if defined(ROWNORM_TBB)
  same = report("par (oneTBB)", step(x, gamma, rn::par), one_thread) && same;
#endif
  return same && std::fflush(stdout) == 0 && !std::ferror(stdout) ? 0 : 1;
}
