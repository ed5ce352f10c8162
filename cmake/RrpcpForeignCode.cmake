# rrpcp_add_foreign_code(NAME SOURCE): code of the library that is copied into other processes and runs
# there. It is compiled on its own, because no compiler may add anything to it that refers to the
# world outside of its section.
function(rrpcp_add_foreign_code name source)
  add_library(${name} OBJECT ${source})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/reference/src)
  target_compile_options(${name} PRIVATE
    ${RRPCP_WARNINGS} -std=c++20 -O2 -g0 -ffreestanding -fno-builtin -fno-exceptions -fno-rtti
    -fno-asynchronous-unwind-tables -fno-stack-protector -fno-jump-tables -fno-tree-vectorize
    -fvisibility=hidden -fPIC -fcf-protection=none -mgeneral-regs-only -mno-red-zone
    -fno-sanitize=all
    $<$<CXX_COMPILER_ID:GNU>:-fno-tree-loop-distribute-patterns>)
  target_sources(rrpcp PRIVATE $<TARGET_OBJECTS:${name}>)
endfunction()
