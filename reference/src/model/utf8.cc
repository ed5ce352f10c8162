#include "model/utf8.h"

#include <algorithm>
#include <cstring>

namespace rrpcp {

bool is_utf8(std::span<const unsigned char> text) {
  for (std::size_t i = 0; i < text.size();) {
    const unsigned char lead = text[i++];
    if (lead < 0x80) {
      continue;
    }
    std::size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || text.size() - i < more) {
      return false;
    }
    unsigned char low = 0x80, high = 0xbf;
    switch (lead) {
    case 0xe0:
      low = 0xa0;
      break;
    case 0xed:
      high = 0x9f;
      break;
    case 0xf0:
      low = 0x90;
      break;
    case 0xf4:
      high = 0x8f;
      break;
    default:
      break;
    }
    if (text[i] < low || text[i] > high) {
      return false;
    }
    for (std::size_t k = 1; k < more; ++k) {
      if (text[i + k] < 0x80 || text[i + k] > 0xbf) {
        return false;
      }
    }
    i += more;
  }
  return true;
}

} // namespace rrpcp
