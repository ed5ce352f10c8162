# What `cmake --install` puts in place: the shared library with its headers and schemas, a CMake
# package, pkg-config files and the documents. Commands, man pages and completions are installed by
# rrpcp_add_tool (tools/CMakeLists.txt).

include(CMakePackageConfigHelpers)

# What a package of the runtime library has, what one for developers, and what one for the shell.
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME development)
install(TARGETS rrpcp_shared EXPORT rrpcpTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library
  NAMELINK_COMPONENT development)
# Of what is not built nothing is declared.
set(other_headers)
if(NOT RRPCP_COMPAT)
  list(APPEND other_headers PATTERN "compat" EXCLUDE)
endif()
if(NOT RRPCP_LIVE)
  list(APPEND other_headers PATTERN "process" EXCLUDE PATTERN "replay" EXCLUDE)
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/reference/include/rrpcp
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h" ${other_headers})
install(FILES ${RRPCP_SCHEMA_HEADERS} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/rrpcp/schema)
# The schemas beside the headers made from them, as Cap'n Proto does with its own.
file(GLOB schemas CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/schema/*.capnp)
install(FILES ${schemas} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/rrpcp/schema)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rrpcp)
install(EXPORT rrpcpTargets NAMESPACE rrpcp:: DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/rrpcpConfig.cmake.in
  ${PROJECT_BINARY_DIR}/rrpcpConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/rrpcpConfigVersion.cmake
  COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/rrpcpConfig.cmake ${PROJECT_BINARY_DIR}/rrpcpConfigVersion.cmake
  DESTINATION ${package_dir})

cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_LIBDIR BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX}
  OUTPUT_VARIABLE RRPCP_PC_LIBDIR)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX}
  OUTPUT_VARIABLE RRPCP_PC_INCLUDEDIR)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX
  BASE_DIRECTORY ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig OUTPUT_VARIABLE RRPCP_PC_PREFIX)
# rrpcp.pc for the C++ surface; rrpcp-c.pc for rrpcp.h, whose users need nothing else.
foreach(name rrpcp rrpcp-c)
  set(RRPCP_PC_NAME ${name})
  set(RRPCP_PC_REQUIRES "")
  if(name STREQUAL "rrpcp")
    set(RRPCP_PC_REQUIRES "capnp")
  endif()
  configure_file(${CMAKE_CURRENT_LIST_DIR}/rrpcp.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

foreach(document README.md CHANGELOG.md LICENSE)
  if(EXISTS ${PROJECT_SOURCE_DIR}/${document})
    install(FILES ${PROJECT_SOURCE_DIR}/${document} DESTINATION ${CMAKE_INSTALL_DOCDIR})
  endif()
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/spec DESTINATION ${CMAKE_INSTALL_DOCDIR}
  FILES_MATCHING PATTERN "*.md")
