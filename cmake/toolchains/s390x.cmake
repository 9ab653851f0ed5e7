# SPDX-License-Identifier: MIT
# Big-endian IBM Z on Debian: g++-s390x-linux-gnu, its programs run by qemu-user.
set(CMAKE_SYSTEM_PROCESSOR s390x)
include(${CMAKE_CURRENT_LIST_DIR}/debian.cmake)
