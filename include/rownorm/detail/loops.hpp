// SPDX-License-Identifier: MIT
// The loops over the rows of a forward call: in two halves, and in spans of heads. Never a number
// of a row.
#pragma once

#include <cstddef>
#include <type_traits>

#include "sink.hpp"

namespace rownorm {
inline namespace ROWNORM_ISA {
namespace detail {

/// The second halves alone, where the statistic of a row is known before it is read.
template <class Rows>
ROWNORM_INLINE void second_halves(std::size_t begin, std::size_t end, const Rows& rows) {
  for (std::size_t i = begin; i < end; ++i) {
    typename Rows::statistic_of_row known;
    const double r = rows.first(i, known);
    rows.second(i, known, r, 1);
  }
}
/// rows.first(i, found) of each row of a block, then rows.second(i, found, r, ahead), which
/// prefetches row i + ahead (0: none). Between them rows.factors(r, m, last) makes the factors of m
/// rows, in r, of what first() gave back, which for the last row is `last`, and gives back the
/// first. Short rows go in blocks: the quotients and the roots of a block are taken side by side in
/// a register, and while one sum ends the next begins (64x128 floats: 0.68 of the time of row after
/// row). A row alone comes to its factor by registers only, since store forwarding would delay it
/// twice (one row of 64 to 256 numbers: 0.88 to 0.95 of the time).
template <class Rows>
ROWNORM_INLINE void in_two_halves(std::size_t begin, std::size_t end, const Rows& rows) {
  constexpr std::size_t most = 16;
  const std::size_t fit = (std::size_t{16} << 10) / (rows.n * sizeof(typename Rows::number));
  const std::size_t block = fit < 1 ? 1 : fit < most ? fit : most;  // fit: in half of a small L1
  typename Rows::statistic_of_row found[most];
  double r[most];
  for (std::size_t i = begin; i < end; i += block) {
    const std::size_t m = end - i < block ? end - i : block;
    double last = 0;
    ROWNORM_NO_UNROLL
    for (std::size_t j = 0; j < m; ++j) {
      r[j] = last = rows.first(i + j, found[j]);
    }
    double factor = rows.factors(r, m, last);
    const std::size_t ahead = end - i > block ? block : 0;
    for (std::size_t j = 0;; factor = r[j]) {
      rows.second(i + j, found[j], factor, ahead);
      if (++j == m) break;
    }
  }
}

/// Whether rows have code for the usual lengths of heads, without a loop or a test for the end
/// (8192x64 and 8192x128 floats: 0.8 to 0.9 of the time). Each length takes an eighth of a second
/// to compile.
template <class Rows>
inline constexpr bool has_constant_lengths = false;
template <std::size_t N>
using length_of = std::integral_constant<std::size_t, N>;
/// Makes of a y that does not stream one that is known not to; any other member of rows stays as it
/// is.
struct not_streaming {
  template <class M>
  ROWNORM_INLINE const M& operator()(const M& m) const {
    return m;
  }
  template <class Y>
  ROWNORM_INLINE written<Y> operator()(const written<Y>& y) const {
    return {y.y, false};
  }
};

/// Rows `begin` to `end`. Heads lie at one distance within a token, and so does one head of all
/// tokens: token by token, or where a token has few, head by head of 32 tokens at a time (64 rows
/// of 64 or 128 floats: 0.80 to 0.95 of the time of a walk from row to row).
template <class Rows>
ROWNORM_FLAT inline void for_rows(std::size_t begin, std::size_t end, const Rows& rows) {
  if (rows.n == 0) return;
  if constexpr (has_tokens<decltype(rows.x)> || has_tokens<decltype(rows.y)>) {
    const std::size_t agreed = rows_in_turn(rows.x, rows.affine, rows.y);
    const std::size_t of_token = agreed == 0 ? end : agreed == do_not_agree ? 1 : agreed;
    constexpr std::size_t few = 6, at_once = 32;
    for (std::size_t i = begin; i < end;) {
      const std::size_t left = end - i, rest_of_token = of_token - i % of_token;
      const std::size_t tokens = left / of_token < at_once ? left / of_token : at_once;
      const bool across = of_token == agreed && of_token < few && tokens > 1;
      for (std::size_t h = 0; h < (across ? of_token : 1); ++h) {
        const row_span span = across ? row_span{i + h, of_token, tokens}
                                     : row_span{i, 1, rest_of_token < left ? rest_of_token : left};
        for_rows(0, span.count,
                 rows.with(rows.n, [&](const auto& m) ROWNORM_LAMBDA { return m.take(span); }));
      }
      i += across ? tokens * of_token : rest_of_token;
    }
  } else if constexpr (!decltype(rows.statistic)::reads_x) {
    second_halves(begin, end, rows);
  } else {
    if constexpr (has_constant_lengths<Rows>) {
      const auto at = [&](auto length) ROWNORM_LAMBDA {
        in_two_halves(begin, end, rows.with(length, not_streaming{}));
      };
      if (!streams(rows.y)) {
        if (rows.n == 64) return at(length_of<64>{});
        if (rows.n == 128) return at(length_of<128>{});
        if (rows.n == 256) return at(length_of<256>{});
      }
    }
    in_two_halves(begin, end, rows);
  }
}

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
