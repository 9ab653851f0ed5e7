// SPDX-License-Identifier: MIT
// Reads and writes arrays as numpy.save does, strictly: a file with a byte too few or too many is
// an error (the format: numpy.org/neps/nep-0001-npy-format.html). Knows nothing of norms.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace npy {

struct array {
  std::string header;  // from the magic string to the newline, byte for byte
  std::string dtype;   // as the header has it: <f4
  std::vector<std::size_t> shape;
  std::vector<char> data;
};

[[noreturn]] inline void fail(const std::string& path, const std::string& what) {
  throw std::runtime_error(path + ": " + what);
}

/// What the header says, a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape':
/// (64, 512), }. Sets dtype and shape, returns the number of bytes that follow.
inline std::size_t parse(const std::string& path, std::string dictionary, array& a) {
  dictionary.erase(std::remove(dictionary.begin(), dictionary.end(), ' '), dictionary.end());
  const auto take = [&](const std::string& key, char last) {
    const std::size_t begin = dictionary.find(key);
    const std::size_t end = dictionary.find(last, begin + key.size());
    if (begin == std::string::npos || end == std::string::npos)
      fail(path, "not an array of numbers, its header lacks " + key);
    const std::string value = dictionary.substr(begin + key.size(), end - begin - key.size());
    dictionary.erase(begin, end + 1 - begin);
    return value;
  };

  a.dtype = take("'descr':'", '\'');
  if (a.dtype[0] == '>') fail(path, "big-endian; save x.astype(x.dtype.newbyteorder('<'))");
  if (a.dtype.size() != 3 || std::string("<|").find(a.dtype[0]) == std::string::npos ||
      std::string("fiuV").find(a.dtype[1]) == std::string::npos || a.dtype[2] < '1' ||
      a.dtype[2] > '8')
    fail(path, "dtype " + a.dtype + ", not plain numbers");
  const std::string c_order = "'fortran_order':False";
  const std::size_t order = dictionary.find(c_order);
  if (order == std::string::npos) fail(path, "in Fortran order; save numpy.ascontiguousarray(x)");
  dictionary.erase(order, c_order.size());
  const std::string shape = take("'shape':(", ')');
  if (dictionary != "{,,}\n" && dictionary != "{,,,}\n")
    fail(path, "not an array of numbers, its header has more than it should");

  auto bytes = static_cast<std::size_t>(a.dtype[2] - '0');
  const char *at = shape.data(), *const end = at + shape.size();
  while (at != end) {
    std::size_t n = 0;
    const auto [next, error] = std::from_chars(at, end, n);
    const bool fits = n == 0 || bytes <= std::numeric_limits<std::size_t>::max() / n;
    if (error != std::errc() || !fits || (next != end && *next != ','))
      fail(path, "no array has the shape (" + shape + ")");
    a.shape.push_back(n);
    bytes *= n;
    at = next == end ? end : next + 1;
  }
  if (a.shape.size() == 1 && shape.back() != ',')
    fail(path, "no array has the shape (" + shape + ")");
  return bytes;
}

inline array read(const std::string& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) fail(path, error.message());
  std::ifstream in(path, std::ios::binary);
  array a;
  const auto header = [&](std::size_t n) {
    const std::size_t begin = a.header.size();
    if (n > size - begin) fail(path, "not a .npy file, or cut off in its header");
    a.header.resize(begin + n);
    if (!in.read(&a.header[begin], static_cast<std::streamsize>(n))) fail(path, "cannot be read");
    return a.header.substr(begin);
  };

  if (header(6) != "\x93NUMPY") fail(path, "not a .npy file");
  const std::string version = header(2);
  if (version[0] < 1 || version[0] > 3 || version[1] != 0)
    fail(path, "none of the versions 1.0, 2.0 and 3.0 of the .npy format");
  std::size_t length = 0, shift = 0;
  for (const char byte : header(version[0] == 1 ? 2 : 4)) {
    length |= std::size_t{static_cast<unsigned char>(byte)} << shift;
    shift += 8;
  }
  const std::size_t promised = parse(path, header(length), a);
  const std::uintmax_t held = size - a.header.size();
  if (held != promised)
    fail(path, "holds " + std::to_string(held) + " bytes of numbers, its header promises " +
                   std::to_string(promised));
  a.data.resize(promised);
  if (!in.read(a.data.data(), static_cast<std::streamsize>(promised))) fail(path, "cannot be read");
  return a;
}

/// Writes all of the file or nothing: it takes its name when it is complete.
inline void write(const std::string& path, const array& a) {
  namespace fs = std::filesystem;
  if (fs::exists(path) && !fs::is_regular_file(path)) fail(path, "not a regular file");
  const std::string part = path + ".part";
  std::ofstream out(part, std::ios::binary);
  out << a.header;
  out.write(a.data.data(), static_cast<std::streamsize>(a.data.size()));
  out.close();
  std::error_code error;
  if (out) fs::rename(part, path, error);
  if (!out || error) {
    fs::remove(part, error);
    fail(path, "cannot be written");
  }
}

}  // namespace npy
