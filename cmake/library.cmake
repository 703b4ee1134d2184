# SPDX-License-Identifier: BSD-2-Clause
# The targets that others link: aspace (static), aspace-shared and aspace-linux.

set(aspace_root ${CMAKE_CURRENT_SOURCE_DIR})
file(GLOB_RECURSE aspace_sources CONFIGURE_DEPENDS ${aspace_root}/src/*.c)
file(GLOB aspace_linux_sources CONFIGURE_DEPENDS ${aspace_root}/port/linux/*.c)

set(aspace_port_header "${ASPACE_PORT_HEADER}")
if(ASPACE_PORT_LINUX)
  set(aspace_port_header "\"aspace_port.h\"")
endif()

# What both kinds of library have in common. The port header decides how the public headers lay things out, so those who
# use the library must see the same one; installed headers have it written into them.
function(aspace_library target)
  aspace_core_flags(${target})
  target_include_directories(${target}
    PUBLIC $<BUILD_INTERFACE:${aspace_root}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${aspace_root}/src)
  if(ASPACE_SEAM_HEADER)
    target_compile_definitions(${target} PRIVATE "ASPACE_SEAM_HEADER=${ASPACE_SEAM_HEADER}")
    target_include_directories(${target} PRIVATE ${aspace_root}/tests)
  endif()
  if(aspace_port_header)
    target_compile_definitions(${target} PUBLIC "$<BUILD_INTERFACE:ASPACE_PORT_HEADER=${aspace_port_header}>")
  endif()
  if(ASPACE_PORT_LINUX)
    target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${aspace_root}/port/linux>
      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/aspace-linux>)
  endif()
endfunction()

add_library(aspace STATIC ${aspace_sources})
add_library(aspace::aspace ALIAS aspace)
aspace_library(aspace)
set(aspace_installed aspace)

if(ASPACE_PORT_LINUX)
  set(THREADS_PREFER_PTHREAD_FLAG ON)
  find_package(Threads REQUIRED)
  add_library(aspace-linux STATIC ${aspace_linux_sources})
  add_library(aspace::aspace-linux ALIAS aspace-linux)
  set_target_properties(aspace-linux PROPERTIES EXPORT_NAME aspace-linux)
  aspace_flags(aspace-linux)
  target_link_libraries(aspace-linux PUBLIC aspace Threads::Threads)
  # The engine reaches the port through its macros, the port the engine through its functions.
  target_link_libraries(aspace PUBLIC aspace-linux)
  list(APPEND aspace_installed aspace-linux)
endif()

# liburcu's read sections for hosts of this process: only where that library is, and only for who asks for the target.
find_path(ASPACE_URCU_INCLUDE urcu/urcu-memb.h)
find_library(ASPACE_URCU_MEMB urcu-memb)
find_library(ASPACE_URCU_COMMON urcu-common)
mark_as_advanced(ASPACE_URCU_INCLUDE ASPACE_URCU_MEMB ASPACE_URCU_COMMON)
if(ASPACE_PORT_LINUX AND ASPACE_URCU_INCLUDE AND ASPACE_URCU_MEMB AND ASPACE_URCU_COMMON)
  add_library(aspace-linux-urcu STATIC EXCLUDE_FROM_ALL ${aspace_root}/port/linux/urcu/linux_urcu.c)
  add_library(aspace::aspace-linux-urcu ALIAS aspace-linux-urcu)
  aspace_flags(aspace-linux-urcu)
  target_include_directories(aspace-linux-urcu SYSTEM PRIVATE ${ASPACE_URCU_INCLUDE})
  target_link_libraries(aspace-linux-urcu PUBLIC aspace-linux ${ASPACE_URCU_MEMB} ${ASPACE_URCU_COMMON})
endif()

# A shared library has to be complete, so it brings its port along.
if(ASPACE_SHARED)
  add_library(aspace-shared SHARED ${aspace_sources})
  add_library(aspace::aspace-shared ALIAS aspace-shared)
  aspace_library(aspace-shared)
  set(map ${aspace_root}/cmake/exports.map)
  if(ASPACE_PORT_LINUX)
    set(map ${aspace_root}/cmake/exports-linux.map)
    add_library(aspace-linux-objects OBJECT ${aspace_linux_sources})
    aspace_flags(aspace-linux-objects)
    set_target_properties(aspace-linux-objects PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_include_directories(aspace-linux-objects PRIVATE ${aspace_root}/include ${aspace_root}/port/linux)
    target_compile_definitions(aspace-linux-objects PRIVATE "ASPACE_PORT_HEADER=${aspace_port_header}")
    target_sources(aspace-shared PRIVATE $<TARGET_OBJECTS:aspace-linux-objects>)
    target_link_libraries(aspace-shared PUBLIC Threads::Threads)
  endif()
  set_target_properties(aspace-shared PROPERTIES OUTPUT_NAME aspace VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR} LINK_DEPENDS ${map})
  target_link_options(aspace-shared PRIVATE -Wl,--version-script=${map})
  if(NOT ASPACE_SANITIZE)
    target_link_options(aspace-shared PRIVATE -Wl,-z,defs)
  endif()
  list(APPEND aspace_installed aspace-shared)
endif()
