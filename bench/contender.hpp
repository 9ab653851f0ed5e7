// SPDX-License-Identifier: MIT
// What is timed: rownorm, its reductions alone, the limits (memcpy and the bare loops), the peers.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "problem.hpp"

namespace bench {

/// rownorm: the whole call. reduction: its first half alone. first_half, second_half: the bare
/// loops that do no more than that half. copy: memcpy from x to y, or a bare loop that reads and
/// writes as many matrices as the call. beside: another call of rownorm's, to compare with. peer:
/// another's whole call.
enum class role { rownorm, reduction, first_half, second_half, copy, beside, peer };

std::string name(role r);

struct contender {
  std::string name;
  role part;
  op what;
  /// Does the work that often.
  std::function<void(std::size_t times)> run;
  /// Does it once and compares with the exact answer: the largest error, in steps of the type at 1.
  std::function<double()> error;
  /// Above this error the answer counts as wrong, and is not timed.
  double tolerance;
};

/// Keeps the compiler from taking two runs for one.
inline void clobber() {
  asm volatile("" ::: "memory");
}

template <class F>
std::function<void(std::size_t)> repeated(F f) {
  return [f](std::size_t times) mutable {
    for (; times > 0; --times) {
      f();
      clobber();
    }
  };
}

/// A peer's whole call f; result() is the answer. Its float sums may be off by what
/// plain summation costs, and its 16-bit numbers rounded more than once.
template <class F, class Result>
contender peer(std::string called, const problem& p, op what, F f, Result result) {
  const bool sixteen = p.numbers == type::bf16 || p.numbers == type::f16;
  const double tolerance = what == op::rms_int8 ? 1 : sixteen ? 4 : 5000;
  const auto error = [&p, what, f, result]() mutable {
    p.forget_result(what);
    f();
    return p.error(what, result());
  };
  return {std::move(called), role::peer, what, repeated(f), error, tolerance};
}
template <class F>
contender peer(std::string called, const problem& p, op what, F f) {
  return peer(std::move(called), p, what, f, [&p, what] { return p.places(what); });
}

/// rownorm, its reduction, memcpy and the bare loops. p must outlive what is given back.
std::vector<contender> own(const problem& p, op what);

/// How many threads the peers that have some take, of those that are made from now on.
inline int peer_threads = 1;

/// Each peer_*.cpp: its contenders for this problem, none where it has no such norm or type.
using peers = std::vector<contender> (*)(const problem& p, op what);
std::vector<contender> eigen_peers(const problem& p, op what);
std::vector<contender> plain_peers(const problem& p, op what);
std::vector<contender> plain_fast_math_peers(const problem& p, op what);
std::vector<contender> onednn_peers(const problem& p, op what);
std::vector<contender> torch_peers(const problem& p, op what);

}  // namespace bench
