# Warnings and sanitizers, the same for every target of the project.

set(RRPCP_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  -Wcast-align -Wnull-dereference -Werror)

if(RRPCP_SANITIZE)
  # The instrumented code makes the compiler see paths that do not exist.
  list(APPEND RRPCP_WARNINGS -Wno-null-dereference $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()

function(rrpcp_target_defaults target)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${RRPCP_WARNINGS}>)
  if(RRPCP_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${RRPCP_SANITIZE} -fno-omit-frame-pointer
      -fno-sanitize-recover=all)
    target_link_options(${target} PRIVATE -fsanitize=${RRPCP_SANITIZE})
  endif()
endfunction()
