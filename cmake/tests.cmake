# SPDX-License-Identifier: BSD-2-Clause
# The test programs: in tests/<kind>/, each file with a main is a program named <kind>-<file>. All other files of tests/
# are support that any of them may use. tests/freestanding and tests/oracle have scripts of their own.

file(GLOB_RECURSE files CONFIGURE_DEPENDS ${aspace_root}/tests/*.c)
list(FILTER files EXCLUDE REGEX "/tests/(freestanding|oracle|conflicts|race/explore)/")
if(NOT TARGET aspace-linux-urcu)
  list(FILTER files EXCLUDE REGEX "/tests/race/urcu.c$")
endif()
set(mains "")
set(support "")
foreach(file ${files})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(STRINGS ${file} main REGEX "^(int )?main\\(" LIMIT_COUNT 1)
  if(main)
    list(APPEND mains ${file})
  else()
    list(APPEND support ${file})
  endif()
endforeach()

# What the programs and their support are compiled with.
function(aspace_test_target target)
  aspace_flags(${target})
  target_include_directories(${target} PRIVATE ${aspace_root}/tests ${aspace_root}/src)
endfunction()

if(support)
  add_library(aspace-test-support STATIC ${support})
  aspace_test_target(aspace-test-support)
  target_link_libraries(aspace-test-support PUBLIC aspace aspace-linux)
endif()
add_custom_target(tests)
add_custom_target(tests-unthreaded)
foreach(file ${mains})
  get_filename_component(name ${file} NAME_WE)
  get_filename_component(kind ${file} DIRECTORY)
  get_filename_component(kind ${kind} NAME)
  set(target ${kind}-${name})
  add_executable(${target} ${file})
  aspace_test_target(${target})
  target_link_libraries(${target} PRIVATE $<TARGET_NAME_IF_EXISTS:aspace-test-support> aspace aspace-linux)
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name}
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/tests/${kind})
  add_dependencies(tests ${target})
  if(NOT kind STREQUAL race)
    add_dependencies(tests-unthreaded ${target})
  endif()
  add_test(NAME ${target} COMMAND ${target})
endforeach()

if(TARGET race-urcu)
  target_link_libraries(race-urcu PRIVATE aspace-linux-urcu)
endif()

# The library with a point at each access to shared memory, for the schedules: as objects, so that nothing is taken from
# the other one.
if(TARGET race-schedule)
  add_library(aspace-hooked OBJECT ${aspace_sources})
  aspace_core_flags(aspace-hooked)
  target_include_directories(aspace-hooked PRIVATE ${aspace_root}/include ${aspace_root}/port/linux ${aspace_root}/src
    ${aspace_root}/tests)
  target_compile_definitions(aspace-hooked PRIVATE "ASPACE_PORT_HEADER=${aspace_port_header}"
    "ASPACE_SEAM_HEADER=\"race/seam_hook.h\"")
  target_sources(race-schedule PRIVATE $<TARGET_OBJECTS:aspace-hooked>)
  target_sources(race-tickets PRIVATE $<TARGET_OBJECTS:aspace-hooked>)
  target_sources(race-pairs PRIVATE $<TARGET_OBJECTS:aspace-hooked>)
endif()
