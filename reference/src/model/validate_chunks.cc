#include "model/validate_chunks.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/page_buffer.h"
#include "base/parallel.h"
#include "container/chunk_codec.h"

#include <algorithm>
#include <deque>
#include <mutex>

namespace rrpcp {

namespace {

class ChunkCheck {
public:
  ChunkCheck(const ByteSource& source, const Header& header, std::span<const ChunkEntry> chunks,
             std::span<const PageTail> tails, std::span<const Sha256Digest> seal,
             const ValidateOptions& options, Findings& findings)
      : source_(source), header_(header), chunks_(chunks), tails_(tails), seal_(seal),
        options_(options), findings_(findings) {
    for (const ChunkEntry& chunk : chunks) {
      total_ += chunk.length;
      max_length_ = std::max(max_length_, chunk.length);
      max_stored_ = std::max(max_stored_, chunk.stored_length);
    }
  }

  std::uint64_t run() {
    const unsigned threads =
        std::min(64u, options_.threads != 0 ? options_.threads : available_processors());
    std::deque<Worker> workers;
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(threads, chunks_.size()); ++i) {
      workers.emplace_back(max_stored_, max_length_);
    }
    parallel_for(chunks_.size(), threads, [&](std::uint64_t index, unsigned number) {
      Worker& worker = workers[number];
      check(index, worker.decoder, worker.stored.span(), worker.decoded.span());
      report_progress(chunks_[index].length);
    });
    return total_;
  }

private:
  // What a thread has for itself.
  struct Worker {
    Worker(std::uint64_t most_stored, std::uint64_t most_decoded)
        : stored(most_stored), decoded(most_decoded) {}

    ChunkDecoder decoder;
    PageBuffer stored, decoded;
  };

  void check(std::uint64_t index, ChunkDecoder& decoder, std::span<std::byte> stored_buffer,
             std::span<std::byte> decoded_buffer) {
    const ChunkEntry& chunk = chunks_[index];
    auto name = [&] { return "chunk " + std::to_string(index); };
    auto stored = source_.view(chunk.offset, chunk.stored_length, stored_buffer);
    if (xxh3_64(stored) != chunk.stored_checksum) {
      findings_.at("chunk.stored-checksum", chunk.offset,
                   name() + ": the checksum of the stored bytes does not match");
      return;
    }
    std::span<const std::byte> decoded = stored;
    if (chunk.codec != format::kCodecRaw) {
      std::span<std::byte> out = decoded_buffer.first(chunk.length);
      if (!decoder.decode(stored, out)) {
        findings_.at("chunk.decode", chunk.offset,
                     name() + ": it is not one zstd frame of " + std::to_string(chunk.length) +
                         " bytes");
        return;
      }
      if (xxh3_64(out) != chunk.checksum) {
        findings_.at("chunk.checksum", chunk.offset,
                     name() + ": the checksum of the decoded bytes does not match");
        return;
      }
      decoded = out;
    }
    if (!seal_.empty() && sha256(decoded) != seal_[index]) {
      findings_.at("seal.chunk", chunk.offset,
                   name() + ": the seal's digest is not that of the decoded bytes");
    }
    check_tails(index, decoded);
  }

  void check_tails(std::uint64_t index, std::span<const std::byte> decoded) {
    const std::uint64_t first = index * header_.chunk_pages;
    const std::uint64_t end = first + header_.chunk_pages;
    auto tail = std::lower_bound(
        tails_.begin(), tails_.end(), first,
        [](const PageTail& candidate, std::uint64_t page) { return candidate.page < page; });
    for (; tail != tails_.end() && tail->page < end; ++tail) {
      auto page = decoded.subspan((tail->page - first) * header_.page_size, header_.page_size);
      if (!is_zero(page.subspan(tail->used))) {
        findings_.in("object.tail", tail->path.c_str(),
                     "page " + std::to_string(tail->page) +
                         " of the stream is not zero from byte " + std::to_string(tail->used) +
                         " on");
      }
    }
  }

  void report_progress(std::uint64_t bytes) {
    if (!options_.progress) {
      return;
    }
    std::lock_guard lock(mutex_);
    done_ += bytes;
    options_.progress(done_, total_);
  }

  const ByteSource& source_;
  const Header& header_;
  std::span<const ChunkEntry> chunks_;
  std::span<const PageTail> tails_;
  std::span<const Sha256Digest> seal_;
  const ValidateOptions& options_;
  Findings& findings_;
  std::uint64_t total_ = 0;
  std::uint32_t max_length_ = 0;
  std::uint32_t max_stored_ = 0;
  std::mutex mutex_;
  std::uint64_t done_ = 0;
};

} // namespace

std::uint64_t validate_chunks(const ByteSource& source, const Header& header,
                              std::span<const ChunkEntry> chunks, std::span<const PageTail> tails,
                              std::span<const Sha256Digest> seal, const ValidateOptions& options,
                              Findings& findings) {
  if (chunks.empty()) {
    return 0;
  }
  return ChunkCheck(source, header, chunks, tails, seal, options, findings).run();
}

} // namespace rrpcp
