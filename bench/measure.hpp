// SPDX-License-Identifier: MIT
// How contenders are timed: checked first, then in turn, on one core.
#pragma once

#include <cstddef>
#include <vector>

#include "contender.hpp"

namespace bench {

/// Keeps this thread on the core where it is, where the system can (Linux).
void pin();

/// How long a measurement goes on: at least `least` rounds, at most `most`, and between them until
/// the seconds are over. A sample is as many calls as take `sample` seconds or more.
struct patience {
  double seconds;
  std::size_t least, most;
  double sample = 50e-6;
};

struct result {
  contender of;
  double error;            // in steps of the type at 1
  std::vector<double> ns;  // per row, in each round
};

/// Each contender that is right, with its error. Those that are wrong or cannot do it are left out,
/// which is said on stderr; throws where it is rownorm or a limit that is wrong.
std::vector<result> checked(const std::vector<contender>& all, const problem& p);

/// Checks the contenders and times them in turn: each round each one once, after up to 20 runs or
/// 10 ms that are not timed, so that it finds in the caches what it leaves there itself.
std::vector<result> measure(const std::vector<contender>& all, const problem& p, patience how_long);

double median(std::vector<double> v);
/// Of a's time to b's, round by round.
double ratio(const std::vector<double>& a, const std::vector<double>& b);

/// The first result of that part and norm, or nullptr.
const result* find(const std::vector<result>& all, op what, role part);

}  // namespace bench
