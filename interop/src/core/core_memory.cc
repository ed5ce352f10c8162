#include "core/core_memory.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/open_file.h"
#include "base/sparse_read.h"
#include "model/elf_build_id.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <elf.h>
#include <fcntl.h>
#include <map>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {

namespace {

constexpr std::uint64_t kPiece = std::uint64_t{1} << 20;

// A file that the core names, as it is now.
struct NamedFile {
  int index = -1;
  ScopedFd fd; // empty: it is not there, or not the one that was mapped
  std::uint64_t size = 0;
  std::map<std::uint64_t, std::uint64_t> used; // offset to end of the ranges that are `backing`
};

class MemoryImport {
public:
  MemoryImport(const ByteSource& source, int fd, CoreContents& core,
               const CoreImportOptions& options, CheckpointWriter& writer)
      : source_(source), fd_(fd), core_(core), options_(options), writer_(writer),
        page_size_(core.page_size) {}

  ImportedMemory run() {
    has_stack_ = holds(core_stack_pointer(*core_.layout, core_.threads.front()));
    name_files();
    std::size_t row = 0;
    std::uint64_t place = 0;
    for (const CoreSegment& segment : core_.segments) {
      std::uint64_t at = segment.start;
      while (at < segment.end) {
        // Rows before the segment are mappings of which the core has nothing.
        while (row < core_.files.size() && core_.files[row].end <= at) {
          lost(std::max(place, core_.files[row].start), core_.files[row]);
          ++row;
        }
        const bool inside = row < core_.files.size() && core_.files[row].start <= at;
        if (row < core_.files.size() && core_.files[row].start < at && place < at) {
          lost(std::max(place, core_.files[row].start), core_.files[row], at);
        }
        std::uint64_t end = segment.end;
        if (row < core_.files.size()) {
          end = std::min(end, inside ? core_.files[row].end : core_.files[row].start);
        }
        piece(segment, at, end, inside ? &core_.files[row] : nullptr);
        at = end;
        place = end;
      }
    }
    for (; row < core_.files.size(); ++row) {
      lost(std::max(place, core_.files[row].start), core_.files[row]);
    }
    digest_files();
    return std::move(out_);
  }

private:
  bool holds(std::uint64_t address) const {
    return std::any_of(core_.segments.begin(), core_.segments.end(), [&](const CoreSegment& s) {
      return s.start <= address && address - s.start < s.stored;
    });
  }

  // Looks for each file, and compares its build id with the one in the core's memory.
  void name_files() {
    for (const CoreFileName& row : core_.files) {
      const auto [it, fresh] = named_.try_emplace(row.path);
      if (fresh) {
        it->second.index = static_cast<int>(out_.files.size());
        out_.files.emplace_back();
        out_.files.back().path = row.path;
      }
      ImportedFile& file = out_.files[static_cast<std::size_t>(it->second.index)];
      file.size = std::max(file.size, row.offset + (row.end - row.start));
      if (row.offset == 0 && file.build_id.empty()) {
        file.build_id = build_id_at(row.start);
        if (options_.look_for_files && !file.build_id.empty()) {
          look_for(it->second, file);
        }
      }
    }
    for (auto& [path, named] : named_) {
      if (named.fd) {
        out_.files[static_cast<std::size_t>(named.index)].size = named.size;
      }
    }
  }

  std::vector<std::byte> build_id_at(std::uint64_t address) const {
    const auto segment = std::find_if(core_.segments.begin(), core_.segments.end(),
                                      [&](const CoreSegment& s) { return s.start == address; });
    if (segment == core_.segments.end() || segment->stored < page_size_) {
      return {};
    }
    std::vector<std::byte> page(page_size_);
    source_.read(segment->offset, page);
    const ScopedFd copy(::memfd_create("page", MFD_CLOEXEC));
    if (!copy ||
        ::write(copy.get(), page.data(), page.size()) != static_cast<ssize_t>(page.size())) {
      return {};
    }
    return read_build_id(copy.get());
  }

  static void look_for(NamedFile& named, ImportedFile& file) {
    if (file.path[0] != '/') {
      return;
    }
    ScopedFd fd = open_file(file.path.c_str(), O_RDONLY);
    struct stat status;
    if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
        read_build_id(fd.get()) != file.build_id) {
      return;
    }
    named.size = static_cast<std::uint64_t>(status.st_size);
    file.modified = status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec;
    file.mode = status.st_mode;
    named.fd = std::move(fd);
  }

  ImportedMapping& mapping(std::uint64_t start, std::uint64_t end, std::uint32_t protection,
                           const CoreFileName* row) {
    const int file = row != nullptr ? named_.at(row->path).index : -1;
    const std::uint64_t offset = row != nullptr ? row->offset + (start - row->start) : 0;
    if (!out_.mappings.empty()) {
      ImportedMapping& last = out_.mappings.back();
      if (row != nullptr && last.end == start && last.file == file &&
          last.protection == protection && last.offset + (last.end - last.start) == offset &&
          last.start >= row->start) {
        last.end = end;
        return last;
      }
    }
    out_.mappings.push_back({start, end, protection, file, offset, {}});
    return out_.mappings.back();
  }

  void piece(const CoreSegment& segment, std::uint64_t start, std::uint64_t end,
             const CoreFileName* row) {
    const std::uint32_t protection = ((segment.flags & PF_R) != 0 ? 1 : 0) |
                                     ((segment.flags & PF_W) != 0 ? 2 : 0) |
                                     ((segment.flags & PF_X) != 0 ? 4 : 0);
    ImportedMapping& target = mapping(start, end, protection, row);
    // Whole pages only: of the rest of one nobody knows the other bytes.
    const std::uint64_t stored_end = segment.start + segment.stored / page_size_ * page_size_;
    const std::uint64_t middle = std::clamp(stored_end, start, end);
    copy(segment.offset + (start - segment.start), middle - start, target.runs);
    rest(middle, end, row, (segment.flags & PF_W) != 0, target.runs);
  }

