# SPDX-License-Identifier: MIT
# cpack -G DEB: librownorm-dev, of what --install installs. It is of this machine's architecture, since
# rownorm::dispatch's objects are in it.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME librownorm-dev)
set(CPACK_PACKAGE_CONTACT "The rownorm authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGE_DESCRIPTION "The headers, the CMake package rownorm with the targets rownorm::rownorm, \
rownorm::dispatch (a static library), rownorm::parallel (oneTBB) and rownorm::mpi, and rownorm.pc.")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libeigen3-dev (>= 3.4), libxsimd-dev (>= 8.1)")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS libtbb-dev)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS libopenmpi-dev)
if(NOT TARGET rownorm_dispatch)
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
endif()
include(CPack)
