// SPDX-License-Identifier: MIT
// Hashes the outputs of a fixed set of calls, the same on every ISA, compiler and optimization
// level.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <rownorm/rownorm.hpp>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

namespace rn = rownorm;

namespace {

struct ieee {
  int mantissa, bias;
};
template <class S>
constexpr ieee format_of() {
  if constexpr (std::is_same_v<S, float>) return {23, 127};
  else if constexpr (std::is_same_v<S, double>) return {52, 1023};
  else if constexpr (std::is_same_v<S, rn::float16_bits>) return {10, 15};
  else return {7, 127};
}

/// The bits of a number, as an unsigned number of its size.
template <class S>
using bits_of =
    std::conditional_t<sizeof(S) == 8, std::uint64_t,
                       std::conditional_t<sizeof(S) == 4, std::uint32_t, std::uint16_t>>;

double as_double(float x) {
  return static_cast<double>(x);
}
[[maybe_unused]] double as_double(double x) {
  return x;
}
double as_double(rn::float16_bits x) {
  return static_cast<double>(Eigen::numext::bit_cast<Eigen::half>(x.bits));
}
double as_double(rn::bfloat16_bits x) {
  return static_cast<double>(Eigen::numext::bit_cast<Eigen::bfloat16>(x.bits));
}

/// Numbers made of bits (splitmix64), so that no compiler and no library rounds them.
class generator {
 public:
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// n numbers with an exponent in [low, high].
  template <class S>
  std::vector<S> numbers(std::size_t n, int low, int high, bool with_sign) {
    constexpr ieee f = format_of<S>();
    std::vector<S> v(n);
    for (S& x : v) {
      const std::uint64_t r = next();
      const auto exponent = static_cast<std::uint64_t>(f.bias + low) +
                            (r >> 32) % static_cast<unsigned>(high - low + 1);
      std::uint64_t bits = (exponent << f.mantissa) | (next() >> (64 - f.mantissa));
      if (with_sign && (r & 1) != 0) bits |= std::uint64_t{1} << (8 * sizeof(S) - 1);
      const auto word = static_cast<bits_of<S>>(bits);
      std::memcpy(&x, &word, sizeof x);
    }
    return v;
  }

 private:
  std::uint64_t state_ = 1;
};

/// What a call is given; mean and rstd are rows of one number per row of x. Backward calls take
/// residual as dy and y as dx.
template <class X, class G, class Y>
struct operands {
  rn::rows<const X> x;
  rn::rows<X> residual;
  rn::rows<const G> gamma, beta;
  rn::rows<Y> y;
  rn::rows<double> mean, rstd;
  rn::rows<double> dgamma, dbeta;
};

/// A gradient cancels: there is no scale that its differences keep to.
constexpr double not_compared = std::numeric_limits<double>::infinity();

/// One line of the output: the bytes that a call wrote.
struct line {
  std::string name;
  double scale;  // what y's differences are measured against, beside y itself
  double eps;
  std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  std::vector<double> y{};
};
std::vector<line> lines;
bool layouts_agree = true;

/// The lowest byte first, whatever the CPU's order.
template <class S>
void append(std::vector<unsigned char>& bytes, const S* from, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    bits_of<S> bits;
    std::memcpy(&bits, &from[i], sizeof bits);
    for (std::size_t byte = 0; byte < sizeof bits; ++byte)
      bytes.push_back(static_cast<unsigned char>(bits >> (8 * byte) & 0xffu));
  }
}

constexpr std::size_t lengths[] = {1,   2,   3,    7,    8,    15,   16,   17,   31,  32,
                                   33,  47,  63,   64,   65,   95,   97,   100,  127, 128,
                                   129, 255, 1000, 4095, 4096, 4097, 8225, 12289};
constexpr std::size_t count = 3;

