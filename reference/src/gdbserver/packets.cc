#include "gdbserver/packets.h"

#include "gdbserver/words.h"

namespace rrpcp::gdbserver {

namespace {

unsigned checksum(std::string_view payload) {
  unsigned sum = 0;
  for (const char c : payload) {
    sum += static_cast<unsigned char>(c);
  }
  return sum & 0xff;
}

} // namespace

void PacketReader::feed(std::string_view bytes) {
  buffer_.erase(0, at_);
  searched_ = searched_ > at_ ? searched_ - at_ : 0;
  at_ = 0;
  buffer_ += bytes;
}

std::optional<Incoming> PacketReader::next() {
  while (at_ < buffer_.size()) {
    if (dropping_) {
      const std::size_t end = buffer_.find('#', at_);
      if (end == buffer_.npos) {
        at_ = buffer_.size();
        return std::nullopt;
      }
      at_ = end + 1; // its checksum is dropped as what lies between packets
      dropping_ = false;
      return Incoming{Incoming::Kind::kTooLong, {}};
    }
    switch (buffer_[at_]) {
    case '\x03':
      ++at_;
      return Incoming{Incoming::Kind::kInterrupt, {}};
    case '-':
      ++at_;
      return Incoming{Incoming::Kind::kSentAgain, {}};
    case '$':
      break;
    default:
      ++at_;
      continue;
    }
    const std::size_t begin = at_ + 1;
    const std::size_t end = buffer_.find('#', searched_ > begin ? searched_ : begin);
    if ((end == buffer_.npos ? buffer_.size() : end) - begin > kMostPacketBytes) {
      dropping_ = true;
      continue;
    }
    if (end == buffer_.npos || buffer_.size() - end < 3) {
      searched_ = end == buffer_.npos ? buffer_.size() : end;
      return std::nullopt;
    }
    searched_ = 0;
    at_ = end + 3;
    Incoming packet{Incoming::Kind::kPacket, buffer_.substr(begin, end - begin)};
    if (!trusted_) {
      const std::optional<unsigned> high = digit_value(buffer_[end + 1]);
      const std::optional<unsigned> low = digit_value(buffer_[end + 2]);
      if (!high || !low || (*high << 4 | *low) != checksum(packet.payload)) {
        return Incoming{Incoming::Kind::kDamaged, {}};
      }
    }
    return packet;
  }
  return std::nullopt;
}

std::string framed(std::string_view payload) {
  std::string packet;
  packet.reserve(payload.size() + 4);
  packet += '$';
  packet += payload;
  packet += '#';
  packet += hex_byte(checksum(payload));
  return packet;
}

std::string escaped(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() + bytes.size() / 16);
  for (const char c : bytes) {
    if (c == '$' || c == '#' || c == '}' || c == '*') {
      text += '}';
      text += static_cast<char>(c ^ 0x20);
    } else {
      text += c;
    }
  }
  return text;
}

} // namespace rrpcp::gdbserver
