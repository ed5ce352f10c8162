#include "store/same_content.h"

#include "container/manifest_bytes.h"
#include "container/same_stream.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cstring>
#include <kj/exception.h>
#include <vector>

namespace rrpcp {

namespace {

bool same_state(const CheckpointReader& a, const CheckpointReader& b) {
  const kj::Array<capnp::word> left = canonical_state(a.state());
  const kj::Array<capnp::word> right = canonical_state(b.state());
  return left.asBytes() == right.asBytes();
}

bool is_other(const Section& section) {
  return section.kind != format::kSectionChunkTable && section.kind != format::kSectionManifest;
}

// The sections beside those that every file has, one after the other.
std::vector<Section> other_sections(const CheckpointReader& reader) {
  std::vector<Section> sections;
  std::copy_if(reader.sections().begin(), reader.sections().end(), std::back_inserter(sections),
               is_other);
  return sections;
}

std::vector<std::byte> section_bytes(const CheckpointReader& reader, const Section& section) {
  std::vector<std::byte> bytes;
  reader.read_section(section, [&](std::span<const std::byte> piece) {
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  });
  return bytes;
}

bool same_sections(const CheckpointReader& a, const CheckpointReader& b) {
  const std::vector<Section> left = other_sections(a);
  const std::vector<Section> right = other_sections(b);
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [&](const Section& x, const Section& y) {
                      return x.kind == y.kind && x.flags == y.flags && x.length == y.length &&
                             section_bytes(a, x) == section_bytes(b, y);
                    });
}

// Reads everything once: the checksums are compared on the way.
void verify(const CheckpointReader& reader) {
  reader.read_stream(0, reader.footer().page_count, [](std::span<const std::byte>) {});
  for (const Section& section : reader.sections()) {
    reader.read_section(section, [](std::span<const std::byte>) {});
  }
}

} // namespace

ContentComparison compare_content(const std::string& path, const CheckpointReader& checkpoint) {
  try {
    const CheckpointReader existing = CheckpointReader::open(path);
    verify(existing);
    const bool same = same_state(existing, checkpoint) && same_stream(existing, checkpoint) &&
                      same_sections(existing, checkpoint);
    return same ? ContentComparison::kSame : ContentComparison::kOther;
  } catch (const Error& error) {
    // A file of a newer version is somebody's whole checkpoint; an error of the disk says nothing.
    switch (error.code()) {
    case ErrorCode::kUnsupportedFeature:
    case ErrorCode::kLimit:
      return ContentComparison::kOther;
    case ErrorCode::kNotACheckpoint:
    case ErrorCode::kIncomplete:
    case ErrorCode::kDamaged:
    case ErrorCode::kNotFound:
      return ContentComparison::kUnusable;
    default:
      throw;
    }
  } catch (const kj::Exception&) {
    return ContentComparison::kUnusable;
  }
}

} // namespace rrpcp
