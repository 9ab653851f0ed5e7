// SPDX-License-Identifier: MIT
// Built without exceptions: an error's text goes to stderr, and the program aborts.
#include <gtest/gtest.h>

#include <csignal>
#include <rownorm/rms_norm.hpp>

#if defined(__cpp_exceptions)
#error "this file is for -fno-exceptions"
#endif

TEST(NoExceptions, SayAndAbort) {
  const Eigen::RowVector4f x(1, 2, 3, 4);
  const Eigen::RowVector3f gamma(1, 1, 1);
  Eigen::RowVector4f y;
  EXPECT_EXIT(rownorm::rms_norm(x, gamma, y), testing::KilledBySignal(SIGABRT),
              "^rms_norm: gamma has 3 numbers, the rows of x have 4\n$");
  rownorm::rms_norm(x, rownorm::none, y);
  EXPECT_NEAR(y[0], 0.365148f, 1e-6f);
}
