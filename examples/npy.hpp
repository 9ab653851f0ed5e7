// SPDX-License-Identifier: MIT
// Reads and writes arrays as numpy.save does, strictly: a file with a byte too few or too many is
// an error. Knows nothing of norms.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "npy_header.hpp"
#include "replace_file.hpp"

namespace npy {

/// The numbers in this machine's order of bytes, as rows along the last axis; those of an array in
/// Fortran order stand in the order of that, the first axis fastest.
struct array {
  std::string start;  // of the file, to the end of the header, byte for byte
  header head;
  std::vector<char> data;

  std::size_t number() const { return static_cast<std::size_t>(head.kind[1] - '0'); }
};

inline std::string_view view(const std::vector<char>& data) {
  return {data.data(), data.size()};
}

inline void swap_bytes(std::vector<char>& data, std::size_t number) {
  for (auto at = data.begin(); at != data.end(); at += static_cast<std::ptrdiff_t>(number))
    std::reverse(at, at + static_cast<std::ptrdiff_t>(number));
}

/// Of `data` as a matrix of so many columns.
inline std::vector<char> transpose(const std::vector<char>& data, std::size_t columns,
                                   std::size_t number) {
  std::vector<char> transposed(data.size());
  const std::size_t rows = data.empty() ? 0 : data.size() / number / columns;
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < columns; ++j)
      std::copy_n(&data[(i * columns + j) * number], number, &transposed[(j * rows + i) * number]);
  return transposed;
}

/// Whether Fortran order is another than C order: one axis alone is as long as the array.
inline bool transposed(const array& a) {
  const std::size_t count = a.data.size() / a.number();
  return a.head.by_columns && !a.data.empty() && a.head.shape.back() != 1 &&
         a.head.shape.back() != count;
}

inline array read(const std::string& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) fail(path, error.message());
  std::ifstream in(path, std::ios::binary);
  array a;
  const auto start = [&](std::size_t n) {
    const std::size_t begin = a.start.size();
    if (n > size - begin) fail(path, "not a .npy file, or cut off in its header");
    a.start.resize(begin + n);
    if (!in.read(&a.start[begin], static_cast<std::streamsize>(n))) fail(path, "cannot be read");
    return a.start.substr(begin);
  };

  try {
    if (start(6) != "\x93NUMPY") fail(path, "not a .npy file");
    const std::string version = start(2);
    if (version[0] < 1 || version[0] > 3 || version[1] != 0)
      fail(path, "none of the versions 1.0, 2.0 and 3.0 of the .npy format");
    std::size_t length = 0, shift = 0;
    for (const char byte : start(version[0] == 1 ? 2 : 4)) {
      length |= std::size_t{static_cast<unsigned char>(byte)} << shift;
      shift += 8;
    }
    a.head = header_parser(path, start(length)).parse();
    const std::uintmax_t held = size - a.start.size();
    if (held != a.head.bytes)
      fail(path, "holds " + std::to_string(held) + " bytes of numbers, its header promises " +
                     std::to_string(a.head.bytes));
    a.data.resize(a.head.bytes);
    if (!in.read(a.data.data(), static_cast<std::streamsize>(a.data.size())))
      fail(path, "cannot be read");
    if (a.head.swapped) swap_bytes(a.data, a.number());
    if (transposed(a))
      a.data = transpose(a.data, a.data.size() / a.number() / a.head.shape.back(), a.number());
  } catch (const std::bad_alloc&) {
    fail(path, std::to_string(size) + " bytes, more than memory has room for");
  }
  return a;
}

/// In the order of the file that it was read from. All of the file is written, or nothing.
inline void write(const std::string& path, const array& a) {
  if (!transposed(a) && !a.head.swapped) return replace_file(path, {a.start, view(a.data)});
  std::vector<char> data =
      transposed(a) ? transpose(a.data, a.head.shape.back(), a.number()) : a.data;
  if (a.head.swapped) swap_bytes(data, a.number());
  replace_file(path, {a.start, view(data)});
}

}  // namespace npy
