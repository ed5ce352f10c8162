# Half of the time of a short command would go into loading and relocating shared libraries: the commands
# have Cap'n Proto and the C++ runtime in themselves where there are archives of them. (The library that
# is installed shares them with its users.)
#
# CapnProto_archived, in the place of CapnProto::capnp: the archives for targets that
# rrpcp_link_archives() has named, the shared library for all others.
option(RRPCP_ARCHIVES "Link commands with archives of Cap'n Proto and of the C++ runtime" ON)

set(RRPCP_HAS_ARCHIVES OFF)
set(CapnProto_archived CapnProto::capnp)
if(RRPCP_ARCHIVES AND NOT RRPCP_SANITIZE)
  find_library(RRPCP_CAPNP_ARCHIVE NAMES libcapnp.a)
  find_library(RRPCP_KJ_ARCHIVE NAMES libkj.a)
  if(RRPCP_CAPNP_ARCHIVE AND RRPCP_KJ_ARCHIVE)
    include(CheckCXXSourceCompiles)
    set(CMAKE_REQUIRED_LIBRARIES ${RRPCP_CAPNP_ARCHIVE} ${RRPCP_KJ_ARCHIVE})
    set(CMAKE_REQUIRED_LINK_OPTIONS -static-libstdc++ -static-libgcc)
    set(CMAKE_REQUIRED_FLAGS "-std=c++20 ${CMAKE_CXX_COMPILE_OPTIONS_PIC}")
    check_cxx_source_compiles("
      #include <capnp/message.h>
      int main() { return capnp::MallocMessageBuilder().getSegmentsForOutput().size() > 1; }"
      RRPCP_ARCHIVES_LINK)
    unset(CMAKE_REQUIRED_LIBRARIES)
    unset(CMAKE_REQUIRED_LINK_OPTIONS)
    unset(CMAKE_REQUIRED_FLAGS)
  endif()
  if(RRPCP_ARCHIVES_LINK)
    set(RRPCP_HAS_ARCHIVES ON)
    set(own $<BOOL:$<TARGET_PROPERTY:RRPCP_OWN_ARCHIVES>>)
    set(CapnProto_archived $<IF:${own},${RRPCP_CAPNP_ARCHIVE}$<SEMICOLON>${RRPCP_KJ_ARCHIVE},CapnProto::capnp>)
  endif()
endif()

function(rrpcp_link_archives target)
  if(RRPCP_HAS_ARCHIVES)
    set_target_properties(${target} PROPERTIES RRPCP_OWN_ARCHIVES ON)
    target_link_options(${target} PRIVATE -static-libstdc++ -static-libgcc)
  endif()
endfunction()
