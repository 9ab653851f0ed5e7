// SPDX-License-Identifier: MIT
// Runs cases written by others (folders with a manifest.json and .npy files) through rownorm and
// holds each result to the tolerance that its set names.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <rownorm/rownorm.hpp>
#include <sstream>

#include "../examples/npy.hpp"
#include "conformance_calls.hpp"

namespace fs = std::filesystem;
using json = nlohmann::json;

namespace conformance {

std::size_t product(const shape& s) {
  std::size_t p = 1;
  for (const std::size_t n : s) p *= n;
  return p;
}

std::vector<std::ptrdiff_t> c_strides(const shape& s) {
  std::vector<std::ptrdiff_t> strides(s.size());
  std::ptrdiff_t stride = 1;
  for (std::size_t i = s.size(); i-- > 0; stride *= static_cast<std::ptrdiff_t>(s[i]))
    strides[i] = stride;
  return strides;
}

tensor broadcast(tensor t, const shape& to) {
  if (t.shape.size() > to.size()) throw std::runtime_error("an array of more axes than x");
  const std::size_t more = to.size() - t.shape.size();
  t.strides.insert(t.strides.begin(), more, 0);
  for (std::size_t i = more; i < to.size(); ++i) {
    const std::size_t n = t.shape[i - more];
    if (n == 1) t.strides[i] = 0;
    else if (n != to[i]) throw std::runtime_error("an array that does not broadcast to x");
  }
  t.shape = to;
  return t;
}

std::vector<std::size_t> places(const tensor& t) {
  std::vector<std::size_t> at(product(t.shape));
  const auto c = c_strides(t.shape);
  for (std::size_t i = 0; i < at.size(); ++i) {
    auto place = static_cast<std::ptrdiff_t>(t.offset);
    for (std::size_t axis = 0; axis < c.size(); ++axis)
      place += static_cast<std::ptrdiff_t>(i) / c[axis] %
               static_cast<std::ptrdiff_t>(t.shape[axis]) * t.strides[axis];
    at[i] = static_cast<std::size_t>(place);
  }
  return at;
}

namespace {

tensor read_tensor(const fs::path& folder, const json& entry) {
  static const std::map<std::string, std::string> descr{
      {"f64", "<f8"}, {"f32", "<f4"}, {"f16", "<f2"}, {"bf16", "<u2"}};
  npy::array file = npy::read((folder / entry.at("file").get<std::string>()).string());
  tensor t;
  t.dtype = entry.at("dtype");
  t.shape = entry.at("shape").get<shape>();
  const auto wanted = descr.find(t.dtype);
  if (wanted == descr.end()) throw not_run("numbers of type " + t.dtype);
  if (file.head.dtype != wanted->second || file.head.shape != t.shape)
    throw std::runtime_error(entry.at("file").get<std::string>() + ": not what the manifest says");
  t.strides = c_strides(t.shape);
  t.bytes = std::move(file.data);
  if (entry.contains("view")) {
    const json& view = entry["view"];
    t.shape = view.at("shape").get<shape>();
    t.strides = view.at("strides").get<std::vector<std::ptrdiff_t>>();
    t.offset = view.at("offset");
  }
  return t;
}

/// The same numbers in C order, as a caller would copy them that has them otherwise.
tensor copied(const tensor& t) {
  const auto at = places(t);
  const std::size_t width = t.dtype == "f64" ? 8 : t.dtype == "f32" ? 4 : 2;
  tensor c{t.dtype, t.shape, c_strides(t.shape), 0, std::vector<char>(at.size() * width)};
  for (std::size_t i = 0; i < at.size(); ++i)
    std::copy_n(t.bytes.begin() + static_cast<std::ptrdiff_t>(at[i] * width), width,
                c.bytes.begin() + static_cast<std::ptrdiff_t>(i * width));
  return c;
}

/// Splits x at `axis` into rows, and these into blocks of one stride: a view goes to the calls as
/// it lies in memory, unless the numbers of a row do not lie side by side.
void lay_out_rows(problem& p, std::size_t axis) {
  const auto split = static_cast<std::ptrdiff_t>(axis);
  const shape outer(p.x.shape.begin(), p.x.shape.begin() + split),
      inner(p.x.shape.begin() + split, p.x.shape.end());
  p.rows = product(outer);
  p.length = product(inner);
  const std::vector<std::ptrdiff_t> inner_strides(p.x.strides.begin() + split, p.x.strides.end()),
      outer_strides(p.x.strides.begin(), p.x.strides.begin() + split);
  const auto length = static_cast<std::ptrdiff_t>(p.length);
  if (inner_strides != c_strides(inner) ||
      std::any_of(outer_strides.begin(), outer_strides.end(),
                  [&](std::ptrdiff_t s) { return s < length; }))
    p.x = copied(p.x);

  tensor starts = p.x;  // of every row
  starts.shape = outer;
  starts.strides.resize(axis);
  const auto at = places(starts);
  const bool row_by_row = p.gamma.per_row || p.beta.per_row;
  for (std::size_t i = 0; i < p.rows; ++i) {
    if (i > 0 && !row_by_row && at[i] >= at[i - 1] + p.length) {
      block& last = p.blocks.back();
      const std::size_t step = at[i] - at[i - 1];
      if (last.count == 1 || last.stride == step) {
        last.stride = step;
        ++last.count;
        continue;
      }
    }
    p.blocks.push_back({at[i], 1, p.length, i});
  }
  if (p.rows == 0) p.blocks.push_back({0, 0, p.length, 0});
}

/// gamma or beta over a row, or over every row where its outer axes tell rows apart.
parameter make_parameter(tensor t, const shape& x, std::size_t axis) {
  parameter p;
  shape to = x;
  const std::size_t more = x.size() >= t.shape.size() ? x.size() - t.shape.size() : 0;
  for (std::size_t i = more; i < axis; ++i) p.per_row = p.per_row || t.shape[i - more] != 1;
  if (!p.per_row) std::fill_n(to.begin(), axis, std::size_t{1});
  p.source = places(broadcast(t, to));
  p.given = std::move(t);
  return p;
}

std::string type_of(const json& c, const char* input) {
  return c["inputs"].value(input, json::object()).value("dtype", "");
}

/// Which numbers are rounded before gamma: LLaMA's and T5's own code, and ONNX's operators.
word gain_word(const json& c) {
  const std::string gamma = type_of(c, "gamma");
  const json variant = c.value("variant", json::object());
  const std::string formula = variant.value("formula", "");
  if (variant.value("weight_plus_one", false)) return word::one_plus;
  if (formula == "hf_llama") return word::after_rounding;
  if (formula == "hf_t5" && (gamma == "f16" || gamma == "bf16")) return word::after_rounding;
  if (c.contains("stash_type") && c.at("op").get<std::string>().compare(0, 4, "add_") != 0)
    return word::after_rounding;
  return word::plain;
}

/// The results of a case through the public calls.
results run_case(const fs::path& folder, const json& c) {
  const json& inputs = c.at("inputs");
  problem p;
  p.op = c.at("op");
  p.kind = c.at("kind");
  p.eps = c.at("epsilon");
  p.stats_constant = c.value("stats_constant", false);
  p.x = read_tensor(folder, inputs.at("x"));
  const auto axes = static_cast<int>(p.x.shape.size()), given_axis = c.at("axis").get<int>();
  const int axis = given_axis < 0 ? given_axis + axes : given_axis;
  if (axis < 0 || axis >= axes) throw not_run("rows without an axis");
  const shape all = p.x.shape;

  std::string gamma_type;
  for (const auto& [name, entry] : inputs.items()) {
    if (name == "x") continue;
    tensor t = read_tensor(folder, entry);
    if (name == "gamma" || name == "beta") {
      if (gamma_type.empty()) gamma_type = t.dtype;
      else if (gamma_type != t.dtype)
        gamma_type = gamma_type == "f64" || t.dtype == "f64" ? "f64" : "f32";
      if (name == "gamma") p.gain = gain_word(c);
      p.has_beta = p.has_beta || name == "beta";
      (name == "gamma" ? p.gamma : p.beta) =
          make_parameter(std::move(t), all, static_cast<std::size_t>(axis));
    } else if (name == "mean_in" || name == "var_in") {
      p.other[name] = std::move(t);
    } else if (name == "skip" || name == "bias" || name == "dy") {
      p.other[name] = broadcast(std::move(t), all);
    } else {
      throw not_run("an input named " + name);
    }
  }
  lay_out_rows(p, static_cast<std::size_t>(axis));

  std::string y = p.kind == "backward" ? p.other.at("dy").dtype
                                       : c.at("outputs").at("y").at("dtype").get<std::string>();
  // Widening gamma changes no bit of a result: what is not built with its type is run so.
  if (gamma_type.empty()) gamma_type = p.x.dtype;
  if (p.x.dtype == "f64") gamma_type = "f64";
  else if (gamma_type != "f64" && gamma_type != y && (gamma_type != p.x.dtype || y == "f32"))
    gamma_type = "f32";

  const auto run = [&] {
    return with_type(p.x.dtype, [&](auto x) {
      using X = decltype(x);
      results r;
      if (p.kind != "backward") r = run_forward<X>(p, gamma_type, y);
      if (p.kind != "forward") r.merge(run_backward<X>(p, gamma_type, y));
      return r;
    });
  };
  if (p.op != "rms_norm" || !p.has_beta || p.kind != "forward") return run();

  // RMSNorm has no shift: one that a graph adds after it is the caller's to add, and to round.
  const std::string rounded = y;
  if (y != "f64") y = gamma_type = "f32";
  p.has_beta = false;
  results r = run();
  const auto beta = numbers_at<double>(p.beta.given, p.beta.source);
  std::vector<double>& numbers = r.at("y");
  with_type(rounded, [&](auto v) {
    for (std::size_t i = 0; i < numbers.size(); ++i)
      numbers[i] =
          wide(static_cast<decltype(v)>(numbers[i] + beta[p.beta.per_row ? i : i % p.length]));
  });
  return r;
}

/// What is wrong with `got`, or nothing.
std::string judge(const std::vector<double>& got, const std::vector<double>& expected,
                  const json& rule, const std::vector<double>& beta) {
  if (got.size() != expected.size())
    return std::to_string(got.size()) + " numbers instead of " + std::to_string(expected.size());
  const std::string kind = rule.at("kind");
  const auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
  double squares = 0, expected_squares = 0, most = 0;
  std::size_t wrong = 0, where = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double e = expected[i];
    if (same(got[i], e) && !std::isfinite(e)) continue;
    const double deviation = std::abs(got[i] - e);
    bool good = std::isfinite(got[i]) && std::isfinite(e);
    if (good && kind == "allclose") {
      good =
          deviation <= rule.at("atol").get<double>() + rule.at("rtol").get<double>() * std::abs(e);
    } else if (good && kind == "onednn_p2p") {
      const double most_allowed = rule.at("trh");
      good = (std::abs(e) > 1e-5 ? deviation / std::max(std::abs(e), double{FLT_MIN})
                                 : deviation) <= most_allowed;
      if (!good && rule.value("cancellation_exempt", false)) {
        const double before = e - beta.at(i % beta.size());
        good = std::abs(before) > std::abs(e) && deviation <= most_allowed * std::abs(before);
      }
    } else if (good && kind == "exact") {
      good = got[i] == e;
    } else if (kind != "nmse" && good) {
      throw not_run("a tolerance of kind " + kind);
    }
    squares += deviation * deviation;
    expected_squares += e * e;
    if (!good) ++wrong;
    if (!good && !(deviation <= most)) most = deviation, where = i;
  }
  if (kind == "nmse" && wrong == 0 && !(squares <= rule.at("max").get<double>() * expected_squares))
    wrong = got.size();
  if (rule.value("norm_ok", false) &&
      std::sqrt(squares) <= rule.at("trh").get<double>() * std::sqrt(expected_squares))
    wrong = 0;
  if (wrong == 0) return {};
  std::ostringstream text;
  text.precision(9);
  text << wrong << " of " << got.size() << " numbers off, most by " << most << " at " << where
       << " (" << got[where] << ", expected " << expected[where] << "), root of the squares' ratio "
       << std::sqrt(squares / expected_squares) << ", tolerance " << rule.dump();
  return text.str();
}

/// How many 16-bit numbers of y are not those that another library gave, and the most steps
/// between.
struct difference {
  std::size_t numbers = 0, different = 0;
  double most = 0;
};

struct tally {
  std::size_t passed = 0, failed = 0, skipped = 0;
  std::map<std::string, std::size_t> not_run, not_compared;
  std::map<std::string, difference> differences;
};

void count_differences(const std::vector<double>& got, const std::vector<double>& expected,
                       const std::string& type, difference& d) {
  const int digits = type == "bf16" ? 8 : 11, least = type == "bf16" ? -133 : -24;
  for (std::size_t i = 0; i < got.size() && i < expected.size(); ++i) {
    if (!std::isfinite(expected[i])) continue;
    ++d.numbers;
    if (got[i] == expected[i]) continue;
    ++d.different;
    const int exponent = expected[i] == 0 ? least : std::ilogb(expected[i]) - digits + 1;
    d.most = std::max(d.most,
                      std::abs(got[i] - expected[i]) / std::ldexp(1.0, std::max(exponent, least)));
  }
}

/// Holds every output to its expectation; "y__exact" and the like are more expectations for y.
std::string judge_case(const fs::path& folder, const json& c, const results& got, tally& all) {
  const json unchecked = c.value("unchecked", json::array());
  std::vector<double> beta;
  if (c.at("inputs").contains("beta")) {
    const tensor t = read_tensor(folder, c["inputs"]["beta"]);
    beta = numbers_at<double>(t, places(t));
  }
  std::string wrong;
  std::size_t compared = 0;
  for (const auto& [name, entry] : c.at("outputs").items()) {
    const auto result = got.find(name.substr(0, name.find("__")));
    if (std::find(unchecked.begin(), unchecked.end(), name) != unchecked.end()) {
      ++all.not_compared[name + ": the manifest says that it is not the mathematical value"];
      continue;
    }
    if (result == got.end()) {
      ++all.not_compared[name + ": no call gives it"];
      continue;
    }
    // after_rounding repeats the roundings of a 16-bit formula, which the strict rule is for.
    const bool strict = name == "y" && c.contains("tolerance_strict") &&
                        gain_word(c) == word::after_rounding &&
                        (type_of(c, "x") == "f16" || type_of(c, "x") == "bf16");
    const json& rules = c.at(strict ? "tolerance_strict" : "tolerance");
    const tensor expected = read_tensor(folder, entry);
    std::vector<double> numbers = result->second;
    if (name == "var" || name == "mean" || name == "rstd")  // kept in double, asked for in less
      with_type(expected.dtype, [&](auto v) {
        for (double& n : numbers) n = wide(static_cast<decltype(v)>(n));
      });
    const auto wanted = numbers_at<double>(expected, places(expected));
    const std::string miss =
        judge(numbers, wanted, rules.contains(name) ? rules[name] : rules.at("default"), beta);
    if (name == "y" && (expected.dtype == "bf16" || expected.dtype == "f16")) {
      const char* const words[] = {"", "", " one_plus", " after_rounding"};
      const auto word = words[static_cast<int>(gain_word(c))];
      count_differences(
          numbers, wanted, expected.dtype,
          all.differences[expected.dtype + ' ' + c.at("op").get<std::string>() + word]);
    }
    if (!miss.empty()) wrong += "\n    " + name + ": " + miss;
    ++compared;
  }
  if (compared == 0) throw not_run("no output that can be compared");
  return wrong;
}

/// What a set wants rejected, as the call that a user would write: x's last axes as rows, gamma and
/// beta as they are (rows of that length where they have so many axes, else one vector).
bool rejected(const json& c) {
  using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const json& shapes = c.contains("shapes") ? c["shapes"] : c;
  const shape x = shapes.at("x");
  const shape normalized = c.value("normalized_shape", shape());
  const int axis = c.value("axis", -static_cast<int>(std::min(normalized.size(), x.size())));
  const auto inner = static_cast<std::size_t>(axis < 0 ? -axis : static_cast<int>(x.size()) - axis);
  if (inner == 0 || inner > x.size())
    throw not_run("rejected input: rownorm's rows have at least one axis");

  const auto as_rows = [&](const shape& s) {
    const auto split = static_cast<std::ptrdiff_t>(s.size() < inner ? 0 : s.size() - inner);
    matrix m(product(shape(s.begin(), s.begin() + split)),
             product(shape(s.begin() + split, s.end())));
    m.setOnes();
    return m;
  };
  const shape row = c.contains("normalized_shape")
                        ? normalized
                        : shape(x.end() - static_cast<std::ptrdiff_t>(inner), x.end());
  const std::string op = c.value("op", "");
  const double eps = c.value("epsilon", 1e-5);
  const matrix in = as_rows(x), gamma = as_rows(shapes.value("gamma", row)),
               beta = as_rows(shapes.value("beta", row));
  matrix out = -in;
  const auto throws = [&](auto call) {
    try {
      call();
    } catch (const std::invalid_argument&) {
      return out == -in;
    }
    return false;
  };
  return (op == "layer_norm" || shapes.contains("beta") ||
          throws([&] { rownorm::rms_norm(in, gamma, out, eps); })) &&
         (op == "rms_norm" || throws([&] { rownorm::layer_norm(in, gamma, beta, out, eps); }));
}

tally run_set(const fs::path& folder) {
  tally all;
  const json manifest = json::parse(std::ifstream(folder / "manifest.json"));
  const std::string set = folder.filename().string();
  const auto run_one = [&](const std::string& name, auto body) {
    std::string wrong;
    try {
      wrong = body();
    } catch (const not_run& reason) {
      ++all.skipped, ++all.not_run[reason.what()];
      return;
    } catch (const std::exception& error) {
      wrong = std::string("\n    ") + error.what();
    }
    wrong.empty() ? ++all.passed : ++all.failed;
    if (!wrong.empty()) std::printf("FAILED %s/%s%s\n", set.c_str(), name.c_str(), wrong.c_str());
  };
  for (const json& c : manifest.at("cases"))
    run_one(c.at("name"), [&] { return judge_case(folder, c, run_case(folder, c), all); });
  const json refused = manifest.value("rejected_inputs", json::array());
  for (const json& c : refused)
    run_one(c.value("name", c.value("function", "rejected input")),
            [&] { return rejected(c) ? "" : "\n    was not rejected: " + c.dump(); });

  std::printf("%s: %zu cases and %zu inputs to reject: %zu passed, %zu failed, %zu not run\n",
              set.c_str(), manifest["cases"].size(), refused.size(), all.passed, all.failed,
              all.skipped);
  for (const auto& [reason, n] : all.not_run)
    std::printf("  not run: %zu: %s\n", n, reason.c_str());
  for (const auto& [call, d] : all.differences)
    std::printf("  %s: %zu of %zu numbers of y differ (%.0f in a million), by %.3g steps at most\n",
                call.c_str(), d.different, d.numbers,
                1e6 * static_cast<double>(d.different) / static_cast<double>(d.numbers), d.most);
  for (const auto& [reason, n] : all.not_compared)
    std::printf("  output not compared: %zu: %s\n", n, reason.c_str());
  return all;
}

}  // namespace
}  // namespace conformance

int main(int argc, char** argv) {
  const fs::path folder = argc > 1 ? argv[1] : "";
  if (!fs::is_directory(folder)) {
    std::printf(
        "The conformance sets were not run: ROWNORM_CONFORMANCE_DIR (\"%s\") is no folder.\n",
        folder.string().c_str());
    return 77;
  }
  std::vector<fs::path> sets;
  for (const auto& entry : fs::directory_iterator(folder))
    if (fs::exists(entry.path() / "manifest.json")) sets.push_back(entry.path());
  std::sort(sets.begin(), sets.end());
  std::size_t passed = 0, failed = 0, skipped = 0;
  for (const fs::path& set : sets) {
    const conformance::tally t = conformance::run_set(set);
    passed += t.passed, failed += t.failed, skipped += t.skipped;
  }
  std::printf("all %zu sets: %zu passed, %zu failed, %zu not run\n", sets.size(), passed, failed,
              skipped);
  if (passed == 0) std::printf("FAILED: no case was run in %s\n", folder.string().c_str());
  return failed == 0 && passed > 0 ? 0 : 1;
}
