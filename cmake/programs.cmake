# SPDX-License-Identifier: BSD-2-Clause
# Programs on the hosted port that are no tests: the benchmarks and the example of the README.

file(GLOB bench_sources CONFIGURE_DEPENDS ${aspace_root}/bench/*.c)
if(bench_sources)
  add_executable(aspace-bench ${bench_sources})
  aspace_flags(aspace-bench)
  target_link_libraries(aspace-bench PRIVATE aspace aspace-linux)
  set_target_properties(aspace-bench PROPERTIES OUTPUT_NAME bench
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/bench)
endif()

if(EXISTS ${aspace_root}/examples/quickstart.c)
  add_executable(quickstart ${aspace_root}/examples/quickstart.c)
  aspace_flags(quickstart)
  target_link_libraries(quickstart PRIVATE aspace aspace-linux)
  set_target_properties(quickstart PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/examples)
endif()
