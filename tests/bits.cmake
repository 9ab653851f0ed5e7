# SPDX-License-Identifier: MIT
# Builds bits.cpp with one compiler and its flags; what it prints must be bits.txt, word for word, or
# with -DBITS_FEW among the flags its beginning.
#   cmake -DNAME=... -DCOMPILER=... -DFLAGS=... -DINCLUDES=... [-DEMULATOR=...] [-DMODE=...] -P bits.cmake
# MODE "write;<file>" also writes the outputs, "compare;<file>" measures them against such a file.
cmake_minimum_required(VERSION 3.22)
set(folder ${CMAKE_CURRENT_BINARY_DIR}/bits/${NAME})

# Links to the headers and not their folders: a compiler for another machine must not see /usr/include.
file(MAKE_DIRECTORY ${folder}/include)
foreach(include IN LISTS INCLUDES)
  foreach(headers rownorm Eigen xsimd)
    if(EXISTS ${include}/${headers})
      file(CREATE_LINK ${include}/${headers} ${folder}/include/${headers} SYMBOLIC)
    endif()
  endforeach()
endforeach()

# What this CPU cannot run need not be compiled.
if(FLAGS MATCHES "x86-64-v4" AND EXISTS /proc/cpuinfo)
  file(STRINGS /proc/cpuinfo avx512 REGEX "^flags.* avx512vl" LIMIT_COUNT 1)
  if(NOT avx512)
    message("not run: this CPU has no AVX-512")
    return()
  endif()
endif()

execute_process(COMMAND ${COMPILER} -std=c++17 ${FLAGS} -isystem ${folder}/include
                        ${CMAKE_CURRENT_LIST_DIR}/bits.cpp -o ${folder}/bits
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${EMULATOR} ${folder}/bits ${MODE}
                OUTPUT_VARIABLE printed RESULT_VARIABLE result)
if(result EQUAL 77)
  message("not run: this CPU has no AVX-512")
  return()
endif()
message("${printed}")
if(NOT result EQUAL 0)
  message(FATAL_ERROR "bits ${MODE}: ${result}")
endif()
if(NOT MODE MATCHES "^compare")
  file(READ ${CMAKE_CURRENT_LIST_DIR}/bits.txt expected)
  string(FIND "${expected}" "${printed}" place)
  if(printed STREQUAL "" OR NOT place EQUAL 0 OR
     (NOT printed STREQUAL expected AND NOT FLAGS MATCHES "-DBITS_FEW"))
    message(FATAL_ERROR "these are not the bits of bits.txt:\n${expected}")
  endif()
endif()
