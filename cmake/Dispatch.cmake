# SPDX-License-Identifier: MIT
# rownorm::dispatch, a static library: the kernels once for each ISA, and what chooses among them.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  message(STATUS "rownorm: the target rownorm::dispatch is for g++ and clang, it is left out")
  return()
endif()

# The best first; each with its flags, after the user's own, of which it takes back the ISA.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(isas avx512 avx2 base)
  # Without MMX: g++ 12 copies doubles by its registers, which leaves a caller's long double broken.
  set(flags_base -march=x86-64 -mtune=generic -mno-sse3 -mno-mmx)
  set(flags_avx2 ${flags_base} -mavx2 -mfma -mf16c)
  set(flags_avx512 ${flags_avx2} -mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(isas neon)
else()
  set(isas base)
endif()

# -O2 in debug builds too, where it is most of what keeps a program usable; no sanitizers, which would
# leave weak symbols, and do look into the same kernels in the headers' own tests.
set(common_flags -O2 -fno-exceptions -fno-sanitize=all)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # What is asked at each pack (is y streamed, is there a beta) is asked once per row. The warnings are of
  # g++'s own AVX-512 headers (105593).
  list(APPEND common_flags -funswitch-loops -Wno-uninitialized -Wno-maybe-uninitialized)
endif()

set(sources "")
set(declarations "")
set(choices "")
set(kernels "")
foreach(isa IN LISTS isas)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/dispatch/${isa}.cpp)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/isa.cpp.in ${source} @ONLY)
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${common_flags};${flags_${isa}}")
  list(APPEND sources ${source})
  string(APPEND declarations "extern const kernels ${isa}_kernels;\n")
  string(APPEND choices "    {\"${isa}\", runs_${isa}},\n")
  list(APPEND kernels "&${isa}_kernels")
endforeach()
list(JOIN kernels ", " kernels)
set(source ${CMAKE_CURRENT_BINARY_DIR}/dispatch/dispatch.cpp)
set(ROWNORM_ISA_SOURCE ${source})  # for a program that names the choice and has no need of the kernels
configure_file(${CMAKE_CURRENT_LIST_DIR}/dispatch.cpp.in ${source} @ONLY)
set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-O2;-fno-sanitize=all;${flags_base}")

list(GET isas -1 ROWNORM_LEAST_ISA)  # what the chooser itself is built for

add_library(rownorm_dispatch STATIC ${sources} ${source})
if(NOT PROJECT_IS_TOP_LEVEL)
  set_target_properties(rownorm_dispatch PROPERTIES EXCLUDE_FROM_ALL ON)  # built where it is linked
endif()
add_library(rownorm::dispatch ALIAS rownorm_dispatch)
set_target_properties(rownorm_dispatch PROPERTIES EXPORT_NAME dispatch POSITION_INDEPENDENT_CODE ON
                                                  INTERPROCEDURAL_OPTIMIZATION OFF)
target_link_libraries(rownorm_dispatch PUBLIC rownorm)
