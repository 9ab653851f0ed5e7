// SPDX-License-Identifier: MIT
// The header of a .npy file, a Python dictionary, as NumPy reads it where an array is of plain
// numbers (the format: numpy.org/neps/nep-0001-npy-format.html). Opens no file.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace npy {

[[noreturn]] inline void fail(const std::string& path, const std::string& what) {
  throw std::runtime_error(path + ": " + what);
}

struct header {
  std::string dtype;        // as the file has it: <f4
  std::string kind;         // of the numbers and how many bytes, without their order: f4
  bool swapped = false;     // the bytes of a number stand in the other order than here
  bool by_columns = false;  // Fortran order
  std::vector<std::size_t> shape;
  std::size_t bytes = 0;  // of all numbers
};

/// {'descr': '<f4', 'fortran_order': False, 'shape': (64, 512), }: the keys in any order, blanks
/// between any two words, either quote, and what Python 2 wrote: u'descr', 64L.
class header_parser {
 public:
  header_parser(const std::string& path, std::string_view text)
      : path_(path), at_(text.data()), end_(at_ + text.size()) {}

  header parse() {
    bool dtype = false, order = false, shape = false;
    expect('{');
    while (!take('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr") dtype = true, parse_dtype();
      else if (key == "fortran_order") order = true, parse_order();
      else if (key == "shape") shape = true, parse_shape();
      else not_numbers("has a key " + key);
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    skip_blanks();
    if (at_ != end_) not_numbers("has more than it should");
    if (!dtype || !order || !shape)
      not_numbers("lacks " + std::string(!dtype ? "descr" : !order ? "fortran_order" : "shape"));
    count_bytes();
    return h_;
  }

 private:
  const std::string& path_;
  const char *at_, *end_;
  header h_;
  std::string shape_text_;

  [[noreturn]] void not_numbers(const std::string& why) const {
    fail(path_, "not an array of numbers, its header " + why);
  }
  [[noreturn]] void no_shape() const { fail(path_, "no array has the shape " + shape_text_); }

  void skip_blanks() {
    while (at_ != end_ && std::string_view(" \t\n\r\f").find(*at_) != std::string_view::npos) ++at_;
  }
  bool take(char c) {
    skip_blanks();
    return at_ != end_ && *at_ == c && (++at_, true);
  }
  bool take(std::string_view word) {
    skip_blanks();
    if (std::string_view(at_, static_cast<std::size_t>(end_ - at_)).substr(0, word.size()) != word)
      return false;
    at_ += word.size();
    return true;
  }
  void expect(char c) {
    if (!take(c)) not_numbers(std::string("lacks a ") + c);
  }
  std::string string() {
    if (!take('u')) take('U');
    const char quote = take('\'') ? '\'' : '"';
    if (quote == '"' && !take('"')) not_numbers("lacks a string");
    std::string s;
    for (; at_ != end_ && *at_ != quote; ++at_) {
      if (*at_ < ' ' || *at_ > '~' || *at_ == '\\') not_numbers("has a string of other characters");
      s += *at_;
    }
    expect(quote);
    return s;
  }

  void parse_dtype() {
    h_.dtype = string();
    char order = '=';
    std::string_view kind = h_.dtype;
    if (!kind.empty() && std::string_view("<>=|").find(kind[0]) != std::string_view::npos) {
      order = kind[0];
      kind.remove_prefix(1);
    }
    constexpr std::string_view names[][2] = {
        {"e", "f2"},       {"f", "f4"},       {"d", "f8"},       {"h", "i2"},     {"H", "u2"},
        {"float16", "f2"}, {"float32", "f4"}, {"float64", "f8"}, {"int16", "i2"}, {"uint16", "u2"}};
    for (const auto& [name, same] : names)
      if (kind == name) kind = same;
    if (kind.size() != 2 || std::string_view("fiuV").find(kind[0]) == std::string_view::npos ||
        kind[1] < '1' || kind[1] > '8')
      fail(path_, "dtype " + h_.dtype + ", not plain numbers");
    h_.kind = kind;
    const std::uint16_t one = 1;
    unsigned char first;
    std::memcpy(&first, &one, 1);
    h_.swapped = order == (first == 1 ? '>' : '<');
  }
  void parse_order() {
    h_.by_columns = take("True");
    if (!h_.by_columns && !take("False")) not_numbers("says neither C nor Fortran order");
  }
  void parse_shape() {
    skip_blanks();
    shape_text_.clear();
    for (const char* c = at_; c != end_ && shape_text_.size() < 60 && *c >= ' ' && *c <= '~'; ++c) {
      shape_text_ += *c;
      if (*c == ')') break;
    }
    h_.shape.clear();
    if (!take('(')) no_shape();
    bool comma = true;
    while (!take(')')) {
      skip_blanks();
      std::size_t n = 0;
      const auto [next, error] = std::from_chars(at_, end_, n);
      // Python has no number that begins with 0, but 0.
      if (!comma || error != std::errc() || (*at_ == '0' && n != 0)) no_shape();
      at_ = next;
      take('L');
      comma = take(',');
      h_.shape.push_back(n);
    }
    if (h_.shape.size() == 1 && !comma) no_shape();  // (3) is a number, (3,) a tuple
    if (h_.shape.size() > 64) fail(path_, "has more than 64 axes");
  }

  /// An array without numbers has a size as well: that of its other axes must be one.
  void count_bytes() {
    constexpr auto most = static_cast<std::size_t>(PTRDIFF_MAX);
    std::size_t bytes = static_cast<std::size_t>(h_.kind[1] - '0');
    bool empty = false;
    for (const std::size_t n : h_.shape) {
      if (n > most || (n != 0 && bytes > most / n)) no_shape();
      empty = empty || n == 0;
      if (n != 0) bytes *= n;
    }
    h_.bytes = empty ? 0 : bytes;
  }
};

}  // namespace npy
