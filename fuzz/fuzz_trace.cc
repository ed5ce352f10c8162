// Any bytes as a trace's event stream: opening it, going through its events, seeking and verifying
// end well or with Error.

#include "base/bytes.h"
#include "base/hash.h"
#include "rrpcp/error.h"
#include "rrpcp/trace/trace_format.h"
#include "rrpcp/trace/trace_reader.h"
#include "trace/event.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <kj/exception.h>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using namespace rrpcp;
using namespace rrpcp::trace_format;

// A directory of this process.
const std::string& directory() {
  static const std::string made = [] {
    std::string pattern = "/tmp/fuzz-trace-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) {
      std::abort();
    }
    static std::string kept = pattern;
    std::atexit([] {
      std::remove((kept + "/events").c_str());
      ::rmdir(kept.c_str());
    });
    return pattern;
  }();
  return made;
}

// Makes the checksums right as far as the structure can be found, so that the fuzzer gets past
// them.
void repair(std::span<std::byte> file) {
  if (file.size() < kHeaderSize) {
    return;
  }
  const std::span<std::byte> header = file.first(kHeaderSize);
  const std::uint64_t stream = xxh3_64(header.first(kHeaderChecksum));
  store_le<std::uint64_t>(header, kHeaderChecksum, stream);
  std::size_t at = kHeaderSize;
  for (std::uint64_t number = 0;
       at + kChunkHeaderSize <= file.size() && std::memcmp(&file[at], kChunkMagic.data(), 4) == 0;
       ++number) {
    const std::span<std::byte> chunk = file.subspan(at, kChunkHeaderSize);
    const auto stored = load_le<std::uint32_t>(chunk, kChunkStoredLength);
    if (stored > file.size() - at - kChunkHeaderSize) {
      break;
    }
    const std::span<std::byte> bytes = file.subspan(at + kChunkHeaderSize, stored);
    const std::uint64_t checksum = xxh3_64(bytes);
    store_le<std::uint64_t>(chunk, kChunkStoredChecksum, checksum);
    if (load_le<std::uint16_t>(chunk, kChunkCodec) == 0) {
      store_le<std::uint64_t>(chunk, kChunkChecksum, checksum);
    }
    store_le<std::uint64_t>(chunk, kChunkNumber, number);
    store_le<std::uint64_t>(chunk, kChunkStream, stream);
    store_le<std::uint64_t>(chunk, kChunkHeaderChecksum,
                            xxh3_64(chunk.first(kChunkHeaderChecksum)));
    at += kChunkHeaderSize + align_up(stored, 8);
  }
  if (file.size() >= kHeaderSize + kFooterSize) {
    const std::span<std::byte> footer = file.last(kFooterSize);
    const auto index = load_le<std::uint64_t>(footer, kFooterIndexOffset);
    if (index <= file.size() - kFooterSize) {
      const auto digest =
          xxh3_128(file.subspan(index, file.size() - kFooterSize - index)).canonical();
      std::memcpy(&footer[kFooterIndexDigest], digest.data(), digest.size());
    }
    store_le<std::uint64_t>(footer, kFooterStream, stream);
    store_le<std::uint64_t>(footer, kFooterFileLength, file.size());
    store_le<std::uint64_t>(footer, kFooterChecksum, xxh3_64(footer.first(kFooterChecksum)));
  }
}

template <typename Function> void tried(Function&& function) {
  try {
    function();
  } catch (const Error&) {
  } catch (const kj::Exception&) {
    // Fields of a message that are read without a guard of the library.
  }
}

void read_all(std::span<const std::byte> bytes) {
  std::ofstream(directory() + "/events", std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  TraceReadLimits limits;
  limits.max_chunk_bytes = 1 << 20;
  tried([&] {
    const TraceReader trace = TraceReader::open(directory(), limits);
    trace::EventData event;
    tried([&] {
      std::int64_t count = 0;
      for (EventReader events = trace.events(); !events.at_end() && count < 1000;
           events.next(), ++count) {
        if (events.data_length() < 1 << 20) {
          tried([&] { events.read_data(0, event.decode(events.event(), events.data_length())); });
        }
      }
    });
    tried([&] { trace.events(trace.event_count()); });
    tried([&] { trace.tasks(); });
    tried([&] { trace.verify(); });
  });
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> bytes(size);
  if (size != 0) {
    std::memcpy(bytes.data(), data, size);
  }
  read_all(bytes);
  repair(bytes);
  read_all(bytes);
  return 0;
}
