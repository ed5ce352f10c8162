// Packets of the remote serial protocol on a stream of bytes.
// Source: the manual of gdb, appendix "gdb Remote Serial Protocol", section "Overview".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rrpcp::gdbserver {

// Longest packet that is taken, without "$" and checksum; what qSupported announces.
inline constexpr std::size_t kMostPacketBytes = 1 << 20;
// Bytes of memory or of a file that one answer carries: two digits each, or escaped.
inline constexpr std::uint64_t kMostRead = kMostPacketBytes / 2;

// What came from the debugger.
struct Incoming {
  enum class Kind {
    kPacket,    // `payload`, still escaped where it is binary
    kInterrupt, // byte 03
    kDamaged,   // a packet with a wrong checksum: "-" asks for it again
    kTooLong,   // one of more than kMostPacketBytes, dropped
    kSentAgain, // "-": the last answer is to be sent again
  } kind = Kind::kPacket;
  std::string payload;
};

// Takes bytes as they come and finds packets in them. Whatever comes, it holds no more than the
// longest packet; what lies between packets is dropped.
class PacketReader {
public:
  void feed(std::string_view bytes);
  // The next one; nothing until more has come.
  std::optional<Incoming> next();
  // Whether bytes wait that next() has not taken.
  bool pending() const { return at_ < buffer_.size(); }
  // Checksums are looked at no more: QStartNoAckMode.
  void trust() { trusted_ = true; }

private:
  std::string buffer_;
  std::size_t at_ = 0;       // what lies before was taken
  std::size_t searched_ = 0; // no "#" before this one
  bool trusted_ = false;
  bool dropping_ = false; // of a packet that is too long
};

// "$payload#checksum". The payload must have no "$" and no "#" that is not escaped.
std::string framed(std::string_view payload);
// Binary data as a part of a payload.
std::string escaped(std::string_view bytes);

} // namespace rrpcp::gdbserver
