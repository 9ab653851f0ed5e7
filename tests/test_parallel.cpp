// SPDX-License-Identifier: MIT
// Every call over threads: the bits of the call in one thread, whatever threads there are, and the
// errors before one is woken.
#include <atomic>
#include <cstdint>
#include <functional>
#include <rownorm/parallel.hpp>
#include <stdexcept>
#include <string>
#include <thread>

#include "norms.hpp"
#if defined(ROWNORM_TBB)
#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#endif

namespace {

/// Threads that take the next i in turn, started anew for each call.
struct thread_pool {
  std::size_t threads;
  template <class Body>
  void operator()(std::size_t n, const Body& body) const {
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
      for (std::size_t i = next++; i < n; i = next++) body(i);
    };
    std::vector<std::thread> others;
    for (std::size_t t = 1; t < threads; ++t) others.emplace_back(work);
    work();
    for (std::thread& t : others) t.join();
  }
};

/// In this thread, from the last to the first, and how often it was called; by std::function, as
/// pools that are no templates do.
struct backwards {
  std::size_t calls = 0, tasks = 0;
  void operator()(std::size_t n, const std::function<void(std::size_t)>& body) {
    ++calls;
    tasks += n;
    while (n > 0) body(--n);
  }
};

/// run(where) in each way to be tried.
template <class Run>
void everywhere(Run run) {
  backwards one_by_one;
  {
    SCOPED_TRACE("backwards");
    run(rn::par_on(one_by_one));
  }
  for (const std::size_t threads : {1u, 2u, 3u, 7u}) {
    SCOPED_TRACE(testing::Message() << threads << " threads");
    run(rn::par_on(thread_pool{threads}));
#if defined(ROWNORM_TBB)
    SCOPED_TRACE("TBB");
    const tbb::global_control most(tbb::global_control::max_allowed_parallelism, threads);
    tbb::task_arena arena(static_cast<int>(threads));
    arena.execute([&] { run(rn::par); });
#endif
  }
}

struct shape {
  std::size_t count, length;
};
/// Rows that stay in one thread and that do not, whole blocks of 32 rows and others, no rows.
const std::vector<shape>& shapes() {
  static const std::vector<shape> all{{0, 70},      {1, 70},    {2, 70},    {33, 70},
                                      {100, 70},    {1000, 70}, {1, 70000}, {2, 40000},
                                      {31, 2200},   {32, 2200}, {33, 2200}, {100, 2200},
                                      {1000, 2200}, {3, 0},     {5000, 33}};
  return all;
}

/// call(where..., outputs) once without and then with each `where`, on outputs that begin as
/// `start`.
template <class Outputs, class Call>
void expect_the_same_bits(const Outputs& start, Call call) {
  Outputs serial = start;
  call(serial);
  everywhere([&](const auto& where) {
    Outputs parallel = start;
    call(parallel, where);
    for (std::size_t i = 0; i < start.size(); ++i)
      EXPECT_TRUE(same_bits(parallel[i], serial[i])) << "output " << i;
  });
}

template <class V>
class Parallel : public testing::Test {};
TYPED_TEST_SUITE(Parallel, storage_types, storage_name);

/// Rows of which one in seven is done again in a wider way.
template <class V>
matrix<V> input(shape s, unsigned seed) {
  matrix<V> x = normals<V>(s.count, s.length, seed, 1, 2);
  if constexpr (std::is_same_v<V, float>)
    for (Eigen::Index i = 3; i < x.rows(); i += 7) x.row(i) *= 1e25f;
  return x;
}

TYPED_TEST(Parallel, ForwardHasTheSameBits) {
  using V = TypeParam;
  for (const shape s : shapes()) {
    SCOPED_TRACE(testing::Message() << s.count << " x " << s.length);
    const matrix<V> x = input<V>(s, 1), gamma = normals<V>(1, s.length, 2);
    const std::vector<matrix<V>> y(1, matrix<V>::Zero(x.rows(), x.cols()));
    expect_the_same_bits(
        y, [&](auto& to, const auto&... where) { rn::rms_norm(where..., x, gamma, to[0]); });
    expect_the_same_bits(y, [&](auto& to, const auto&... where) {
      rn::layer_norm(where..., x, gamma, gamma, to[0]);
    });
  }
}

