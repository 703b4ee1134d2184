# SPDX-License-Identifier: BSD-2-Clause
# Programs on the hosted port that are no tests: the benchmarks and the examples.

file(GLOB bench_sources CONFIGURE_DEPENDS ${aspace_root}/bench/*.c)
if(bench_sources)
  add_executable(aspace-bench ${bench_sources})
  aspace_flags(aspace-bench)
  target_link_libraries(aspace-bench PRIVATE aspace aspace-linux)
  set_target_properties(aspace-bench PROPERTIES OUTPUT_NAME bench
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/bench)
endif()

# Threads, tasks and vCPU loops that wait for pages.
file(GLOB examples CONFIGURE_DEPENDS ${aspace_root}/examples/async/*.c)
add_custom_target(examples-async)
foreach(file ${examples})
  get_filename_component(name ${file} NAME_WE)
  add_executable(example-${name} ${file})
  aspace_flags(example-${name})
  target_link_libraries(example-${name} PRIVATE aspace aspace-linux)
  set_target_properties(example-${name} PROPERTIES OUTPUT_NAME ${name}
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/examples/async)
  add_dependencies(examples-async example-${name})
endforeach()

file(GLOB examples CONFIGURE_DEPENDS ${aspace_root}/examples/*.c)
foreach(example ${examples})
  get_filename_component(name ${example} NAME_WE)
  add_executable(${name} ${example})
  aspace_flags(${name})
  target_link_libraries(${name} PRIVATE aspace aspace-linux)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/examples)
endforeach()
