// SPDX-License-Identifier: MIT
// One binary, built without any -m flag, that normalizes at the speed of the CPU it runs on.
#include <chrono>
#include <cstdio>
#include <exception>
#include <rownorm/dispatch.hpp>

int main() try {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Matrix x = Matrix::Random(256, 4096);
  const Eigen::RowVectorXf gamma = Eigen::RowVectorXf::Ones(4096);
  Matrix y(256, 4096);

  const auto time = [&](auto call) {
    double best = 1e9;  // microseconds
    for (int i = 0; i < 20; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      call();
      const std::chrono::duration<double, std::micro> passed =
          std::chrono::steady_clock::now() - begin;
      if (passed.count() < best) best = passed.count();
    }
    return best;
  };
  std::printf("rownorm::dispatch runs %s\n", rownorm::dispatch::isa());
  std::printf("rms_norm of 256x4096 floats: %4.0f us by the header,\n",
              time([&] { rownorm::rms_norm(x, gamma, y); }));
  std::printf("                             %4.0f us by dispatch\n",
              time([&] { rownorm::dispatch::rms_norm(x, gamma, y); }));
  return std::fflush(stdout) == 0 && !std::ferror(stdout) ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "dispatch: %s\n", e.what());
  return 1;
}
