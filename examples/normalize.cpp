// SPDX-License-Identifier: MIT
// A tool: normalizes the last axis of a .npy file, in place in memory, and writes another.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <new>
#include <optional>
#include <rownorm/rownorm.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "npy.hpp"

struct options {
  std::string in, out, op = "rms", gamma, beta;
  std::optional<double> eps;
  bool bf16 = false;
};

template <class T>
using row_vector = Eigen::Matrix<T, 1, Eigen::Dynamic>;
template <class T>
using matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

std::string text(const std::vector<std::size_t>& shape) {
  std::string s;
  for (const std::size_t n : shape) s += (s.empty() ? "" : ", ") + std::to_string(n);
  return '(' + s + (shape.size() == 1 ? ",)" : ")");
}

/// The type of the numbers, empty where the tool has none for them. NumPy has no bfloat16: the bits
/// come as integers (PyTorch) or as two bytes of no type (JAX).
std::string type_of(const npy::header& h, bool bf16) {
  const std::string& kind = h.kind;
  if (bf16) return kind == "u2" || kind == "i2" || kind == "V2" ? "bfloat16" : "";
  return kind == "f2" ? "float16" : kind == "f4" ? "float32" : kind == "f8" ? "float64" : "";
}

/// The numbers of gamma's or beta's file; without a file, `otherwise` for each column of x.
template <class T>
row_vector<T> parameter(const std::string& path, T otherwise, const npy::array& x, bool bf16) {
  const std::size_t length = x.head.shape.back();
  const auto columns = static_cast<Eigen::Index>(x.data.empty() ? 0 : length);
  if (path.empty()) return row_vector<T>::Constant(columns, otherwise);
  const npy::array a = npy::read(path);
  if (type_of(a.head, bf16) != type_of(x.head, bf16))
    npy::fail(path, "dtype " + a.head.dtype + ", that of the input is " + x.head.dtype);
  if (a.head.shape != std::vector{length})
    npy::fail(path,
              "shape " + text(a.head.shape) + ", the rows of the input ask for " + text({length}));
  return Eigen::Map<const row_vector<T>>(reinterpret_cast<const T*>(a.data.data()), columns);
}

/// The sums are of the numbers over a power of two, so that they stay in the range of double, and
/// neither figure is larger than the largest number.
template <class Numbers>
std::string mean_and_rms(const Numbers& x) {
  if (x.size() == 0) return "no numbers";
  double largest = 0, sum = 0, squares = 0;
  bool finite = true;
  for (Eigen::Index i = 0; i < x.size(); ++i) {
    const auto number = static_cast<double>(x.data()[i]);
    largest = std::max(largest, std::abs(number));
    finite = finite && std::isfinite(number);
  }
  const int power = finite ? std::clamp(std::ilogb(largest), -1000, 1000) : 0;
  const double factor = std::ldexp(1., -power);
  for (Eigen::Index i = 0; i < x.size(); ++i) {
    const double number = factor * static_cast<double>(x.data()[i]);
    sum += number;
    squares += number * number;
  }
  const auto n = static_cast<double>(x.size());
  double mean = std::ldexp(sum / n, power), rms = std::ldexp(std::sqrt(squares / n), power);
  if (finite) {
    mean = std::clamp(mean, -largest, largest);
    rms = std::min(rms, largest);
  }
  char line[80];
  std::snprintf(line, sizeof line, "mean %11.4g   RMS %11.4g", mean, rms);
  return line;
}

template <class T>
void normalize(const options& o, npy::array& x, const std::string& type) {
  const std::vector<std::size_t>& shape = x.head.shape;
  std::size_t count = x.data.empty() ? 0 : x.data.size() / sizeof(T) / shape.back();
  const auto gamma = parameter(o.gamma, T(1), x, o.bf16), beta = parameter(o.beta, T(0), x, o.bf16);
  Eigen::Map<matrix<T>> rows(reinterpret_cast<T*>(x.data.data()), static_cast<Eigen::Index>(count),
                             gamma.size());

  const std::string before = mean_and_rms(rows);
  const auto start = std::chrono::steady_clock::now();
  if (o.op == "rms") rownorm::rms_norm(rows, gamma, rows, o.eps.value_or(1e-6));
  else rownorm::layer_norm(rows, gamma, beta, rows, o.eps.value_or(1e-5));
  const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
  const std::string after = mean_and_rms(rows);
  npy::write(o.out, x);

  std::printf("%s: %s %s\n", o.in.c_str(), type.c_str(), text(shape).c_str());
  std::printf("  before  %s\n  after   %s\n", before.c_str(), after.c_str());
  std::printf("%s: %s_norm in %.1f us, %.3g GB/s read and written\n", o.out.c_str(), o.op.c_str(),
              time.count(), 2e-3 * static_cast<double>(x.data.size()) / time.count());
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    throw std::runtime_error("standard output cannot be written");
}

void normalize(const options& o) {
  if (o.op == "rms" && !o.beta.empty())
    throw std::runtime_error("--beta: RMSNorm has no shift; ask for --op layer");
  npy::array x = npy::read(o.in);
  if (x.head.shape.empty()) npy::fail(o.in, "a 0-d array has no axis to normalize");
  const std::string type = type_of(x.head, o.bf16);
  if (type == "bfloat16") normalize<Eigen::bfloat16>(o, x, type);
  else if (type == "float16") normalize<Eigen::half>(o, x, type);
  else if (type == "float32") normalize<float>(o, x, type);
  else if (type == "float64") normalize<double>(o, x, type);
  else if (o.bf16) npy::fail(o.in, "dtype " + x.head.dtype + ", with --bf16 it should be <u2");
  else
    npy::fail(o.in, "dtype " + x.head.dtype + ", it should be <f2, <f4, <f8 or, with --bf16, <u2");
}

int main(int argc, char** argv) {
  options o;
  CLI::App app("Normalizes the rows of a .npy file (its last axis) by RMSNorm or LayerNorm.");
  app.add_option("input", o.in, "a .npy file: float16, float32 or float64")->required();
  app.add_option("output,-o,--out", o.out, "the .npy file to write; may be the input")->required();
  app.add_option("--op", o.op, "the norm")
      ->check(CLI::IsMember({"rms", "layer"}))
      ->capture_default_str();
  app.add_option("--gamma", o.gamma, "a .npy file with the gain of each column (else 1)");
  app.add_option("--beta", o.beta, "a .npy file with the shift of each column (else 0)");
  app.add_option("--eps", o.eps, "under the root (else 1e-6 for rms, 1e-5 for layer)");
  app.add_flag("--bf16", o.bf16, "the files hold bfloat16 as uint16");
  // An unset variable of a shell is no wish for the default.
  for (CLI::Option* option : app.get_options())
    option->check(
        [](const std::string& value) { return std::string(value.empty() ? "is empty" : ""); });
  try {
    app.parse(argc, argv);
    normalize(o);
  } catch (const CLI::CallForHelp& help) {
    app.exit(help);
    return std::cout.flush() ? 0 : 1;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "normalize: %s: memory has no room for its rows and the result\n",
                 o.in.c_str());
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "normalize: %s\n", error.what());
    return 1;
  }
}
