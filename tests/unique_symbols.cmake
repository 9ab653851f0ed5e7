# SPDX-License-Identifier: MIT
# No symbol of ours is unique in the process, as inline variables are whose address is taken: the
# loader never unloads a library with such a one.
#   cmake -DNM=... -DPLUGIN=... -P unique_symbols.cmake
cmake_minimum_required(VERSION 3.22)
execute_process(COMMAND ${NM} -D --defined-only -C ${PLUGIN} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
if(NOT symbols MATCHES "every_norm")
  message(FATAL_ERROR "this is not the plugin:\n${symbols}")
endif()
string(REGEX MATCHALL "[^\n]* u [^\n]*rownorm::[^\n]*" unique "${symbols}")
if(unique)
  list(JOIN unique "\n" unique)
  message(FATAL_ERROR "unique symbols, which keep a plugin from being unloaded:\n${unique}")
endif()
