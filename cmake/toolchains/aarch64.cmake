# SPDX-License-Identifier: MIT
# 64-bit Arm on Debian: g++-aarch64-linux-gnu, its programs run by qemu-user.
set(CMAKE_SYSTEM_PROCESSOR aarch64)
include(${CMAKE_CURRENT_LIST_DIR}/debian.cmake)
