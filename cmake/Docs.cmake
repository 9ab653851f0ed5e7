# SPDX-License-Identifier: MIT
# The target docs: the site of the public headers and the pages, <build>/docs/html, which needs no network.
find_package(Doxygen QUIET)
find_path(ROWNORM_MATHJAX_DIR MathJax.js PATH_SUFFIXES share/javascript/mathjax)  # Debian: libjs-mathjax
if(NOT DOXYGEN_FOUND OR NOT Python3_FOUND OR NOT ROWNORM_MATHJAX_DIR)
  rownorm_left_out("Doxygen, Python or MathJax" "doxygen, python3, libjs-mathjax" "the target docs")
  return()
endif()

set(docs_dir ${CMAKE_CURRENT_BINARY_DIR}/docs)
configure_file(${CMAKE_CURRENT_LIST_DIR}/Doxyfile.in ${docs_dir}/Doxyfile @ONLY)
add_custom_target(docs
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${docs_dir}/html
  COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/pages.py ${PROJECT_SOURCE_DIR} ${docs_dir}
          ${ROWNORM_MATHJAX_DIR}
  COMMAND ${DOXYGEN_EXECUTABLE} ${docs_dir}/Doxyfile
  COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/test_site.py ${docs_dir}/html
  VERBATIM)
