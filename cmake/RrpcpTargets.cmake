# Warnings and sanitizers, the same for every target of the project.

set(RRPCP_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  -Wcast-align -Wnull-dereference -Werror)

if(RRPCP_SANITIZE)
  # The instrumented code makes the compiler see paths that do not exist.
  list(APPEND RRPCP_WARNINGS -Wno-null-dereference $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()

# In a folder that sets RRPCP_TEST_CODE, code is not checked for undefined behaviour: that doubles the
# time to compile it, and what is tested lies elsewhere.
function(rrpcp_target_defaults target)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${RRPCP_WARNINGS}>)
  if(RRPCP_SANITIZE)
    set(sanitize ${RRPCP_SANITIZE})
    if(RRPCP_TEST_CODE)
      string(REPLACE ",undefined" "" sanitize ${sanitize})
    endif()
    target_compile_options(${target} PRIVATE -fsanitize=${sanitize} -fno-omit-frame-pointer
      -fno-sanitize-recover=all)
    if(RRPCP_BUILD_FUZZ)
      # The fuzzer sees which branches of the code are taken.
      target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
    endif()
    target_link_options(${target} PRIVATE -fsanitize=${RRPCP_SANITIZE})
  endif()
endfunction()