TYPED_TEST(Parallel, BackwardHasTheSameBits) {
  using V = TypeParam;
  for (const shape s : shapes()) {
    SCOPED_TRACE(testing::Message() << s.count << " x " << s.length);
    const matrix<V> x = input<V>(s, 3), dy = normals<V>(s.count, s.length, 4),
                    gamma = normals<V>(1, s.length, 5);
    expect_the_same_bits(std::vector<matrix<V>>{dy, gamma, gamma},
                         [&](auto& to, const auto&... where) {
                           rn::layer_norm_backward(where..., dy, x, gamma, to[0], to[1], to[2]);
                         });
  }
}

TEST(Parallel, EveryOtherForwardCall) {
  for (const shape s : {shape{1, 70}, shape{33, 2200}, shape{1000, 70}}) {
    SCOPED_TRACE(testing::Message() << s.count << " x " << s.length);
    const matrix<float> x = input<float>(s, 6), z = normals<float>(s.count, s.length, 7),
                        gamma = normals<float>(1, s.length, 8);
    const matrix<float> column = matrix<float>::Zero(1, x.rows());
    expect_the_same_bits(std::vector<matrix<float>>{x, column},
                         [&](auto& to, const auto&... where) {
                           rn::rms_norm(where..., to[0], rn::one_plus(gamma), to[0], 1e-6, to[1]);
                         });
    expect_the_same_bits(std::vector<matrix<float>>{x}, [&](auto& to, const auto&... where) {
      rn::partial_rms_norm(where..., x, s.length / 2, gamma, rn::streaming(to[0]));
    });
    expect_the_same_bits(std::vector<matrix<float>>{x, z, column},
                         [&](auto& to, const auto&... where) {
                           rn::add_rms_norm(where..., x, to[1], gamma, to[0], 1e-6, to[2]);
                         });
    for (const rn::gate_order order : {rn::gate_first, rn::norm_first})
      expect_the_same_bits(std::vector<matrix<float>>{x}, [&](auto& to, const auto&... where) {
        rn::gated_rms_norm(where..., z, x, gamma, to[0], 1e-6, order);
      });
    expect_the_same_bits(
        std::vector<matrix<float>>{x, z, column, column}, [&](auto& to, const auto&... where) {
          rn::add_layer_norm(where..., x, to[1], gamma, rn::none, to[0], 1e-5, to[2], to[3]);
        });
  }
}

TEST(Parallel, RowsOfIntegers) {
  const matrix<float> x = normals<float>(100, 1000, 9);
  matrix<std::int8_t> serial(100, 1000), parallel(100, 1000);
  std::vector<float> scales(100), parallel_scales(100);
  rn::rms_norm(x, rn::none, rn::quantized(serial, scales));
  everywhere([&](const auto& where) {
    parallel.setZero();
    rn::rms_norm(where, x, rn::none, rn::quantized(parallel, parallel_scales));
    EXPECT_EQ(parallel, serial);
    EXPECT_EQ(parallel_scales, scales);
  });
}

TEST(Parallel, EveryOtherBackwardCall) {
  for (const shape s : {shape{1, 70}, shape{33, 2200}, shape{1000, 70}}) {
    SCOPED_TRACE(testing::Message() << s.count << " x " << s.length);
    const matrix<float> x = input<float>(s, 10), dy = normals<float>(s.count, s.length, 11),
                        gamma = normals<float>(1, s.length, 12);
    matrix<float> y = x;
    std::vector<double> mean(s.count), rstd(s.count);
    rn::rms_norm(x, gamma, y, 1e-6, rstd);
    expect_the_same_bits(std::vector<matrix<float>>{y}, [&](auto& to, const auto&... where) {
      rn::rms_norm(where..., x, gamma, to[0], rn::saved(rstd));
      rn::layer_norm(where..., to[0], gamma, rn::none, to[0], rn::saved(mean, rstd));
    });
    expect_the_same_bits(std::vector<matrix<float>>{dy, gamma},
                         [&](auto& to, const auto&... where) {
                           rn::rms_norm_backward(where..., dy, x, gamma, to[0], to[1]);
                         });
    expect_the_same_bits(
        std::vector<matrix<float>>{dy, gamma}, [&](auto& to, const auto&... where) {
          rn::add_rms_norm_backward(where..., dy, x, gamma, to[0], to[1], rn::saved(rstd));
        });
    expect_the_same_bits(std::vector<matrix<float>>{dy}, [&](auto& to, const auto&... where) {
      rn::rms_norm_backward(where..., to[0], x, gamma, to[0], rn::none);
    });
    expect_the_same_bits(
        std::vector<matrix<float>>{dy, gamma}, [&](auto& to, const auto&... where) {
          rn::add_layer_norm_backward(where..., dy, x, gamma, to[0], rn::none, to[1]);
        });
  }
}

