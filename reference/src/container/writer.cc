#include "rrpcp/writer.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "container/carried_parts.h"
#include "container/chunk_pipeline.h"
#include "container/manifest_bytes.h"
#include "container/page_index.h"
#include "container/seal.h"
#include "framing/chunk_table.h"
#include "framing/header.h"
#include "framing/sections.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <capnp/message.h>
#include <cstring>
#include <kj/exception.h>
#include <thread>
#include <unistd.h>

namespace rrpcp {

namespace {

// Pages that are hashed before any of them is looked up, so that the memory of the index, which is
// too large for the processor's caches, arrives meanwhile.
constexpr std::size_t kPagesAtOnce = 16;

unsigned choose_threads(unsigned asked) {
  unsigned threads = asked != 0 ? asked : std::max(1u, std::thread::hardware_concurrency());
  return std::min(threads, 64u);
}

HeaderFields complete(HeaderFields fields, bool is_copy) {
  if (!format::is_page_size(fields.page_size)) {
    throw Error(ErrorCode::kInvalidArgument,
                "a page size of " + std::to_string(fields.page_size) + " bytes cannot be stored");
  }
  if (fields.chunk_pages == 0) {
    fields.chunk_pages = std::max(1u, format::kDefaultChunkLength / fields.page_size);
  }
  if (fields.chunk_pages > format::kMaxChunkPages ||
      std::uint64_t{fields.chunk_pages} * fields.page_size > format::kMaxChunkLength) {
    throw Error(ErrorCode::kInvalidArgument,
                "chunks of " + std::to_string(fields.chunk_pages) + " pages are too large");
  }
  if (fields.base_runs) {
    fields.minor = std::max(fields.minor, format::kMinorOfBaseRuns);
  }
  // The copy of a newer file may have a kind of position that is not known.
  if (fields.event < 0 || fields.mark_event < fields.event ||
      (!is_copy && fields.position_kind > format::kPositionBetween)) {
    throw Error(ErrorCode::kInvalidArgument, "the position of the checkpoint makes no sense");
  }
  return fields;
}

} // namespace

struct CheckpointWriter::Impl {
  Output& output;
  const HeaderFields fields;
  const WriterOptions options;
  const std::size_t chunk_length;
  const CarriedParts* const carried; // may be null
  const framing::HeaderBytes header;
  ChunkPipeline pipeline;
  PageIndex index;
  const PageHash page_hash;
  PageBuffer chunk; // being filled
  std::size_t filled = 0;
  std::uint64_t page_count = 0;
  bool finished = false;

  Impl(Output& out, const HeaderFields& header_fields, const WriterOptions& writer_options,
       const CarriedParts* parts)
      : output(out), fields(complete(header_fields, parts != nullptr)), options(writer_options),
        chunk_length(std::size_t{fields.chunk_pages} * fields.page_size), carried(parts),
        header(framing::encode_header(
            fields,
            (writer_options.profile == Profile::kRaw ? 0 : format::kIncompatZstd) |
                (fields.base_runs ? format::kIncompatBaseRuns : 0),
            parts != nullptr ? std::span<const std::byte>(parts->header_reserved)
                             : std::span<const std::byte>())),
        pipeline((out.write(header), out), writer_options.profile, fields.page_size, chunk_length,
                 choose_threads(writer_options.threads), writer_options.seal) {}

  std::span<std::byte> room() {
    if (!chunk) {
      chunk = pipeline.take_buffer();
    }
    return chunk.span().subspan(filled, chunk_length - filled);
  }

  // Copies one page to the end of the stream, where it may be already, and returns its index.
  std::uint64_t store(std::span<const std::byte> page) {
    std::byte* target = room().data();
    if (target != page.data()) {
      std::memmove(target, page.data(), page.size());
    }
    filled += page.size();
    if (filled == chunk_length) {
      pipeline.submit(std::move(chunk), filled);
      filled = 0;
    }
    return page_count++;
  }

  // Makes the state say what the stream is.
  void check_state(schema::State::Builder state) const {
    check_pages({});
    if (state.getMachine() != fields.machine) {
      throw Error(ErrorCode::kInvalidArgument, "state and header name different machines");
    }
    auto geometry = state.getPageStream();
    geometry.setPageSize(fields.page_size);
    geometry.setChunkPages(fields.chunk_pages);
    geometry.setPageCount(page_count);
  }

