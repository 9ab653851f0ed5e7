# SPDX-License-Identifier: MIT
# What rownorm stands on: found on the machine, or fetched at a pinned version.
include(FetchContent)
include(GNUInstallDirs)

# rownorm_dependency(<package> <target> <git repository> <git tag> [find_package arguments...])
macro(rownorm_dependency package target repository tag)
  find_package(${package} ${ARGN} QUIET)
  if(NOT TARGET ${target})
    message(STATUS "rownorm: ${package} was not found, fetching ${tag}")
    FetchContent_Declare(${package} GIT_REPOSITORY ${repository} GIT_TAG ${tag} GIT_SHALLOW TRUE)
    FetchContent_MakeAvailable(${package})
    set(ROWNORM_FETCHED TRUE)
  endif()
endmacro()

# Of what is optional: rownorm_left_out(<what was not found> <Debian's packages> <what is missing for it>)
function(rownorm_left_out what packages part)
  message(STATUS "rownorm: ${what} (Debian: ${packages}) was not found, left out: ${part}")
endfunction()

set(BUILD_TESTING OFF)           # of what is fetched
set(EIGEN_BUILD_DOC OFF)
set(BENCHMARK_ENABLE_TESTING OFF)
set(BENCHMARK_ENABLE_GTEST_TESTS OFF)
set(BENCHMARK_ENABLE_INSTALL OFF)
set(INSTALL_GTEST OFF)

rownorm_dependency(Eigen3 Eigen3::Eigen https://gitlab.com/libeigen/eigen.git 3.4.0 NO_MODULE)
# Without a version: xsimd's package accepts its own major version only.
rownorm_dependency(xsimd xsimd https://github.com/xtensor-stack/xsimd.git 8.1.0)
if(ROWNORM_INSTALL AND ROWNORM_FETCHED)
  # A package must name its dependencies, and the fetched ones are nobody's package.
  message(STATUS "rownorm: Eigen or xsimd was fetched, left out: the install rules")
  set(ROWNORM_INSTALL OFF)
endif()
# For what is left out without them.
find_package(TBB QUIET)
set(MPI_CXX_SKIP_MPICXX ON)  # the bindings that MPI 3 took out
set(CMAKE_MESSAGE_LOG_LEVEL WARNING)  # FindMPI tells that pkg-config has no mpi-cxx even where it is to be quiet
find_package(MPI COMPONENTS CXX QUIET)
unset(CMAKE_MESSAGE_LOG_LEVEL)
if(ROWNORM_BUILD_TESTS OR PROJECT_IS_TOP_LEVEL)
  find_package(Python3 COMPONENTS Interpreter QUIET)
endif()
if(ROWNORM_BUILD_TESTS)
  rownorm_dependency(GTest GTest::gtest_main https://github.com/google/googletest.git release-1.12.1)
  rownorm_dependency(nlohmann_json nlohmann_json::nlohmann_json https://github.com/nlohmann/json.git v3.11.2)
endif()
if(ROWNORM_BUILD_EXAMPLES OR ROWNORM_BUILD_BENCH)
  rownorm_dependency(CLI11 CLI11::CLI11 https://github.com/CLIUtils/CLI11.git v2.3.2)
endif()
if(ROWNORM_BUILD_BENCH)
  rownorm_dependency(benchmark benchmark::benchmark https://github.com/google/benchmark.git v1.7.1)
endif()
