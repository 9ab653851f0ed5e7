// SPDX-License-Identifier: MIT
// Any arguments at all: a call throws std::invalid_argument and writes nothing, or it is right. All
// arguments lie in one block of memory, so that they overlap in every way.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <rownorm/rownorm.hpp>
#include <stdexcept>
#include <utility>
#include <vector>

namespace rn = rownorm;

namespace {

constexpr std::size_t arena_size = 4096;

/// What the arguments deserve: to be taken, to be refused, or one of the two (rows of no numbers
/// whose figures are senseless).
enum class verdict { take, either, refuse };

/// An argument as plain figures; what it occupies is counted in long double, where nothing wraps.
struct view {
  char* data;
  std::size_t blocks, length, stride;
  std::size_t number;         // bytes
  std::size_t per_block = 1;  // rows that lie side by side, as heads do
  bool given = true;

  std::size_t count() const { return blocks * per_block; }
  bool empty() const { return !given || blocks == 0 || length == 0; }
  long double width() const {
    return static_cast<long double>(length) * static_cast<long double>(per_block * number);
  }
  long double step() const {
    return static_cast<long double>(stride) * static_cast<long double>(number);
  }
  long double bytes() const { return static_cast<long double>(blocks) * step(); }
  long double span() const {
    return empty() ? 0 : static_cast<long double>(blocks - 1) * step() + width();
  }
  char* row(std::size_t i) const {
    return data + (i / per_block * stride + i % per_block * length) * number;
  }
  bool same(const view& v) const {
    return data == v.data && number == v.number && width() == v.width() &&
           (stride == v.stride || blocks == 1);
  }
};

struct problem {
  FuzzedDataProvider& bytes;
  std::vector<char> arena;
  view x{}, residual{}, gamma{}, beta{}, y{}, mean{}, rstd{};
  std::array<const view*, 7> all() const {
    return {&x, &residual, &gamma, &beta, &y, &mean, &rstd};
  }
  rn::epsilon eps{0.0};
  std::size_t k = 0;
  bool partial = false;

  explicit problem(FuzzedDataProvider& b) : bytes(b), arena(arena_size) {
    // Bytes that make moderate numbers in every type, and no NaN.
    for (std::size_t i = 0; i < arena_size; ++i)
      arena[i] = static_cast<char>(0x38 + (i * 2654435761u >> 7) % 8);
  }

  std::size_t figure(std::size_t usual) {
    switch (bytes.ConsumeIntegralInRange(0, 15)) {
      case 0:
        return 0;
      case 1:
        return bytes.ConsumeIntegral<std::size_t>();
      case 2:
        return std::size_t{1} << bytes.ConsumeIntegralInRange(0, 63);
      case 3:
        return ~std::size_t{0} >> bytes.ConsumeIntegralInRange(0, 63);
      case 4:
        return usual + 1;
      case 5:
        return bytes.ConsumeIntegralInRange<std::size_t>(0, 70);
      default:
        return usual;
    }
  }
  view make(std::size_t number, std::size_t blocks, std::size_t length, std::size_t per_block = 1) {
    view v{};
    v.number = number;
    v.per_block = per_block;
    v.length = figure(length);
    v.blocks = figure(blocks);
    v.stride = figure(v.length * per_block);
    v.data =
        arena.data() + bytes.ConsumeIntegralInRange<std::size_t>(0, arena_size / number) * number;
    if (bytes.ConsumeIntegralInRange(0, 30) == 0) v.data = nullptr;
    return v;
  }

  bool inside(const view& v) const {
    return v.empty() || (v.data != nullptr &&
                         v.span() <= static_cast<long double>(arena.data() + arena_size - v.data));
  }

  static verdict alone(const view& v) {
    constexpr auto most = static_cast<long double>(std::numeric_limits<std::ptrdiff_t>::max());
    if (!v.given) return verdict::take;
    const bool good = v.step() >= v.width() && v.bytes() <= most && v.width() <= most;
    if (v.empty()) return good ? verdict::take : verdict::either;
    if (v.step() < v.width() || v.data == nullptr || v.span() > most) return verdict::refuse;
    return good ? verdict::take : verdict::either;
  }

  /// Of two views that are inside the arena, one of them written.
  static verdict apart(const view& a, const view& b) {
    if (a.empty() || b.empty()) return verdict::take;
    const auto size = [](long double v) { return static_cast<std::size_t>(v); };
    for (std::size_t i = 0; i < a.count(); i += a.per_block)
      for (std::size_t j = 0; j < b.count(); j += b.per_block)
        if (a.row(i) < b.row(j) + size(b.width()) && b.row(j) < a.row(i) + size(a.width()))
          return verdict::refuse;
    return verdict::take;
  }