/// Runs `call` over all lengths and spreads, once on a tight matrix, and once row by row at odd
/// offsets and strides (in place where it can be): what it writes must be the same.
template <class X, class G, class Y>
void run(const std::string& name, double scale, void (*call)(operands<X, G, Y>)) {
  constexpr ieee f = format_of<X>();
  line out{name, scale, std::ldexp(1.0, -format_of<Y>().mantissa)};
  generator random;
  for (const std::size_t n : lengths)
    for (int spread = 0; spread < 3; ++spread) {
      const auto draw = [&] {
        if (spread == 0) return random.numbers<X>(count * n, -6, 6, true);
        if (spread == 1) return random.numbers<X>(count * n, 13, 13, false);
        return random.numbers<X>(count * n, -f.bias, f.bias - 3, true);
      };
      const std::vector<X> x = draw(), residual = draw();
      const std::vector<G> gamma = random.numbers<G>(n, -2, 1, true),
                           beta = random.numbers<G>(n, -2, 1, true);
      const rn::rows<const G> g(gamma.data(), 1, n), b(beta.data(), 1, n);

      std::vector<X> sum = residual;
      std::vector<Y> y(count * n);
      double mean[count] = {}, rstd[count] = {};
      std::vector<double> dgamma(n), dbeta(n), dgamma_apart(n), dbeta_apart(n);
      call(operands<X, G, Y>{{x.data(), count, n},
                             {sum.data(), count, n},
                             g,
                             b,
                             {y.data(), count, n},
                             {mean, 1, count},
                             {rstd, 1, count},
                             {dgamma.data(), 1, n},
                             {dbeta.data(), 1, n}});
      std::vector<unsigned char> tight, apart;
      append(tight, y.data(), y.size());
      append(tight, sum.data(), sum.size());
      append(tight, mean, count);
      append(tight, rstd, count);

      std::vector<X> x_apart(n + 1), sum_apart(count * n);
      std::vector<Y> y_apart(n + 3), y_all;
      for (std::size_t i = 0; i < count; ++i) {
        std::copy_n(&x[i * n], n, &x_apart[1]);
        std::copy_n(&residual[i * n], n, &sum_apart[i * n]);
        Y* to = &y_apart[3];
        if constexpr (std::is_same_v<X, Y>) to = &x_apart[1];
        call(operands<X, G, Y>{{&x_apart[1], 1, n, n + 5},
                               {&sum_apart[i * n], 1, n},
                               g,
                               b,
                               {to, 1, n, n + 5},
                               {&mean[i], 1, 1},
                               {&rstd[i], 1, 1},
                               {dgamma_apart.data(), 1, n},
                               {dbeta_apart.data(), 1, n}});
        y_all.insert(y_all.end(), to, to + n);
      }
      append(apart, y_all.data(), y_all.size());
      append(apart, sum_apart.data(), sum_apart.size());
      append(apart, mean, count);
      append(apart, rstd, count);
      if (tight != apart) {
        std::printf("%s: %zu numbers, spread %d: the bits depend on what stands around a row\n",
                    name.c_str(), n, spread);
        layouts_agree = false;
      }

      append(tight, dgamma.data(), n);  // their sum over the rows has one order of its own
      append(tight, dbeta.data(), n);
      for (const unsigned char byte : tight) out.hash = (out.hash ^ byte) * 0x100000001b3u;
      for (const Y v : y) out.y.push_back(as_double(v));
    }
  lines.push_back(std::move(out));
}

template <class T, class X, class G, class Y>
void rms_norms(const std::string& types) {
  run<X, G, Y>(types + " rms_norm", 0,
               [](auto o) { rn::rms_norm<T>(o.x, o.gamma, o.y, 1e-6, o.rstd); });
  run<X, G, Y>(types + " rms_norm outside_root", 0,
               [](auto o) { rn::rms_norm<T>(o.x, o.gamma, o.y, rn::outside_root(1e-3), o.rstd); });
  run<X, G, Y>(types + " partial_rms_norm", 0, [](auto o) {
    rn::partial_rms_norm<T>(o.x, (o.x.length + 1) / 2, o.gamma, o.y, 0, o.rstd);
  });
}

template <class T, class X, class G, class Y>
void layer_norms(const std::string& types) {
  run<X, G, Y>(types + " layer_norm", 4,
               [](auto o) { rn::layer_norm<T>(o.x, o.gamma, o.beta, o.y, 1e-5, o.mean, o.rstd); });
  run<X, G, Y>(types + " layer_norm outside_root", 4, [](auto o) {
    rn::layer_norm<T>(o.x, o.gamma, o.beta, o.y, rn::outside_root(1e-3), o.mean, o.rstd);
  });
}

