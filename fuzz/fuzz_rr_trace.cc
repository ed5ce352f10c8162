// Any bytes as a file of an rr trace: the first byte says which one, the rest is its content, for a
// stream one block that is stored as it is (or, with bit 7 set, the bytes of the file themselves).

#include "legacy_trace_directory.h"
#include "rrpcp/compat/rr_trace.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>

namespace {

constexpr const char* kFiles[] = {"version", "events", "tasks", "mmaps", "data"};

// `bytes` as one block whose Brotli stream holds them uncompressed (RFC 7932, section 9.2), so that
// mutations reach what is behind the decoder.
std::string as_block(std::span<const std::uint8_t> bytes) {
  std::string stream;
  std::uint64_t bits = 0;
  unsigned count = 0;
  const auto put = [&](std::uint64_t value, unsigned width) {
    bits |= value << count;
    count += width;
    while (count >= 8) {
      stream += static_cast<char>(bits & 0xff);
      bits >>= 8;
      count -= 8;
    }
  };
  const auto align = [&] {
    if (count != 0) {
      put(0, 8 - count);
    }
  };
  put(0, 1); // WBITS 16
  if (!bytes.empty()) {
    const std::uint64_t length = bytes.size() - 1;
    const unsigned nibbles = length < 1 << 16 ? 4 : 5;
    put(0, 1);                // ISLAST
    put(nibbles - 4, 2);      // MNIBBLES
    put(length, 4 * nibbles); // MLEN - 1
    put(1, 1);                // ISUNCOMPRESSED
    align();
    stream.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  put(3, 2); // ISLAST, ISLASTEMPTY
  align();
  std::string block;
  for (const std::size_t length : {stream.size(), bytes.size()}) {
    for (unsigned shift = 0; shift < 32; shift += 8) {
      block += static_cast<char>(length >> shift & 0xff);
    }
  }
  return block + stream;
}

void read_all(const std::string& directory) {
  using namespace rrpcp;
  RrTraceLimits limits;
  limits.max_block_bytes = 1 << 20;
  limits.max_message_bytes = 1 << 20;
  limits.max_records = 1 << 12;
  const auto guarded = [](const auto& read) {
    try {
      read();
    } catch (const Error&) {
    }
  };
  guarded([&] {
    const RrTrace trace = RrTrace::open(directory, limits);
    guarded([&] {
      RrTraceFrameReader frames = trace.frames();
      std::uint64_t count = 0;
      while (count++ < (1 << 12) && frames.next()) {
      }
    });
    guarded([&] { trace.tasks(); });
    guarded([&] { trace.mappings(); });
    guarded([&] { trace.read_data({}, 100); });
    guarded([&] {
      const auto cursors = trace.cursors({1, 2, 1000});
      for (const auto& cursor : cursors) {
        if (cursor) {
          trace.frames(1, cursor->events).next();
        }
      }
    });
  });
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const rrpcp::fuzz::TraceDirectory trace;
  if (size == 0) {
    return 0;
  }
  const std::size_t which = (data[0] & 0x7f) % std::size(kFiles);
  const std::span<const std::uint8_t> content(data + 1, std::min<std::size_t>(size - 1, 1 << 20));
  if (which == 0) {
    const rrpcp::fuzz::TraceDirectory other;
    other.write("version", "85\n" + std::string(content.begin(), content.end()));
    read_all(other.path());
    return 0;
  }
  if ((data[0] & 0x80) != 0) {
    trace.write(kFiles[which], content);
  } else {
    trace.write(kFiles[which], as_block(content));
  }
  read_all(trace.path());
  trace.write(kFiles[which], std::string());
  return 0;
}
