# SPDX-License-Identifier: MIT
# The one-definition rule in the objects of rownorm::dispatch: of a weak symbol the linker keeps one of
# many, which may be another ISA's, so each must bear the name of the ISA that its object is built for.
# -DNM=... -DOBJECTS=...;..., each object named after its ISA (dispatch.cpp is built for
# -DLEAST_ISA=...).
foreach(object IN LISTS OBJECTS)
  get_filename_component(isa ${object} NAME_WE)
  if(isa STREQUAL "dispatch")
    set(isa ${LEAST_ISA})
  endif()
  execute_process(COMMAND ${NM} -C --defined-only ${object} OUTPUT_VARIABLE lines COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE ";" "," lines "${lines}")
  string(REPLACE "[" "(" lines "${lines}")
  string(REPLACE "]" ")" lines "${lines}")
  string(REPLACE "\n" ";" lines "${lines}")
  set(count 0)
  foreach(line IN LISTS lines)
    # W, V: weak; u: one for the process. DW.ref. is g++'s own pointer to the C++ runtime: no code.
    if(NOT line MATCHES "^[0-9a-f]* *[WVu] (.*)$")
      continue()
    endif()
    set(symbol "${CMAKE_MATCH_1}")
    if(symbol MATCHES "^DW\\.ref\\.")
      continue()
    endif()
    math(EXPR count "${count} + 1")
    if(NOT symbol MATCHES "rownorm::${isa}::")
      message(SEND_ERROR "${object}: a weak symbol that does not bear rownorm::${isa}: ${symbol}")
    endif()
  endforeach()
  message("${object}: ${count} weak symbols")
endforeach()
