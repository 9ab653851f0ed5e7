// SPDX-License-Identifier: MIT
// Writes a file that takes its name when it is complete. What the examples ask of POSIX stands here
// alone; nothing here knows what is written.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

/// A new file beside another, under a name that no file had; removed unless it was renamed.
struct fresh_file {
  std::string name;
  int descriptor = -1;

  fresh_file(const std::filesystem::path& folder, mode_t mode) {
    std::random_device random;
    do {  // short: the other's name may be as long as a name can be
      char last[20];
      std::snprintf(last, sizeof last, ".part-%08x", static_cast<unsigned>(random()));
      name = (folder / last).string();
      descriptor = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    } while (descriptor < 0 && errno == EEXIST);
  }
  fresh_file(const fresh_file&) = delete;
  ~fresh_file() {
    if (descriptor < 0) return;
    ::close(descriptor);
    ::unlink(name.c_str());
  }

  bool write(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = ::write(descriptor, bytes.data(), bytes.size());
      if (n < 0 && errno != EINTR) return false;
      if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  bool rename(const std::string& other) {
    const bool closed = ::close(descriptor) == 0;
    const bool renamed = closed && std::rename(name.c_str(), other.c_str()) == 0;
    if (!renamed) {
      const int why = errno;
      ::unlink(name.c_str());
      errno = why;
    }
    descriptor = -1;
    return renamed;
  }
};

/// Afterwards `path` holds the pieces, one behind the other; after an error, what it held before. A
/// file that is there keeps its mode and, where the user may give it away, its owner; where `path`
/// is a symbolic link, the file that it leads to is replaced. Throws std::runtime_error, also where
/// `path` is no regular file or the user may not write it.
inline void replace_file(const std::string& path, std::initializer_list<std::string_view> pieces) {
  const auto check = [&](bool good) {
    if (!good)
      throw std::runtime_error(path +
                               ": cannot be written: " + std::generic_category().message(errno));
  };
  struct stat old;
  const bool exists = ::stat(path.c_str(), &old) == 0;
  check(exists || errno == ENOENT);
  if (exists) {
    if (!S_ISREG(old.st_mode)) throw std::runtime_error(path + ": not a regular file");
    const int permitted = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    check(permitted >= 0);
    ::close(permitted);
  }
  std::filesystem::path target = path;
  for (std::error_code error; std::filesystem::is_symlink(target, error);)
    target = target.parent_path() / std::filesystem::read_symlink(target);

  // Others may not read the new file before it has the mode of the old one.
  fresh_file file(target.parent_path(), exists ? 0600 : 0666);
  check(file.descriptor >= 0);
  if (exists) {
    check(::fchown(file.descriptor, old.st_uid, old.st_gid) == 0 || errno == EPERM ||
          errno == EINVAL);  // an owner that a container does not know
    check(::fchmod(file.descriptor, old.st_mode & 07777) == 0);
  }
  for (const std::string_view piece : pieces) check(file.write(piece));
  check(file.rename(target.string()));
}
