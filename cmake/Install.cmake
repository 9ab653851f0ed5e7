# SPDX-License-Identifier: MIT
# Installing: the headers, and what find_package(rownorm) and pkg-config find. All of it may be moved.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rownorm)
install(DIRECTORY include/rownorm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS rownorm EXPORT rownormTargets)
install(EXPORT rownormTargets NAMESPACE rownorm:: DESTINATION ${package_dir})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/librownorm-dev RENAME copyright)  # where Debian looks
set(libraries "")
# A component is a file of its own, so that a package without its dependency can be found all the same.
foreach(component IN ITEMS parallel mpi dispatch)
  # dispatch in a larger project is built only where it is linked.
  if(TARGET rownorm_${component} AND (PROJECT_IS_TOP_LEVEL OR NOT component STREQUAL "dispatch"))
    install(TARGETS rownorm_${component} EXPORT rownorm_${component})
    install(EXPORT rownorm_${component} NAMESPACE rownorm:: DESTINATION ${package_dir})
    if(component STREQUAL "dispatch")
      set(libraries "-L\${libdir} -lrownorm_dispatch")  # static: nothing of it comes where nothing is called
    endif()
  endif()
endforeach()
configure_package_config_file(cmake/rownormConfig.cmake.in rownormConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(rownormConfigVersion.cmake COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rownormConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/rownormConfigVersion.cmake DESTINATION ${package_dir})

file(RELATIVE_PATH to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH to_includes ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
file(RELATIVE_PATH to_libraries ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
configure_file(cmake/rownorm.pc.in rownorm.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rownorm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
