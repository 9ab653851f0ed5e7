// SPDX-License-Identifier: MIT
// From which size on y is stored past the cache; never a row.
#pragma once

#include <cstddef>
#include <cstdlib>
#if defined(__linux__)
#include <unistd.h>
#endif

#include "config.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// No smaller y asks what the machine has, which takes some 100 ns.
inline constexpr std::size_t least_streaming_bytes = std::size_t{6} << 20;

/// A y of so many bytes is stored past the cache: x and y together are then as large as the last
/// cache, or as 64 MiB of it, since a larger one is shared. A smaller y stays in the cache for what
/// reads it next. The environment variable ROWNORM_STREAMING_BYTES sets another size, of 6 MiB at
/// least.
ROWNORM_COLD inline std::size_t streaming_bytes() {
  if (const char* const asked = std::getenv("ROWNORM_STREAMING_BYTES"))
    return std::strtoull(asked, nullptr, 10);
  constexpr std::size_t most = std::size_t{64} << 20;
  std::size_t last_cache = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  const long reported = sysconf(_SC_LEVEL3_CACHE_SIZE);
  if (reported > 0) last_cache = static_cast<std::size_t>(reported);
#endif
  return (last_cache == 0 || last_cache > most ? most : last_cache) / 2;
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
