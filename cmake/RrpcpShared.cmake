# The library as it is installed: one shared library with the C interface and the C++ surface
# (spec/abi.md), made of the objects of the static ones, which tests and commands of the build tree use.

# Major number of the C interface: raised when a program that was linked before could not run any more.
set(RRPCP_SOVERSION 0)

configure_file(${PROJECT_SOURCE_DIR}/reference/rrpcp.map.in ${PROJECT_BINARY_DIR}/rrpcp.map @ONLY)
set(parts rrpcp rrpcp_schema)
if(RRPCP_COMPAT)
  list(APPEND parts rrpcp_compat rrpcp_legacy_schema)
endif()
if(RRPCP_LIVE)
  list(APPEND parts rrpcp_restorer rrpcp_calls)
endif()
set(objects)
foreach(part ${parts})
  list(APPEND objects $<TARGET_OBJECTS:${part}>)
endforeach()
add_library(rrpcp_shared SHARED ${objects})
set_target_properties(rrpcp_shared PROPERTIES
  OUTPUT_NAME rrpcp
  EXPORT_NAME rrpcp
  VERSION ${RRPCP_SOVERSION}.${PROJECT_VERSION}
  SOVERSION ${RRPCP_SOVERSION}
  LINKER_LANGUAGE CXX
  LINK_DEPENDS ${PROJECT_BINARY_DIR}/rrpcp.map
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
target_include_directories(rrpcp_shared INTERFACE
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(rrpcp_shared INTERFACE cxx_std_20)
target_link_options(rrpcp_shared PRIVATE
  -Wl,--version-script=${PROJECT_BINARY_DIR}/rrpcp.map -Wl,-Bsymbolic-functions)
if(NOT RRPCP_SANITIZE)
  target_link_options(rrpcp_shared PRIVATE -Wl,-z,defs)
else()
  target_link_options(rrpcp_shared PRIVATE -fsanitize=${RRPCP_SANITIZE})
endif()
target_link_libraries(rrpcp_shared
  PUBLIC CapnProto::capnp
  PRIVATE Threads::Threads PkgConfig::ZSTD PkgConfig::XXHASH)
if(RRPCP_NETTLE)
  target_link_libraries(rrpcp_shared PRIVATE PkgConfig::NETTLE)
endif()
if(RRPCP_LIVE)
  target_link_libraries(rrpcp_shared PRIVATE Zydis::Zydis)
endif()
if(RRPCP_COMPAT)
  target_link_libraries(rrpcp_shared PRIVATE PkgConfig::BROTLIDEC)
endif()