  verdict judge() const {
    verdict worst = verdict::take;
    const auto add = [&](verdict v) { worst = std::max(worst, v); };
    const auto refuse_unless = [&](bool good) { add(good ? verdict::take : verdict::refuse); };
    for (const view* v : all()) add(alone(*v));
    for (const view* v : {&residual, &y})
      if (v->given) refuse_unless(v->count() == x.count() && v->length == x.length);
    for (const view* v : {&gamma, &beta})
      if (v->given)
        refuse_unless(v->length == x.length && (v->count() == 1 || v->count() == x.per_block));
    for (const view* v : {&mean, &rstd})
      if (v->given && x.blocks == 0) add(verdict::either);
      else if (v->given)
        refuse_unless((v->blocks == 1 && v->length == x.count()) ||
                      (v->length == 1 && v->stride == 1 && v->blocks == x.count()));
    refuse_unless(std::isfinite(eps.value) && eps.value >= 0);
    if (partial && x.length != 0) refuse_unless(k >= 1 && k <= x.length);
    if (worst == verdict::refuse) return worst;
    for (const view* v : all())
      if (!inside(*v)) return worst;
    const std::vector<const view*> outputs{&residual, &y, &mean, &rstd};
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      for (const view* in : {&x, &gamma, &beta})
        if (!(outputs[i] == &y && in == &x && y.same(x))) add(apart(*outputs[i], *in));
      for (std::size_t j = 0; j < i; ++j) add(apart(*outputs[i], *outputs[j]));
    }
    return worst;
  }

  [[noreturn]] void fail(const char* what) const {
    std::fprintf(stderr, "%s; eps %g, k %zu\n", what, eps.value, partial ? k : x.length);
    const char* const names[] = {"x", "residual", "gamma", "beta", "y", "mean", "rstd"};
    for (std::size_t i = 0; i < all().size(); ++i)
      if (const view* v = all()[i]; v->given)
        std::fprintf(stderr,
                     "%s: at %td, %zu blocks of %zu rows of %zu numbers of %zu bytes, stride %zu\n",
                     names[i], v->data == nullptr ? -1 : v->data - arena.data(), v->blocks,
                     v->per_block, v->length, v->number, v->stride);
    std::abort();
  }

  /// Calls; where it was taken, `by_row(i, memory)` does the same to a copy of the memory, a row at
  /// a time and from copies of its arguments.
  template <class Call, class ByRow>
  void check(Call call, ByRow by_row) {
    const verdict v = judge();
    for (const view* a : all())
      if (v != verdict::refuse && !inside(*a)) return;  // memory that nobody has
    const std::vector<char> before = arena;
    bool thrown = false;
    try {
      call();
    } catch (const std::invalid_argument&) {
      thrown = true;
    }
    if (thrown && v == verdict::take) fail("good arguments were refused");
    if (!thrown && v == verdict::refuse) fail("bad arguments were taken");
    std::vector<char> expected = before;
    if (!thrown && x.length != 0)
      for (std::size_t i = 0; i < x.count(); ++i) by_row(i, before, expected);
    if (arena != expected)
      fail(thrown ? "something was written" : "the memory is not as it should");
  }
};

template <class T>
std::vector<T> copy(const problem& p, const std::vector<char>& memory, const view& v,
                    std::size_t row, std::size_t n) {
  std::vector<T> c(n);
  std::memcpy(static_cast<void*>(c.data()), memory.data() + (v.row(row) - p.arena.data()),
              n * sizeof(T));
  return c;
}
template <class T>
void put(const problem& p, std::vector<char>& memory, const char* at, const T* from,
         std::size_t n) {
  std::memcpy(memory.data() + (at - p.arena.data()), static_cast<const void*>(from), n * sizeof(T));
}

template <class T>
auto as_rows(const view& v) {
  return rn::rows<T>(reinterpret_cast<T*>(v.data), v.blocks, v.length, v.stride);
}
template <class T>
auto as_heads(const view& v) {
  return rn::heads<T>(reinterpret_cast<T*>(v.data), v.blocks, v.per_block, v.length, v.stride);
}

enum operation { rms, partial_rms, add_rms, layer, add_layer, operations };

