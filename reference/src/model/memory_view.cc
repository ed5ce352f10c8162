#include "rrpcp/memory_view.h"

#include "container/kj_errors.h"
#include "model/backing_file.h"
#include "model/find_mapping.h"
#include "model/stream_cache.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <vector>

namespace rrpcp {

struct MemoryView::Impl {
  const CheckpointReader& reader;
  BackingFiles files;
  std::uint64_t page_size;
  capnp::List<schema::Mapping>::Reader mappings;
  capnp::List<schema::MemoryObject>::Reader objects;

  StreamCache stream;
  std::unordered_map<std::uint32_t, BackingFile> backing;

  Impl(const CheckpointReader& r, BackingFiles f)
      : reader(r), files(std::move(f)), page_size(r.header().page_size) {}

  Error bad_state(const std::string& what) const {
    return Error(ErrorCode::kDamaged, what)
        .in_file(reader.name())
        .with_hint("run pcp-validate on the file for the whole story");
  }

  void read_stream(const CheckpointReader& source, std::uint64_t byte, std::span<std::byte> out) {
    while (!out.empty()) {
      const std::uint64_t skip = byte % page_size;
      const std::uint64_t wanted = (skip + out.size() + page_size - 1) / page_size;
      const std::span<const std::byte> from =
          stream.pages(source, byte / page_size, wanted).subspan(skip);
      const std::size_t n = std::min(from.size(), out.size());
      std::memcpy(out.data(), from.data(), n);
      byte += n;
      out = out.subspan(n);
    }
  }

  // Fills `out` with the bytes from `offset` of what `runs` describe, up to the first that are not
  // stored or cannot be accessed, and returns how many; `read_backing` gets the parts that lie
  // elsewhere, and returns the same.
  template <typename ReadBacking>
  std::size_t read_runs(capnp::List<schema::PageRun>::Reader runs, std::uint64_t offset,
                        std::span<std::byte> out, ReadBacking read_backing) {
    const std::size_t wanted = out.size();
    std::uint64_t run_start = 0;
    for (schema::PageRun::Reader run : runs) {
      if (out.empty()) {
        return wanted;
      }
      if (run.getPages() > (UINT64_MAX - run_start) / page_size) {
        throw bad_state("a run is longer than the address space");
      }
      const std::uint64_t run_end = run_start + run.getPages() * page_size;
      if (offset < run_end) {
        std::size_t n = std::min<std::uint64_t>(run_end - offset, out.size());
        std::span<std::byte> part = out.first(n);
        switch (run.getKind()) {
        case schema::RunKind::ZERO:
          std::fill(part.begin(), part.end(), std::byte{0});
          break;
        case schema::RunKind::STREAM:
        case schema::RunKind::BASE: {
          const CheckpointReader& source = reader.source(run);
          if (run.getFirst() >= source.footer().page_count) {
            throw bad_state("a run refers to pages beyond the end of the page stream");
          }
          read_stream(source, run.getFirst() * page_size + (offset - run_start), part);
          break;
        }
        case schema::RunKind::BACKING:
          if (const std::size_t read = read_backing(offset, part); read != n) {
            return wanted - out.size() + read;
          }
          break;
        case schema::RunKind::UNKNOWN:
        case schema::RunKind::GUARD:
          return wanted - out.size();
        default:
          throw Error(ErrorCode::kUnsupportedFeature,
                      "a run is of a kind that this program does not know")
              .in_file(reader.name());
        }
        offset += n;
        out = out.subspan(n);
      }
      run_start = run_end;
    }
    if (!out.empty()) {
      throw bad_state("runs do not cover the whole mapping or memory object");
    }
    return wanted;
  }

  std::size_t read_object(std::uint32_t index, std::uint64_t offset, std::span<std::byte> out) {
    if (index >= objects.size()) {
      throw bad_state("a mapping refers to memory object " + std::to_string(index) +
                      ", which does not exist");
    }
    schema::MemoryObject::Reader object = objects[index];
    auto from_file = [&](std::uint64_t at, std::span<std::byte> part) {
      if (!object.isFile()) {
        throw bad_state("memory object " + std::to_string(index) + " is no file, but needs one");
      }
      auto it = backing.find(index);
      if (it == backing.end()) {
        it = backing.try_emplace(index, object.getFile(), files).first;
      }
      it->second.read(at, part);
      return part.size();
    };
    if (object.getRuns().size() == 0) {
      if (object.isFile()) {
        return from_file(offset, out);
      }
      if (object.getLength() != 0) {
        throw bad_state("memory object " + std::to_string(index) + " has no contents");
      }
    }
    // Beyond the object's last page there is nothing; the kernel would send SIGBUS.
    return read_runs(object.getRuns(), offset, out, from_file);
  }

  std::size_t read_mapping(schema::Mapping::Reader mapping, std::uint64_t offset,
                           std::span<std::byte> out) {
    auto from_object = [&](std::uint64_t at, std::span<std::byte> part) {
      if (mapping.getObject() == schema::NO_INDEX) {
        throw bad_state("a mapping without a memory object needs one");
      }
      return read_object(mapping.getObject(), mapping.getObjectOffset() + at, part);
    };
    if (mapping.getRuns().size() != 0) {
      return read_runs(mapping.getRuns(), offset, out, from_object);
    }
    if (mapping.getObject() != schema::NO_INDEX) {
      return from_object(offset, out);
    }
    std::fill(out.begin(), out.end(), std::byte{0});
    return out.size();
  }

  std::size_t read(std::uint64_t address, std::span<std::byte> out);

  // The mapping that holds `address`.
  std::optional<schema::Mapping::Reader> find(std::uint64_t address) {
    const std::optional<unsigned> index = find_mapping(mappings, address);
    return index ? std::optional(mappings[*index]) : std::nullopt;
  }
};

MemoryView::MemoryView(const CheckpointReader& reader, std::size_t space, BackingFiles files)
    : impl_(std::make_unique<Impl>(reader, std::move(files))) {
  with_kj_errors(reader.name(), [&] {
    auto state = reader.state();
    auto spaces = state.getAddressSpaces();
    if (space >= spaces.size()) {
      throw Error(ErrorCode::kInvalidArgument, "there is no address space " + std::to_string(space))
          .in_file(reader.name());
    }
    impl_->mappings = spaces[static_cast<unsigned>(space)].getMappings();
    impl_->objects = state.getMemoryObjects();
  });
}

MemoryView::~MemoryView() = default;
MemoryView::MemoryView(MemoryView&&) noexcept = default;

std::size_t MemoryView::read(std::uint64_t address, std::span<std::byte> out) {
  return with_kj_errors(impl_->reader.name(), [&] { return impl_->read(address, out); });
}

std::size_t MemoryView::Impl::read(std::uint64_t address, std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    auto mapping = find(address);
    if (!mapping) {
      break;
    }
    std::uint64_t offset = address - mapping->getStart();
    std::size_t n = std::min<std::uint64_t>(mapping->getEnd() - address, out.size() - done);
    const std::size_t read = read_mapping(*mapping, offset, out.subspan(done, n));
    done += read;
    address += read;
    if (read != n || address == 0) { // not stored, or the end of the address space
      break;
    }
  }
  return done;
}

} // namespace rrpcp
