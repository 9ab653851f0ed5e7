// SPDX-License-Identifier: MIT
// Writes a proof for Gappa from its template, with what it says of the order of the sum taken from
// the constants of the code, and lets Gappa check it: another order has another proof, or none.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <rownorm/rownorm.hpp>
#include <sstream>
#include <stdexcept>
#include <string>

#include "../bounds.hpp"

namespace {

namespace detail = rownorm::detail;

std::map<std::string, std::string> names;

template <class Number>
void set(const std::string& name, Number value) {
  std::ostringstream text;
  text.precision(15);
  text << value;
  names[name] = text.str();
}
/// mantissa * 2^exponent, as Gappa writes it.
void set(const std::string& name, unsigned long long mantissa, int exponent) {
  names[name] = std::to_string(mantissa) + "b" + std::to_string(exponent);
}

constexpr int log2_of(std::size_t n) {
  return n == 1 ? 0 : 1 + log2_of(n / 2);
}

/// Of rows of up to 2^30 numbers.
template <class T>
void set_order() {
  constexpr std::size_t lanes = detail::lanes<T>, chunk = detail::chunk<T>,
                        last = detail::second_lanes, in_lane = chunk / lanes;
  static_assert(lanes * in_lane == chunk && (lanes & (lanes - 1)) == 0);
  constexpr unsigned long long chunks = (1ull << 30) / chunk;
  set("lane", in_lane);
  set("folds", log2_of(lanes / last));
  set("tree", log2_of(last));
  // (1 + u)^k - 1 is at most 2 k u, with k additions of doubles in the second set, its tree and a
  // few operations after them.
  set("second_set", 2 * (chunks + log2_of(last) + 16), -53);
  // What the second set of doubles keeps beside it is a sum of as many numbers, each 2^-53 of a sum
  // at most.
  set("rest", 2 * chunks * chunks, -106);
  // How often a number that is added, not squared, is rounded in its lane and the folds: the mean
  // of the squares. The first of a lane is added to 0, which is exact. In double the tree is of
  // doubles too; its last addition is of the whole sum.
  const int after = log2_of(lanes / last) + (sizeof(T) == 4 ? 0 : log2_of(last) - 1);
  double squares = 0;
  for (std::size_t k = 0; k < in_lane; ++k)
    squares += std::pow(static_cast<double>(std::min(in_lane - 1, in_lane - k)) + after, 2);
  set("mean_square_of_roundings", squares / static_cast<double>(in_lane));
  set("least_square_ratio", detail::least_square_ratio<T>);
  set("farthest", 1.001 / std::sqrt(detail::least_square_ratio<T> - 1));
}

template <class T>
void set_bounds(const std::string& type) {
  using bound = bounds::of<T>;
  set("rms_norm_" + type, bound::rms_norm.proved);
  set("rms_norm_outside_" + type, bound::rms_norm_outside.proved);
  set("layer_norm_" + type, bound::layer_norm.proved);
  set("rms_norm_backward_" + type, bound::rms_norm_backward.proved);
  set("layer_norm_backward_" + type, bound::layer_norm_backward.proved);
}

/// `(1 + a1) * (1 + a2) * ...`, or what is known of them, `|a1| <= u /\ ...`, n of them; n may be a
/// sum.
std::string steps(const std::string& form, const std::string& name, const std::string& counts) {
  int n = 0;
  std::istringstream each(counts);
  for (std::string count; std::getline(each, count, '+');)
    n += std::atoi(names.count(count) ? names.at(count).c_str() : count.c_str());
  std::string text;
  for (int i = 1; i <= n; ++i) {
    const std::string v = name + std::to_string(i);
    if (i > 1) text += form == "steps" ? " * " : " /\\ ";
    text += form == "steps" ? "(1 + " + v + ")" : "|" + v + "| <= " + names.at("half_step");
  }
  return text;
}

/// $name$, or $steps a n$ and $small a n$.
std::string filled(const std::string& text) {
  std::string out;
  std::istringstream from(text);
  bool inside = false;
  for (std::string piece; std::getline(from, piece, '$'); inside = !inside) {
    if (!inside) {
      out += piece;
      continue;
    }
    std::istringstream words(piece);
    std::string form, name, counts;
    words >> form >> name >> counts;
    if (!counts.empty()) out += steps(form, name, counts);
    else if (names.count(form)) out += names.at(form);
    else throw std::runtime_error("no $" + piece + '$');
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("proof <gappa> <template> <script>");
  const std::string source = argv[2], script = argv[3];
  const bool of_double = source.find("double.g") != std::string::npos;
  if (of_double) set_order<double>();
  else set_order<float>();
  set("half_step", 1, of_double ? -53 : -24);
  set_bounds<float>("float");
  set_bounds<double>("double");
  set("one_rounding_16", bounds::one_rounding_16);
  set("one_rounding_16_of_layer_norm", bounds::one_rounding_16_of_layer_norm);
  set("one_rounding_float", bounds::one_rounding_float);
  std::ifstream in(source);
  std::stringstream text;
  text << in.rdbuf();
  if (text.str().empty()) throw std::runtime_error("no " + source);
  std::ofstream(script) << filled(text.str());
  const std::string command = std::string(argv[1]) + " " + script;
  if (std::system(command.c_str()) != 0) throw std::runtime_error("not proved: " + script);
  std::cout << "proved: " << script << '\n';
} catch (const std::exception& e) {
  std::cerr << e.what() << '\n';
  return 1;
}