/// Each line above costs a compile of the kernels, so each word and type stands where it adds most.
/// With BITS_FEW, for compilers that take ten seconds over a line, the first ones alone.
void all_calls() {
  using float16 = rn::float16_bits;
  using bfloat16 = rn::bfloat16_bits;
  run<float, float, float>("float add_layer_norm", 4, [](auto o) {
    rn::add_layer_norm<float>(o.x, o.residual, o.gamma, o.beta, o.y, 0, o.mean, o.rstd);
  });
  run<float16, float16, float16>("fp16 rms_norm after_rounding", 0, [](auto o) {
    rn::rms_norm<float>(o.x, rn::after_rounding(o.gamma), o.y, 0, o.rstd);
  });
  run<bfloat16, bfloat16, bfloat16>("bf16 add_rms_norm", 0, [](auto o) {
    rn::add_rms_norm<float>(o.x, o.residual, o.gamma, o.y, 1e-6, o.rstd);
  });
#if !defined(BITS_FEW)
  rms_norms<float, float, float, float>("float");
  layer_norms<float, float, float, float>("float");
  rms_norms<double, double, double, double>("double");
  layer_norms<double, double, double, double>("double");
  layer_norms<double, float, float, float>("float in double");
  rms_norms<float, float16, float16, float16>("fp16");
  layer_norms<float, bfloat16, bfloat16, bfloat16>("bf16");
  run<bfloat16, bfloat16, bfloat16>("bf16 rms_norm one_plus", 0, [](auto o) {
    rn::rms_norm<float>(o.x, rn::one_plus(o.gamma), o.y, 1e-6, o.rstd);
  });
  run<float, float, float>("float rms_norm_backward", not_compared, [](auto o) {
    rn::rms_norm_backward<float>(o.residual, o.x, o.gamma, o.y, o.dgamma, 1e-6);
  });
  run<bfloat16, bfloat16, bfloat16>("bf16 layer_norm_backward", not_compared, [](auto o) {
    rn::layer_norm_backward<float>(o.residual, o.x, o.gamma, o.y, o.dgamma, o.dbeta, 1e-5);
  });
  run<float, float, float>("float layer_norm_backward", not_compared, [](auto o) {
    rn::layer_norm_backward<float>(o.residual, o.x, o.gamma, o.y, o.dgamma, o.dbeta, 1e-5);
  });
  run<bfloat16, bfloat16, bfloat16>("bf16 gated_rms_norm", 4, [](auto o) {
    rn::gated_rms_norm<float>(o.x, o.residual, o.gamma, o.y, 1e-6, rn::norm_first);
  });
  rms_norms<double, bfloat16, float, bfloat16>("bf16 with float gamma in double");
  run<bfloat16, float, float16>("bf16 to fp16 layer_norm none", 4, [](auto o) {
    rn::layer_norm<float>(o.x, rn::none, rn::none, o.y, 1e-5, o.mean, o.rstd);
  });
#endif
}

/// The largest differences from the outputs that another build wrote: none may be above 4 eps.
bool compare(std::FILE* other) {
  bool close = true;
  for (const line& l : lines) {
    std::vector<double> y(l.y.size());
    if (std::fread(y.data(), sizeof(double), y.size(), other) != y.size()) return false;
    if (l.scale == not_compared) continue;
    double largest = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double scale = std::max({std::fabs(y[i]), l.scale, 0x1p-14});
      if (y[i] != l.y[i]) largest = std::max(largest, std::fabs(y[i] - l.y[i]) / scale);
    }
    std::printf("%-36s %5.2f eps\n", l.name.c_str(), largest / l.eps);
    close = close && largest <= 4 * l.eps;
  }
  return close;
}

}  // namespace

/// bits: the hashes. bits write <file>: the outputs too. bits compare <file>: the largest
/// differences from the outputs in a file.
int main(int argc, char** argv) {
#if defined(__AVX512F__)
  if (!__builtin_cpu_supports("avx512bw")) return 77;
#endif
  all_calls();
  const std::string mode = argc == 3 ? argv[1] : "";
  if (mode == "compare") {
    std::FILE* file = std::fopen(argv[2], "rb");
    return file != nullptr && compare(file) ? 0 : 1;
  }
  if (mode == "write") {
    std::FILE* file = std::fopen(argv[2], "wb");
    if (file == nullptr) return 1;
    for (const line& l : lines) std::fwrite(l.y.data(), sizeof(double), l.y.size(), file);
    std::fclose(file);
  }
  for (const line& l : lines)
    std::printf("%016llx %s\n", static_cast<unsigned long long>(l.hash), l.name.c_str());
  return layouts_agree ? 0 : 1;
}
