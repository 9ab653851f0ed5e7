// SPDX-License-Identifier: MIT
// A tool: normalizes the last axis of a .npy file, in place in memory, and writes another.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numeric>
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

/// The numbers of gamma's or beta's file; without a file, `otherwise` for each column of x.
template <class T>
row_vector<T> parameter(const std::string& path, T otherwise, const npy::array& x) {
  const std::size_t length = x.shape.back();
  const auto columns = static_cast<Eigen::Index>(length);
  if (path.empty()) return row_vector<T>::Constant(columns, otherwise);
  const npy::array a = npy::read(path);
  if (a.dtype != x.dtype) npy::fail(path, "dtype " + a.dtype + ", that of the input is " + x.dtype);
  if (a.shape != std::vector{length})
    npy::fail(path, "shape " + text(a.shape) + ", the rows of the input ask for " + text({length}));
  return Eigen::Map<const row_vector<T>>(reinterpret_cast<const T*>(a.data.data()), columns);
}

template <class Numbers>
std::string mean_and_rms(const Numbers& x) {
  if (x.size() == 0) return "no numbers";
  const auto n = static_cast<double>(x.size());
  double sum = 0, squares = 0;
  for (Eigen::Index i = 0; i < x.size(); ++i) {
    const auto number = static_cast<double>(x.data()[i]);
    sum += number;
    squares += number * number;
  }
  char line[80];
  std::snprintf(line, sizeof line, "mean %11.4g   RMS %11.4g", sum / n, std::sqrt(squares / n));
  return line;
}

template <class T>
void normalize(const options& o, npy::array& x, const char* type) {
  const std::size_t count = std::accumulate(x.shape.begin(), x.shape.end() - 1, std::size_t{1},
                                            std::multiplies<std::size_t>());
  Eigen::Map<matrix<T>> rows(reinterpret_cast<T*>(x.data.data()), static_cast<Eigen::Index>(count),
                             static_cast<Eigen::Index>(x.shape.back()));
  const auto gamma = parameter(o.gamma, T(1), x), beta = parameter(o.beta, T(0), x);

  const std::string before = mean_and_rms(rows);
  const auto start = std::chrono::steady_clock::now();
  if (o.op == "rms") rownorm::rms_norm(rows, gamma, rows, o.eps.value_or(1e-6));
  else rownorm::layer_norm(rows, gamma, beta, rows, o.eps.value_or(1e-5));
  const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
  const std::string after = mean_and_rms(rows);
  npy::write(o.out, x);

  std::printf("%s: %s %s\n", o.in.c_str(), type, text(x.shape).c_str());
  std::printf("  before  %s\n  after   %s\n", before.c_str(), after.c_str());
  std::printf("%s: %s_norm in %.1f us, %.3g GB/s read and written\n", o.out.c_str(), o.op.c_str(),
              time.count(), 2e-3 * static_cast<double>(x.data.size()) / time.count());
}

void normalize(const options& o) {
  if (o.op == "rms" && !o.beta.empty())
    throw std::runtime_error("--beta: RMSNorm has no shift; ask for --op layer");
  npy::array x = npy::read(o.in);
  if (x.shape.empty()) npy::fail(o.in, "a 0-d array has no axis to normalize");
  const std::string kind = x.dtype.substr(1);
  // NumPy has no bfloat16: the bits come as integers (PyTorch) or as two bytes of no type (JAX).
  if (o.bf16 && (kind == "u2" || kind == "i2" || kind == "V2"))
    normalize<Eigen::bfloat16>(o, x, "bfloat16");
  else if (o.bf16) npy::fail(o.in, "dtype " + x.dtype + ", with --bf16 it should be <u2");
  else if (kind == "f2") normalize<Eigen::half>(o, x, "float16");
  else if (kind == "f4") normalize<float>(o, x, "float32");
  else if (kind == "f8") normalize<double>(o, x, "float64");
  else npy::fail(o.in, "dtype " + x.dtype + ", it should be <f2, <f4, <f8 or, with --bf16, <u2");
}

int main(int argc, char** argv) {
  options o;
  CLI::App app("Normalizes the rows of a .npy file (its last axis) by RMSNorm or LayerNorm.");
  app.add_option("input", o.in, "a .npy file: float16, float32 or float64, C order")->required();
  app.add_option("output,-o,--out", o.out, "the .npy file to write; may be the input")->required();
  app.add_option("--op", o.op, "the norm")
      ->check(CLI::IsMember({"rms", "layer"}))
      ->capture_default_str();
  app.add_option("--gamma", o.gamma, "a .npy file with the gain of each column (else 1)");
  app.add_option("--beta", o.beta, "a .npy file with the shift of each column (else 0)");
  app.add_option("--eps", o.eps, "under the root (else 1e-6 for rms, 1e-5 for layer)");
  app.add_flag("--bf16", o.bf16, "the files hold bfloat16 as uint16");
  try {
    app.parse(argc, argv);
    normalize(o);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "normalize: %s\n", error.what());
    return 1;
  }
}
