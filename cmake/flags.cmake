# SPDX-License-Identifier: BSD-2-Clause
# Compiler flags, by what is compiled.

set(aspace_strict -Wall -Wextra -Wconversion -Wshadow)
if(ASPACE_WERROR)
  list(APPEND aspace_strict -Werror)
endif()
set(aspace_sanitize "")
if(ASPACE_SANITIZE)
  set(aspace_sanitize -fsanitize=${ASPACE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
endif()

# Everything of this project. gnu11 is for the hosted parts; the core sets -std=c11 behind it.
function(aspace_flags target)
  target_compile_options(${target} PRIVATE ${aspace_strict} ${aspace_sanitize})
  target_link_options(${target} PRIVATE ${aspace_sanitize})
  set_target_properties(${target} PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
endfunction()

# The engine. An indirect jump costs a hypervisor a retpoline, and the formats are specialised so that none is needed.
function(aspace_core_flags target)
  aspace_flags(${target})
  target_compile_options(${target} PRIVATE -ffreestanding -fno-jump-tables)
endfunction()
