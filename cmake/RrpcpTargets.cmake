# Warnings and sanitizers, the same for every target of the project.

set(RRPCP_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  -Wcast-align -Wnull-dereference)
# Warnings are errors for those who work on the project. Compilers see paths that do not exist as soon
# as they optimise in another way, and a package must build all the same.
if(RRPCP_BUILD_TESTS OR RRPCP_BUILD_FUZZ)
  list(APPEND RRPCP_WARNINGS -Werror)
endif()

if(RRPCP_SANITIZE)
  # The instrumented code makes the compiler see paths that do not exist.
  list(APPEND RRPCP_WARNINGS -Wno-null-dereference $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()

# Most of the time to compile a file goes into headers that nearly all files include: those of the
# standard library and of Cap'n Proto. They are read once, for all targets with the same options.
# Every file still includes what it uses: clang's builds (fuzz) have none of this. Headers that a build
# makes are not among them: a compiler cache hands out what it has precompiled in another build, and
# the compiler would not know them for the same.
option(RRPCP_PRECOMPILE "Precompile headers (g++ only)" ON)
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(RRPCP_PRECOMPILE OFF)
endif()
# One set for libraries and programs: the code of both is independent of its place in the same way.
set(CMAKE_CXX_COMPILE_OPTIONS_PIE ${CMAKE_CXX_COMPILE_OPTIONS_PIC})

# rrpcp_precompile(NAME [HEADERS…]): the target NAME with such headers. Targets that get their
# defaults (below) in this folder and those below it use them.
function(rrpcp_precompile name)
  if(NOT RRPCP_PRECOMPILE)
    return()
  endif()
  set(source ${PROJECT_BINARY_DIR}/${name}.cc)
  if(NOT EXISTS ${source})
    file(WRITE ${source} "// Holds precompiled headers.\n")
  endif()
  add_library(${name} STATIC ${source})
  set(RRPCP_PRECOMPILED "")
  rrpcp_target_defaults(${name})
  target_link_libraries(${name} PRIVATE CapnProto::capnp)
  target_precompile_headers(${name} PRIVATE
    <algorithm> <array> <cerrno> <chrono> <cstddef> <cstdint> <cstring> <deque> <filesystem>
    <functional> <map> <memory> <optional> <set> <span> <sstream> <string> <string_view> <utility>
    <variant> <vector> <capnp/message.h> <capnp/serialize.h>
    <capnp/generated-header-support.h>
    ${ARGN})
  set(RRPCP_PRECOMPILED ${name} PARENT_SCOPE)
endfunction()

# What is left is mostly the code that every file has the compiler make of the same templates. Files of
# a library, a command or a test program with many are therefore compiled some at a time, so that no
# two of them may give a name of their own to different things; who changes files again and again says
# OFF. Each file still stands on its own: clang's builds compile them one by one.
option(RRPCP_UNITY "Compile several files of a library or program at a time (g++ only)" ON)
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(RRPCP_UNITY OFF)
endif()

function(rrpcp_compile_together target)
  if(RRPCP_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 10)
    # The compiler takes the files for headers of the one that includes them, and sees bounds exceeded
    # where it inlines more (GCC bug 105329).
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage;-Wno-array-bounds;-Wno-stringop-overflow>)
  endif()
endfunction()

# In a folder that sets RRPCP_TEST_CODE, code is not checked for undefined behaviour: that doubles the
# time to compile it, and what is tested lies elsewhere.
function(rrpcp_target_defaults target)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${RRPCP_WARNINGS}>)
  if(RRPCP_PRECOMPILED)
    target_precompile_headers(${target} REUSE_FROM ${RRPCP_PRECOMPILED})
  endif()
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
