#include "rrpcp/writer.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "container/chunk_pipeline.h"
#include "container/chunk_table.h"
#include "container/header.h"
#include "container/manifest_bytes.h"
#include "container/page_index.h"
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

HeaderFields complete(HeaderFields fields) {
  bool page_size_known =
      fields.page_size == 4096 || fields.page_size == 16384 || fields.page_size == 65536;
  if (!page_size_known) {
    throw Error(ErrorCode::kInvalidArgument,
                "a page size of " + std::to_string(fields.page_size) + " bytes cannot be stored");
  }
  if (fields.chunk_pages == 0) {
    fields.chunk_pages = format::kDefaultChunkLength / fields.page_size;
  }
  if (fields.chunk_pages > format::kMaxChunkPages ||
      std::uint64_t{fields.chunk_pages} * fields.page_size > format::kMaxChunkLength) {
    throw Error(ErrorCode::kInvalidArgument,
                "chunks of " + std::to_string(fields.chunk_pages) + " pages are too large");
  }
  if (fields.event < 0 || fields.mark_event < fields.event ||
      fields.position_kind > format::kPositionBetween) {
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
  HeaderBytes header;
  ChunkPipeline pipeline;
  PageIndex index;
  PageBuffer chunk; // being filled
  std::size_t filled = 0;
  std::uint64_t page_count = 0;
  bool finished = false;

  Impl(Output& out, const HeaderFields& header_fields, const WriterOptions& writer_options)
      : output(out), fields(complete(header_fields)), options(writer_options),
        chunk_length(std::size_t{fields.chunk_pages} * fields.page_size),
        header(encode_header(fields,
                             writer_options.profile == Profile::kRaw ? 0 : format::kIncompatZstd)),
        pipeline((out.write(header), out), writer_options.profile, fields.page_size, chunk_length,
                 choose_threads(writer_options.threads)) {}

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
    : impl_(std::make_unique<Impl>(output, fields, options)) {}

CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::append(std::span<const std::byte> pages, std::vector<PageRun>& runs) {
  impl_->check_pages(pages);
  const std::size_t page_size = impl_->fields.page_size;
  std::array<Digest128, kPagesAtOnce> digests;
  std::array<bool, kPagesAtOnce> zero;
  while (!pages.empty()) {
    const std::size_t count = std::min(kPagesAtOnce, pages.size() / page_size);
    for (std::size_t i = 0; i < count; ++i) {
      const std::span<const std::byte> page = pages.subspan(i * page_size, page_size);
      zero[i] = is_zero(page);
      if (!zero[i]) {
        digests[i] = xxh3_128(page);
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
  Impl& impl = *impl_;
  impl.check_pages({});
  if (state.getMachine() != impl.fields.machine) {
    throw Error(ErrorCode::kInvalidArgument, "state and header name different machines");
  }
  impl.finished = true;
  auto geometry = state.getPageStream();
  geometry.setPageSize(impl.fields.page_size);
  geometry.setChunkPages(impl.fields.chunk_pages);
  geometry.setPageCount(impl.page_count);

  if (impl.filled > 0) {
    impl.pipeline.submit(std::move(impl.chunk), impl.filled);
  }
  std::vector<ChunkEntry> chunks = impl.pipeline.finish();
  impl.output.trim();

  Footer footer;
  footer.id = checkpoint_id(state.asReader(), chunks);
  footer.page_count = impl.page_count;
  footer.chunk_count = chunks.size();
  footer.chunk_entry_size = format::kChunkEntrySize;

  impl.output.pad_to(8);
  footer.table_offset = impl.output.offset();
  std::vector<std::byte> table = encode_chunk_table(chunks);
  footer.table_digest = xxh3_128(table).canonical();
  impl.output.write(table);

  footer.manifest_offset = impl.output.offset();
  kj::Array<capnp::word> manifest = manifest_message(state.asReader(), provenance);
  std::span<const std::byte> manifest_bytes =
      std::as_bytes(std::span(manifest.begin(), manifest.size()));
  footer.manifest_length = manifest_bytes.size();
  footer.manifest_digest = xxh3_128(manifest_bytes).canonical();
  impl.output.write(manifest_bytes);

  footer.file_length = impl.output.offset() + format::kFooterSize;
  std::uint64_t header_checksum = load_le<std::uint64_t>(impl.header, format::kHeaderChecksum);
  impl.output.write(encode_footer(footer, header_checksum));
  return footer.id;
}

} // namespace rrpcp
