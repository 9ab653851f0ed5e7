// SPDX-License-Identifier: MIT
// par and par_on(pool): every call over several threads, as its first argument says. par needs the
// target rownorm::parallel (oneTBB), par_on(pool) needs no library; never a norm.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <type_traits>

#include "detail/scratch.hpp"
#include "where.hpp"
#if defined(ROWNORM_TBB)
#include <tbb/parallel_for.h>
#endif

namespace rownorm {

/// As the first argument of a call: its rows over the threads of `pool`, which may be whatever can
/// be called as pool(n, body): it runs body(i) once for each i in [0, n), on any threads and in any
/// order, and returns when all have returned. body is a small object to copy that throws nothing.
/// The bits are those of the call without it, with any number of threads. Rows go to threads in
/// blocks whose size depends on the shape alone; a small matrix stays in the calling thread, and
/// pool is not called. A backward call allocates, beside what it allocates without a pool, up to 32
/// numbers of T for each number of dgamma, or up to 2^16 in all where that is more.
/// An object is kept by reference, a temporary (such as a lambda) by value.
template <class Pool>
struct par_on {
  Pool pool;  ///< an object of its own, or a reference
  /// par_on(pool)
  constexpr explicit par_on(Pool&& pool_) : pool(static_cast<Pool&&>(pool_)) {}
};
/// The types of the word from its arguments.
template <class Pool>
par_on(Pool&&) -> par_on<Pool>;

#if defined(ROWNORM_TBB)
namespace detail {
struct tbb_pool {
  template <class Body>
  void operator()(std::size_t n, const Body& body) const {
    tbb::parallel_for(std::size_t{0}, n, body);
  }
};
}  // namespace detail

/// As the first argument of a call: its rows over the threads of oneTBB's current arena; the rest
/// as for par_on. It exists where ROWNORM_TBB is defined, which the CMake target rownorm::parallel
/// does.
[[gnu::visibility("hidden")]] inline constexpr par_on<detail::tbb_pool> par{detail::tbb_pool{}};
#endif

inline namespace ROWNORM_ISA {
namespace detail {

/// Numbers of x that are one task for a thread, and below which a matrix stays in one thread.
inline constexpr std::size_t numbers_per_task = std::size_t{1} << 15;
inline constexpr std::size_t least_numbers = std::size_t{1} << 16;
/// How many numbers the partial sums for a gradient may be, and how many blocks have some at least.
inline constexpr std::size_t most_partial_sums = std::size_t{1} << 16;
inline constexpr std::size_t least_blocks = 32;

/// The sums of one block of rows: the wave that it belongs to puts them away, not the block.
template <class T>
struct sums_of_block : row_sums<T> {
  void end_block() const {}
};

template <class Pool>
struct runner<par_on<Pool>> {
  static constexpr bool whole_rows = true;
  const par_on<Pool>& where;
  explicit runner(const par_on<Pool>& where_) : where(where_) {}

  template <class Rows>
  void forward(std::size_t count, const Rows& rows) const {
    over_rows(count, rows.n, [&](std::size_t begin, std::size_t end) {
      for_rows(begin, end, rows);
      end_rows(rows.y);
    });
  }
  template <class Rows, class... Gradients>
  void backward(std::size_t count, const Rows& rows, const Gradients&... gradients) const {
    over_blocks<typename Rows::number>(
        count, rows.n,
        [&](std::size_t begin, std::size_t end, const auto&... sums) {
          for_gradient_rows(begin, end, rows, sums...);
          end_rows(rows.dx);
        },
        gradients...);
  }

 private:
  /// body(begin, end) over [0, count) in tasks, each of what is counted being worth `each` numbers
  /// of a row and all of it `numbers`.
  template <class Body>
  void split(std::size_t count, std::size_t each, std::size_t numbers, const Body& body) const {
    const std::size_t step = (std::max)(numbers_per_task / each, std::size_t{1});
    const auto task = [step, count, &body](std::size_t i) {
      body(i * step, (std::min)((i + 1) * step, count));
    };
    constexpr bool is_pool = std::is_invocable_v<const Pool&, std::size_t, decltype(task)>;
    static_assert(is_pool,
                  "rownorm: par_on(pool) needs a pool that can be called as pool(n, body)");
    if (count <= step || numbers < least_numbers) body(0, count);
    else if constexpr (is_pool) where.pool(count / step + (count % step != 0), task);
  }

  template <class Body>
  void over_rows(std::size_t count, std::size_t n, const Body& body) const {
    if (n != 0) split(count, n, count * n, body);
  }

  /// body(begin, end, sums...) for each block of rows, with the block's own sums for each gradient.
  /// A wave of blocks at a time fills the sums that there are, and is then put away in order.
  template <class T, class Body, class... Gradients>
  void over_blocks(std::size_t count, std::size_t n, const Body& body,
                   const Gradients&... gradients) const {
    if constexpr ((is_none<Gradients> && ...)) {
      over_rows(count, n, [&](std::size_t begin, std::size_t end) {
        body(begin, end, scratch<T, Gradients>(gradients, count).sums()...);
      });
    } else {
      if (n == 0 || count == 0) return;
      const std::size_t blocks = count / rows_per_block + (count % rows_per_block != 0);
      const std::size_t wave = (std::min)({blocks, blocks_at_once(gradients)...});
      in_waves(count, n, blocks, wave, body, scratch<T, Gradients>(gradients, count, wave)...);
    }
  }
  template <class Body, class... Sums>
  void in_waves(std::size_t count, std::size_t n, std::size_t blocks, std::size_t wave,
                const Body& body, Sums... sums) const {
    for (std::size_t first = 0; first < blocks; first += wave) {
      const std::size_t some = (std::min)(wave, blocks - first);
      const std::size_t rows = (std::min)(some * rows_per_block, count - first * rows_per_block);
      split(some, rows_per_block * n, rows * n, [&](std::size_t begin, std::size_t end) {
        for (std::size_t b = begin; b < end; ++b) {
          const std::size_t row = (first + b) * rows_per_block;
          body(row, (std::min)(row + rows_per_block, count), of_block(sums.sums(b))...);
        }
      });
      if (blocks > 1) (put_away(some, sums), ...);
    }
    (sums.add_to_gradient(), ...);
  }

  static std::size_t blocks_at_once(none_t) { return (std::numeric_limits<std::size_t>::max)(); }
  template <class D>
  static std::size_t blocks_at_once(const D& gradient) {
    return (std::max)(least_blocks, most_partial_sums / (gradient.count * gradient.length));
  }

  static row_sums<none_t> of_block(row_sums<none_t> sums) { return sums; }
  template <class T>
  static sums_of_block<T> of_block(const row_sums<T>& sums) {
    return {sums};
  }

  template <class T>
  void put_away(std::size_t, scratch<T, none_t>&) const {}
  /// The sums of `blocks` blocks to the totals, in order, columns by columns.
  template <class T, class D>
  void put_away(std::size_t blocks, scratch<T, D>& sums) const {
    const std::size_t columns = sums.size();
    split(columns, blocks, columns * blocks, [&](std::size_t begin, std::size_t end) {
      for (std::size_t b = 0; b < blocks; ++b) sums.sums(b).columns(begin, end).end_block();
    });
  }
};

}  // namespace detail
}  // namespace ROWNORM_ISA
}  // namespace rownorm
