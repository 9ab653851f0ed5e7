# SPDX-License-Identifier: MIT
# 64-bit RISC-V on Debian: g++-riscv64-linux-gnu, its programs run by qemu-user.
set(CMAKE_SYSTEM_PROCESSOR riscv64)
include(${CMAKE_CURRENT_LIST_DIR}/debian.cmake)
