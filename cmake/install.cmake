# SPDX-License-Identifier: BSD-2-Clause
# What `cmake --install` puts where: headers, libraries, a CMake package and pkg-config files.

include(CMakePackageConfigHelpers)

file(GLOB headers CONFIGURE_DEPENDS ${aspace_root}/include/aspace/*.h)
list(REMOVE_ITEM headers ${aspace_root}/include/aspace/port.h)
install(FILES ${headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/aspace)

# An installed library was compiled with one port header. The installed port.h names it, so that nobody can use another.
file(READ ${aspace_root}/include/aspace/port.h text)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${aspace_root}/include/aspace/port.h)
set(port_installed "${ASPACE_PORT_HEADER}")
if(ASPACE_PORT_LINUX)
  set(port_installed "\"aspace-linux/aspace_port.h\"")
endif()
if(port_installed)
  string(REPLACE "#ifdef ASPACE_PORT_HEADER\n"
    "#define ASPACE_PORT_HEADER ${port_installed}\n\n#ifdef ASPACE_PORT_HEADER\n" text "${text}")
endif()
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/installed/port.h CONTENT "@text@" @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/installed/port.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/aspace)

if(ASPACE_PORT_LINUX)
  file(GLOB headers CONFIGURE_DEPENDS ${aspace_root}/port/linux/*.h)
  install(FILES ${headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/aspace-linux)
endif()

install(TARGETS ${aspace_installed} EXPORT aspaceTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/aspace)
install(EXPORT aspaceTargets NAMESPACE aspace:: DESTINATION ${package})
configure_package_config_file(${aspace_root}/cmake/aspaceConfig.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/installed/aspaceConfig.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/installed/aspaceConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/installed/aspaceConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/installed/aspaceConfigVersion.cmake DESTINATION ${package})

set(pc_cflags "-I\${includedir}")
set(pc_private "")
if(ASPACE_PORT_LINUX)
  set(pc_cflags "-I\${includedir} -I\${includedir}/aspace-linux")
  set(pc_private "-laspace-linux -laspace -pthread")
endif()
configure_file(${aspace_root}/cmake/aspace.pc.in ${CMAKE_CURRENT_BINARY_DIR}/installed/aspace.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/installed/aspace.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
