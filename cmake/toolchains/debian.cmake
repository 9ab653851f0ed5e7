# SPDX-License-Identifier: MIT
# For the files beside it: Debian's cross compiler and emulator for CMAKE_SYSTEM_PROCESSOR, and the
# headers that are the same for every CPU.
set(CMAKE_SYSTEM_NAME Linux)
set(machine ${CMAKE_SYSTEM_PROCESSOR}-linux-gnu)
set(CMAKE_C_COMPILER ${machine}-gcc)
set(CMAKE_CXX_COMPILER ${machine}-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-${CMAKE_SYSTEM_PROCESSOR} -L /usr/${machine})
# xsimd is headers alone, but Debian's package names the CPU that it was installed for.
file(GLOB xsimd_DIR /usr/lib/*/cmake/xsimd)
# GoogleTest is built from Debian's sources.
if(EXISTS /usr/src/googletest)
  set(FETCHCONTENT_SOURCE_DIR_GTEST /usr/src/googletest)
endif()
# Found by the host's mpicxx, it would be the host's.
set(CMAKE_DISABLE_FIND_PACKAGE_MPI ON)
