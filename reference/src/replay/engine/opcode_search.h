// Finding opcodes of two bytes in code.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <emmintrin.h>
#include <span>

namespace rrpcp::replay {

// Calls `found` with each place of `code` from `from` on and before `to`, in order, where a byte 0F
// is followed by one of `seconds`. (What jumps far and moves with extension begins with 0F too:
// looking at each of those is what costs.)
template <std::size_t N, typename Found>
void find_opcodes(std::span<const std::byte> code, std::size_t from, std::size_t to,
                  const std::uint8_t (&seconds)[N], const Found& found) {
  code = code.first(std::min(code.size(), to < code.size() ? to + 1 : to));
  std::size_t at = from;
  const __m128i escape = _mm_set1_epi8(0x0f);
  __m128i wanted[N];
  for (std::size_t i = 0; i < N; ++i) {
    wanted[i] = _mm_set1_epi8(static_cast<char>(seconds[i]));
  }
  constexpr std::size_t kBlock = sizeof(__m128i);
  for (; at + kBlock < code.size(); at += kBlock) {
    const auto* place = reinterpret_cast<const __m128i*>(code.data() + at);
    const __m128i escapes = _mm_cmpeq_epi8(_mm_loadu_si128(place), escape);
    if (_mm_movemask_epi8(escapes) == 0) {
      continue;
    }
    const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(code.data() + at + 1));
    __m128i any = _mm_cmpeq_epi8(next, wanted[0]);
    for (std::size_t i = 1; i < N; ++i) {
      any = _mm_or_si128(any, _mm_cmpeq_epi8(next, wanted[i]));
    }
    auto hits = static_cast<unsigned>(_mm_movemask_epi8(_mm_and_si128(escapes, any)));
    for (; hits != 0; hits &= hits - 1) {
      found(at + static_cast<std::size_t>(__builtin_ctz(hits)));
    }
  }
  for (; at + 1 < code.size(); ++at) {
    if (code[at] != std::byte{0x0f}) {
      continue;
    }
    for (const std::uint8_t second : seconds) {
      if (code[at + 1] == std::byte{second}) {
        found(at);
      }
    }
  }
}

} // namespace rrpcp::replay