  void copy(std::uint64_t offset, std::uint64_t length, std::vector<PageRun>& runs) {
    if (length == 0) {
      return;
    }
    out_.stored_pages += length / page_size_;
    std::vector<std::byte> pages; // what came in pieces, until there are whole pages
    const auto take = [&](std::span<const std::byte> bytes) {
      pages.insert(pages.end(), bytes.begin(), bytes.end());
      const std::size_t whole = pages.size() / page_size_ * page_size_;
      if (whole != 0) {
        writer_.append(std::span(pages).first(whole), runs);
        pages.erase(pages.begin(), pages.begin() + static_cast<std::ptrdiff_t>(whole));
      }
    };
    if (fd_ >= 0) {
      if (read_sparse(fd_, offset, length, buffer_, take) != length) {
        throw Error(ErrorCode::kIncomplete, "the file became shorter while it was read")
            .in_file(source_.name());
      }
      return;
    }
    for (std::uint64_t done = 0; done < length;) {
      const std::uint64_t n = std::min(kPiece, length - done);
      buffer_.resize(n);
      source_.read(offset + done, buffer_);
      take(buffer_);
      done += n;
    }
  }

  // What the core does not have: zeros by its own word, the same bytes as the file, or unknown.
  void rest(std::uint64_t start, std::uint64_t end, const CoreFileName* row, bool writable,
            std::vector<PageRun>& runs) {
    if (start == end) {
      return;
    }
    const bool zero =
        std::any_of(core_.zero_ranges.begin(), core_.zero_ranges.end(),
                    [&](const auto& range) { return range.first <= start && end <= range.second; });
    if (zero) {
      append_run(runs, {schema::RunKind::ZERO, (end - start) / page_size_, 0});
      return;
    }
    std::uint64_t middle = start;
    NamedFile* named = row != nullptr ? &named_.at(row->path) : nullptr;
    // A core that leaves out even the stack may leave out pages that were written to.
    if (named != nullptr && named->fd && (core_.ours || (!writable && has_stack_))) {
      const std::uint64_t offset = row->offset + (start - row->start);
      const std::uint64_t file_end = align_up(named->size, page_size_);
      if (offset < file_end) {
        middle = start + std::min(end - start, file_end - offset);
        append_run(runs, {schema::RunKind::BACKING, (middle - start) / page_size_, 0});
        use(*named, offset, std::min(offset + (middle - start), named->size));
      }
    }
    if (middle != end) {
      append_run(runs, {schema::RunKind::UNKNOWN, (end - middle) / page_size_, 0});
      out_.unknown_pages += (end - middle) / page_size_;
    }
  }

  // A mapping that only NT_FILE knows; what may be done there is not recorded.
  void lost(std::uint64_t start, const CoreFileName& row, std::uint64_t end = 0) {
    end = end == 0 ? row.end : end;
    if (start < end) {
      rest(start, end, &row, true, mapping(start, end, 0, &row).runs);
    }
  }

  static void use(NamedFile& named, std::uint64_t start, std::uint64_t end) {
    auto it = named.used.upper_bound(start);
    if (it != named.used.begin() && std::prev(it)->second >= start) {
      --it;
      start = it->first;
      end = std::max(end, it->second);
      it = named.used.erase(it);
    }
    while (it != named.used.end() && it->first <= end) {
      end = std::max(end, it->second);
      it = named.used.erase(it);
    }
    named.used.emplace(start, end);
  }

  void digest_files() {
    for (auto& [path, named] : named_) {
      for (const auto& [start, end] : named.used) {
        Xxh3Stream128 hash;
        const std::uint64_t read =
            read_sparse(named.fd.get(), start, end - start, buffer_,
                        [&](std::span<const std::byte> bytes) { hash.update(bytes); });
        if (read != end - start) {
          throw Error(ErrorCode::kBackingFile, "the file became shorter while it was read")
              .in_file(path);
        }
        const Digest128 digest = hash.digest();
        out_.files[static_cast<std::size_t>(named.index)].digests.push_back(
            {start, end - start, digest.high, digest.low});
      }
    }
  }

  const ByteSource& source_;
  int fd_;
  CoreContents& core_;
  const CoreImportOptions& options_;
  CheckpointWriter& writer_;
  std::uint64_t page_size_;
  bool has_stack_ = false;
  std::map<std::string, NamedFile> named_;
  std::vector<std::byte> buffer_;
  ImportedMemory out_;
};

} // namespace

std::uint64_t core_stack_pointer(const CoreLayout& layout, const CoreThread& thread) {
  // struct user_regs_struct (sys/user.h) and user_pt_regs (asm/ptrace.h).
  const std::span<const std::byte> registers = thread.registers;
  switch (layout.machine) {
  case EM_X86_64:
    return load_le<std::uint64_t>(registers, 19 * 8);
  case EM_AARCH64:
    return load_le<std::uint64_t>(registers, 31 * 8);
  default:
    return load_le<std::uint32_t>(registers, 15 * 4);
  }
}

ImportedMemory import_memory(const ByteSource& source, int fd, CoreContents& core,
                             const CoreImportOptions& options, CheckpointWriter& writer) {
  return MemoryImport(source, fd, core, options, writer).run();
}

} // namespace rrpcp