template <bool Heads, class X, class G, class Y>
void try_calls(problem& p) {
  auto& b = p.bytes;
  const auto op = static_cast<operation>(b.ConsumeIntegralInRange(0, operations - 1));
  const std::size_t heads = Heads ? b.ConsumeIntegralInRange<std::size_t>(1, 4) : 1;
  const std::size_t blocks = b.ConsumeIntegralInRange<std::size_t>(0, 5),
                    length = b.ConsumeIntegralInRange<std::size_t>(0, 40);
  const bool with_beta = op == layer || op == add_layer;
  p.x = p.make(sizeof(X), blocks, length, heads);
  p.y = p.make(sizeof(Y), blocks, length, heads);
  if (sizeof(X) == sizeof(Y) && b.ConsumeIntegralInRange(0, 3) == 0) p.y = p.x;
  p.gamma = p.make(sizeof(G), b.ConsumeBool() ? heads : 1, length);
  p.beta = p.make(sizeof(G), b.ConsumeBool() ? heads : 1, length);
  p.beta.given = with_beta;
  p.residual = p.make(sizeof(X), blocks, length, heads);
  p.residual.given = op == add_rms || op == add_layer;
  p.rstd = p.make(sizeof(double), 1, blocks * heads);
  p.mean = p.make(sizeof(double), 1, blocks * heads);
  p.mean.given = with_beta;
  p.partial = op == partial_rms;
  p.k = p.figure(length);
  const double eps = b.ConsumeIntegralInRange(0, 3) == 0 ? b.ConsumeFloatingPoint<double>() : 1e-6;
  switch (b.ConsumeIntegralInRange(0, 7)) {
    case 0:
      p.eps = std::numeric_limits<double>::quiet_NaN();
      break;
    case 1:
      p.eps = rn::outside_root(eps);
      break;
    case 2:
      p.eps = std::numeric_limits<double>::infinity();
      break;
    default:
      p.eps = eps;
  }

  const auto run = [&](const auto& x, const auto& residual, const auto& gamma, const auto& beta,
                       const auto& y, const auto& mean, const auto& rstd) {
    switch (op) {
      case rms:
        return rn::rms_norm(x, gamma, y, p.eps, rstd);
      case partial_rms:
        return rn::partial_rms_norm(x, p.k, gamma, y, p.eps, rstd);
      case add_rms:
        return rn::add_rms_norm(x, residual, gamma, y, p.eps, rstd);
      case layer:
        return rn::layer_norm(x, gamma, beta, y, p.eps, mean, rstd);
      default:
        return rn::add_layer_norm(x, residual, gamma, beta, y, p.eps, mean, rstd);
    }
  };
  const auto call = [&] {
    const auto matrix = [](const auto* type, const view& v) {
      using T = std::remove_pointer_t<decltype(type)>;
      if constexpr (Heads) return as_heads<T>(v);
      else return as_rows<T>(v);
    };
    const auto writable = [](auto* type, const view& v) {
      using T = std::remove_pointer_t<decltype(type)>;
      if constexpr (Heads) return as_heads<T>(v);
      else return as_rows<T>(v);
    };
    run(matrix(static_cast<const X*>(nullptr), p.x), writable(static_cast<X*>(nullptr), p.residual),
        as_rows<const G>(p.gamma), as_rows<const G>(p.beta),
        writable(static_cast<Y*>(nullptr), p.y), as_rows<double>(p.mean), as_rows<double>(p.rstd));
  };
  const auto by_row = [&](std::size_t i, const std::vector<char>& before,
                          std::vector<char>& expected) {
    const std::size_t n = p.x.length;
    const auto x = copy<X>(p, before, p.x, i, n);
    auto residual = p.residual.given ? copy<X>(p, before, p.residual, i, n) : x;
    const auto gamma = copy<G>(p, before, p.gamma, i % p.gamma.blocks, n);
    const auto beta = with_beta ? copy<G>(p, before, p.beta, i % p.beta.blocks, n) : gamma;
    std::vector<Y> y(n);
    std::vector<double> mean(1), rstd(1);
    run(x, rn::rows<X>(residual.data(), 1, n), gamma, beta, rn::rows<Y>(y.data(), 1, n),
        rn::rows<double>(mean.data(), 1, 1), rn::rows<double>(rstd.data(), 1, 1));
    put(p, expected, p.y.row(i), y.data(), n);
    if (p.residual.given) put(p, expected, p.residual.row(i), residual.data(), n);
    if (with_beta) put(p, expected, p.mean.data + i * sizeof(double), mean.data(), 1);
    put(p, expected, p.rstd.data + i * sizeof(double), rstd.data(), 1);
  };
  p.check(call, by_row);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider bytes(data, size);
  problem p(bytes);
  switch (bytes.ConsumeIntegralInRange(0, 4)) {
    case 0:
      try_calls<false, float, float, float>(p);
      break;
    case 1:
      try_calls<true, float, float, float>(p);
      break;
    case 2:
      try_calls<false, Eigen::bfloat16, Eigen::bfloat16, Eigen::bfloat16>(p);
      break;
    case 3:
      try_calls<true, Eigen::half, float, Eigen::half>(p);
      break;
    default:
      try_calls<false, float, Eigen::half, double>(p);
      break;
  }
  return 0;
}
