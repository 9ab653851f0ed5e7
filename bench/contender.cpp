// SPDX-License-Identifier: MIT
// The roles' names, and rownorm with its limits.
#include "own.hpp"

namespace bench {

std::string name(role r) {
  switch (r) {
    case role::rownorm:
      return "rownorm";
    case role::reduction:
      return "reduction";
    case role::first_half:
      return "first half";
    case role::second_half:
      return "second half";
    case role::copy:
      return "copy";
    case role::beside:
      return "beside";
    default:
      return "peer";
  }
}

std::vector<contender> own(const problem& p, op what) {
  std::vector<contender> all = rownorm_calls(p, what);
  for (contender& c : limits_of(p, what)) all.push_back(std::move(c));
  return all;
}

}  // namespace bench
