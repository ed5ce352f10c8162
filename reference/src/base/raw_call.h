// System calls that leave errno alone.
#pragma once

#include <cstdint>

namespace rrpcp {

// For a process that runs in the memory of another one, whose errno is the same word. Returns what
// the kernel does: a number from -4095 to -1 is an error. (x86-64.)
inline long raw_call(long number, std::uintptr_t first = 0, std::uintptr_t second = 0,
                     std::uintptr_t third = 0, std::uintptr_t fourth = 0,
                     std::uintptr_t fifth = 0) {
  register std::uintptr_t r10 asm("r10") = fourth;
  register std::uintptr_t r8 asm("r8") = fifth;
  long result;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(first), "S"(second), "d"(third), "r"(r10), "r"(r8)
               : "rcx", "r11", "memory");
  return result;
}

inline std::uintptr_t raw_pointer(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

} // namespace rrpcp