  void check_pages(std::span<const std::byte> pages) const {
    if (finished) {
      throw Error(ErrorCode::kInvalidArgument, "the checkpoint is finished already");
    }
    if (pages.size() % fields.page_size != 0) {
      throw Error(ErrorCode::kInvalidArgument, "page data has to come in whole pages");
    }
  }
};

CheckpointWriter::CheckpointWriter(Output& output, const HeaderFields& fields,
                                   const WriterOptions& options)
    : CheckpointWriter(output, fields, options, nullptr) {}

CheckpointWriter::CheckpointWriter(Output& output, const HeaderFields& fields,
                                   const WriterOptions& options, const CarriedParts* carried)
    : impl_(std::make_unique<Impl>(output, fields, options, carried)) {}

CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::append(std::span<const std::byte> pages, std::vector<PageRun>& runs) {
  impl_->check_pages(pages);
  const std::size_t page_size = impl_->fields.page_size;
  std::array<PageDigest, kPagesAtOnce> digests;
  std::array<bool, kPagesAtOnce> zero;
  while (!pages.empty()) {
    const std::size_t count = std::min(kPagesAtOnce, pages.size() / page_size);
    for (std::size_t i = 0; i < count; ++i) {
      const std::span<const std::byte> page = pages.subspan(i * page_size, page_size);
      zero[i] = is_zero(page);
      if (!zero[i]) {
        digests[i] = impl_->page_hash(page);
        impl_->index.prefetch(digests[i]);
      }
    }
    for (std::size_t i = 0; i < count; ++i, pages = pages.subspan(page_size)) {
      if (zero[i]) {
        append_run(runs, {schema::RunKind::ZERO, 1, 0});
        continue;
      }
      std::optional<std::uint64_t> known = impl_->index.find(digests[i]);
      if (!known) {
        known = impl_->store(pages.first(page_size));
        impl_->index.insert(digests[i], *known);
      }
      append_run(runs, {schema::RunKind::STREAM, 1, *known});
    }
  }
}

void CheckpointWriter::append(std::span<const std::byte> page, const BasePage& base,
                              std::vector<PageRun>& runs) {
  if (!base.bytes.empty() && !is_zero(page) && page.size() == base.bytes.size() &&
      std::memcmp(page.data(), base.bytes.data(), page.size()) == 0) {
    impl_->check_pages(page);
    if (!impl_->fields.base_runs) {
      throw Error(ErrorCode::kInvalidArgument, "the header does not say that there are base runs");
    }
    append_run(runs, {schema::RunKind::BASE, 1, base.page, base.source});
    return;
  }
  append(page, runs);
}

std::span<std::byte> CheckpointWriter::room() {
  impl_->check_pages({});
  return impl_->room();
}

void CheckpointWriter::append_stream(std::span<const std::byte> pages) {
  impl_->check_pages(pages);
  const std::size_t page_size = impl_->fields.page_size;
  for (; !pages.empty(); pages = pages.subspan(page_size)) {
    impl_->store(pages.first(page_size));
  }
}

std::uint64_t CheckpointWriter::page_count() const {
  return impl_->page_count;
}

CheckpointId CheckpointWriter::finish(schema::State::Builder state,
                                      schema::Provenance::Reader provenance) {
  impl_->check_state(state);
  capnp::MallocMessageBuilder message;
  auto manifest = message.initRoot<schema::Manifest>();
  manifest.setState(state.asReader());
  manifest.setProvenance(provenance);
  return finish(manifest);
}

CheckpointId CheckpointWriter::finish(schema::Manifest::Builder manifest) {
  Impl& impl = *impl_;
  impl.check_state(manifest.getState());
  impl.finished = true;
  if (impl.filled > 0) {
    impl.pipeline.submit(std::move(impl.chunk), impl.filled);
  }
  const std::vector<ChunkEntry> chunks = impl.pipeline.finish();
  impl.output.trim();

  const schema::State::Reader state = manifest.getState().asReader();
  Footer footer;
  footer.id = checkpoint_id(state, chunks);
  footer.page_count = impl.page_count;
  footer.chunk_count = chunks.size();
  footer.chunk_entry_size =
      impl.carried != nullptr ? impl.carried->chunk_entry_size : format::kChunkEntrySize;
  SectionWriter sections(impl.output, impl.carried);
  sections.add(
      format::kSectionChunkTable,
      framing::encode_chunk_table(chunks, footer.chunk_entry_size,
                                  impl.carried != nullptr
                                      ? std::span<const std::byte>(impl.carried->chunk_entry_rests)
                                      : std::span<const std::byte>()));
  {
    const kj::Array<capnp::word> message = manifest_message(manifest.asReader());
    sections.add(format::kSectionManifest,
                 std::as_bytes(std::span(message.begin(), message.size())));
  }
  if (impl.options.seal) {
    sections.add(format::kSectionSeal, encode_seal(state_sha256(state), impl.pipeline.seals()));
  }
  sections.add_carried(impl.options.seal);
  sections.finish(footer, load_le<std::uint64_t>(impl.header, format::kHeaderChecksum));
  return footer.id;
}

} // namespace rrpcp
