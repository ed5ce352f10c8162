# Debian packages: `cpack -G DEB` in the build folder, best configured with
# -DCMAKE_INSTALL_PREFIX=/usr. One package for each component of RrpcpInstall.cmake.

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME rrpcp)
set(CPACK_PACKAGE_VENDOR "rrpcp")
set(CPACK_PACKAGE_CONTACT "The rrpcp developers <rrpcp@rrpcp.org>")
set(CPACK_PACKAGE_HOMEPAGE_URL "https://rrpcp.org")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_COMPONENTS_ALL library development tools python)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
# dpkg-gensymbols is not used: the loader checks the version nodes of the library.
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/compress-manuals.cmake)
file(WRITE ${PROJECT_BINARY_DIR}/packages/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA ${PROJECT_BINARY_DIR}/packages/triggers)

set(package_version ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})
set(library_package librrpcp${RRPCP_SOVERSION})
set(depends_on_library "${library_package} (= ${package_version})")

# rrpcp_package(COMPONENT NAME SECTION SUMMARY TEXT): one of them.
function(rrpcp_package component name section summary text)
  string(TOUPPER ${component} upper)
  set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${name} PARENT_SCOPE)
  set(CPACK_DEBIAN_${upper}_PACKAGE_SECTION ${section} PARENT_SCOPE)
  set(CPACK_COMPONENT_${upper}_DESCRIPTION "${summary}\n${text}" PARENT_SCOPE)
  # What Debian wants of every package, and a plain installation has elsewhere.
  set(folder ${PROJECT_BINARY_DIR}/packages/${name})
  file(WRITE ${folder}/changelog.Debian
    "rrpcp (${package_version}) unstable; urgency=medium\n\n"
    "  * Release ${PROJECT_VERSION}; changelog.gz says what is new.\n\n"
    " -- ${CPACK_PACKAGE_CONTACT}  Mon, 30 Nov 2026 08:00:00 +0000\n")
  file(READ ${PROJECT_SOURCE_DIR}/LICENSE license)
  string(REGEX REPLACE "\n\n" "\n.\n" license "${license}")
  string(REGEX REPLACE "\n$" "" license "${license}")
  string(REGEX REPLACE "\n" "\n " license " ${license}")
  file(WRITE ${folder}/copyright
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
    "Upstream-Name: rrpcp\n\nFiles: *\nCopyright: The rrpcp developers\nLicense: Expat\n${license}\n")
  execute_process(COMMAND gzip -9nc ${folder}/changelog.Debian
    OUTPUT_FILE ${folder}/changelog.Debian.gz COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND gzip -9nc ${PROJECT_SOURCE_DIR}/CHANGELOG.md
    OUTPUT_FILE ${folder}/changelog.gz COMMAND_ERROR_IS_FATAL ANY)
  install(FILES ${folder}/changelog.Debian.gz ${folder}/changelog.gz ${folder}/copyright
    DESTINATION share/doc/${name} COMPONENT ${component} EXCLUDE_FROM_ALL)
endfunction()

rrpcp_package(library ${library_package} libs
  "persistent checkpoints of replays and processes - library"
  "A stable format for the whole state of a replay or of a live process on disk, and the
library that reads, writes and validates it, with an interface for C.")
rrpcp_package(development librrpcp-dev libdevel
  "persistent checkpoints of replays and processes - development"
  "Headers for C and C++, schemas, and the specification of the format.")
rrpcp_package(tools rrpcp-tools utils
  "persistent checkpoints of replays and processes - commands"
  "Capture, restore, inspect, validate, upgrade and convert persistent checkpoints, and record
and replay programs with pcp-rr.")
rrpcp_package(python python3-rrpcp python
  "persistent checkpoints of replays and processes - Python module"
  "Reads, validates and writes persistent checkpoints from Python; memory as buffers.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
  "${depends_on_library}, libcapnp-dev (>= ${CapnProto_VERSION})")
set(CPACK_DEBIAN_PYTHON_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PYTHON_PACKAGE_DEPENDS "${library_package} (>= ${package_version}), python3:any")
set(CPACK_DEBIAN_PYTHON_PACKAGE_SUGGESTS "python3-numpy, python3-matplotlib")
set(CPACK_DEBIAN_PYTHON_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_TOOLS_PACKAGE_RECOMMENDS "gdb")
include(CPack)