/// Gains of their own for 128 heads: the sums over rows do not fit at once, so waves follow waves.
TEST(Parallel, SumsOfHeads) {
  constexpr std::size_t tokens = 100, heads = 128, length = 40;
  const matrix<float> x = input<float>({tokens, heads * length}, 13),
                      gamma = normals<float>(heads, length, 14);
  const auto rows = [&](auto* p) { return rn::heads(p, tokens, heads, length, heads * length); };
  expect_the_same_bits(std::vector<matrix<float>>{x, gamma, gamma},
                       [&](auto& to, const auto&... where) {
                         rn::layer_norm_backward(where..., rows(x.data()), rows(x.data()), gamma,
                                                 rows(to[0].data()), to[1], to[2]);
                       });
}

/// Tasks begin and end within tokens.
TEST(Parallel, Heads) {
  constexpr std::size_t tokens = 400, length = 40;
  for (const std::size_t heads : {5u, 7u}) {
    const matrix<float> x = input<float>({tokens, heads * length}, 15),
                        gamma = normals<float>(heads, length, 16);
    const auto rows = [&](auto* p) { return rn::heads(p, tokens, heads, length, heads * length); };
    expect_the_same_bits(std::vector<matrix<float>>{x, normals<float>(1, tokens * heads, 17)},
                         [&](auto& to, const auto&... where) {
                           rn::rms_norm(where..., rows(x.data()), gamma, rows(to[0].data()), 1e-6,
                                        to[1].row(0));
                         });
  }
}

TEST(Parallel, NoHeads) {
  const rn::heads<float> nothing(nullptr, 5, 0, 8, 8);
  const rn::rows<float> no_gain(nullptr, 0, 8);
  everywhere([&](const auto& where) {
    rn::rms_norm_backward(where, nothing, nothing, no_gain, nothing, no_gain);
  });
}

// -----------------------------------------------------------------------------------------------
// When the pool is called.
// -----------------------------------------------------------------------------------------------

TEST(Parallel, AGradientOfNoRowsIsLeftAsItIs) {
  const matrix<float> none(0, 3);
  matrix<float> dx(0, 3), here = matrix<float>::Constant(1, 3, -0.0f), there = here;
  const matrix<float> before = here;
  backwards pool;
  rn::rms_norm_backward(none, none, rn::none, dx, here);
  rn::rms_norm_backward(rn::par_on(pool), none, none, rn::none, dx, there);
  EXPECT_TRUE(same_bits(here, before));
  EXPECT_TRUE(same_bits(there, before));
}

TEST(Parallel, ErrorsComeBeforeAThreadIsWoken) {
  const matrix<float> x = normals<float>(1000, 100, 15);
  matrix<float> y = x, dgamma = matrix<float>::Zero(1, 99);
  backwards pool;
  EXPECT_EQ(error_of([&] { rn::rms_norm(rn::par_on(pool), x, x.leftCols(3), y); }),
            error_of([&] { rn::rms_norm(x, x.leftCols(3), y); }));
  EXPECT_EQ(error_of([&] { rn::rms_norm_backward(rn::par_on(pool), x, x, rn::none, y, dgamma); }),
            "rms_norm_backward: dgamma has 99 numbers, the rows of x have 100");
  EXPECT_EQ(pool.calls, 0u);
  EXPECT_TRUE(same_bits(y, x));
}

TEST(Parallel, SmallMatricesStayInOneThread) {
  backwards pool;
  const auto calls = [&](std::size_t count, std::size_t n) {
    pool = {};
    matrix<float> x = matrix<float>::Ones(static_cast<Eigen::Index>(count),
                                          static_cast<Eigen::Index>(n)),
                  dgamma = x.topRows(1);
    rn::rms_norm(rn::par_on(pool), x, rn::none, x);
    rn::rms_norm_backward(rn::par_on(pool), x, x, rn::none, x, dgamma);
    return pool.calls;
  };
  EXPECT_EQ(calls(1, 60000), 0u);
  EXPECT_EQ(calls(64, 768), 0u);
  EXPECT_EQ(calls(512, 768), 2u);
  EXPECT_GE(pool.tasks, 20u);
  EXPECT_EQ(calls(512, 8192), 3u);  // and once to add the sums
}

}  // namespace
