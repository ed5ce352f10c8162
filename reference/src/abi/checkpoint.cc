#include "abi/error.h"
#include "abi/handles.h"
#include "abi/header.h"
#include "rrpcp/page_run.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

using namespace rrpcp;
using namespace rrpcp::abi;

namespace {

template <typename List> auto entry(List list, std::size_t index, const char* what) {
  if (index >= list.size()) {
    throw Error(ErrorCode::kInvalidArgument, "there is no " + std::string(what) + " " +
                                                 std::to_string(index) + ": the checkpoint has " +
                                                 std::to_string(list.size()));
  }
  return list[static_cast<unsigned>(index)];
}

} // namespace

namespace rrpcp::abi {

void fill_header(const Header& header, const Footer* footer, std::uint64_t file_size,
                 rrpcp_header* out, std::size_t size) {
  rrpcp_header result = {};
  result.major = header.major;
  result.minor = header.minor;
  result.position_kind = header.position_kind;
  result.machine = header.machine;
  result.elf_class = header.elf_class;
  result.data_encoding = header.data_encoding;
  result.page_size = header.page_size;
  result.chunk_pages = header.chunk_pages;
  result.current_task = header.current_task;
  result.event = header.event;
  result.ticks = header.ticks;
  result.mark_event = header.mark_event;
  result.mark_ticks = header.mark_ticks;
  result.instructions = header.instructions;
  result.order = header.order;
  std::copy(header.trace_uuid.bytes.begin(), header.trace_uuid.bytes.end(), result.trace_uuid);
  result.file_size = file_size;
  if (footer != nullptr) {
    std::copy(footer->id.bytes.begin(), footer->id.bytes.end(), result.id);
    result.page_count = footer->page_count;
    result.chunk_count = footer->chunk_count;
  }
  fill(out, size, &result, sizeof result);
}

} // namespace rrpcp::abi

rrpcp_status rrpcp_open(const char* path, rrpcp_checkpoint** checkpoint, rrpcp_error** error) {
  return guarded(error, [&] {
    require(path, "the path");
    *checkpoint = new rrpcp_checkpoint(CheckpointReader::open(path));
  });
}

rrpcp_status rrpcp_open_fd(int fd, const char* name, rrpcp_checkpoint** checkpoint,
                           rrpcp_error** error) {
  return guarded(error, [&] {
    require(name, "the name");
    const int own = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0) {
      throw system_error(errno, "cannot open").in_file(name);
    }
    *checkpoint = new rrpcp_checkpoint(CheckpointReader::open_fd(own, name));
  });
}

void rrpcp_close(rrpcp_checkpoint* checkpoint) {
  delete checkpoint;
}

void rrpcp_get_header(const rrpcp_checkpoint* checkpoint, rrpcp_header* header, size_t size) {
  fill_header(checkpoint->reader.header(), &checkpoint->reader.footer(),
              checkpoint->reader.file_size(), header, size);
}

size_t rrpcp_process_count(const rrpcp_checkpoint* checkpoint) {
  return checkpoint->state.getProcesses().size();
}

rrpcp_status rrpcp_get_process(const rrpcp_checkpoint* checkpoint, size_t index,
                               rrpcp_process* process, size_t size, rrpcp_error** error) {
  return guarded(error, [&] {
    require(checkpoint, "the checkpoint");
    const auto in = entry(checkpoint->state.getProcesses(), index, "process");
    rrpcp_process result = {};
    result.pid = in.getPid();
    result.serial = in.getSerial();
    fill(process, size, &result, sizeof result);
  });
}

size_t rrpcp_task_count(const rrpcp_checkpoint* checkpoint) {
  return checkpoint->state.getTasks().size();
}

rrpcp_status rrpcp_get_task(const rrpcp_checkpoint* checkpoint, size_t index, rrpcp_task* task,
                            size_t size, rrpcp_error** error) {
  return guarded(error, [&] {
    require(checkpoint, "the checkpoint");
    const auto in = entry(checkpoint->state.getTasks(), index, "task");
    rrpcp_task result = {};
    result.tid = in.getTid();
    result.process = in.getProcess();
    result.address_space = in.getAddressSpace();
    result.serial = in.getSerial();
    result.name = in.getName().asChars().begin();
    result.name_size = in.getName().size();
    fill(task, size, &result, sizeof result);
  });
}

rrpcp_status rrpcp_get_registers(const rrpcp_checkpoint* checkpoint, size_t task,
                                 uint32_t note_type, const void** bytes, size_t* size,
                                 rrpcp_error** error) {
  return guarded(error, [&] {
    require(checkpoint, "the checkpoint");
    *bytes = nullptr;
    *size = 0;
    for (const auto set : entry(checkpoint->state.getTasks(), task, "task").getRegisters()) {
      if (set.getNoteType() == note_type) {
        *bytes = set.getData().begin();
        *size = set.getData().size();
      }
    }
  });
}

size_t rrpcp_space_count(const rrpcp_checkpoint* checkpoint) {
  return checkpoint->state.getAddressSpaces().size();
}

rrpcp_status rrpcp_mapping_count(const rrpcp_checkpoint* checkpoint, size_t space, size_t* count,
                                 rrpcp_error** error) {
  return guarded(error, [&] {
    require(checkpoint, "the checkpoint");
    *count =
        entry(checkpoint->state.getAddressSpaces(), space, "address space").getMappings().size();
  });
}

rrpcp_status rrpcp_get_mapping(const rrpcp_checkpoint* checkpoint, size_t space, size_t index,
                               rrpcp_mapping* mapping, size_t size, rrpcp_error** error) {
  return guarded(error, [&] {
    require(checkpoint, "the checkpoint");
    const auto in =
        entry(entry(checkpoint->state.getAddressSpaces(), space, "address space").getMappings(),
              index, "mapping");
    rrpcp_mapping result = {};
    result.start = in.getStart();
    result.end = in.getEnd();
    result.protection = in.getProtection();
    result.flags = in.getFlags();
    result.role = static_cast<std::uint32_t>(in.getRole());
    result.object = in.getObject();
    result.object_offset = in.getObjectOffset();
    for (const auto run : in.getRuns()) {
      result.stored_pages += is_of_stream(run.getKind()) ? run.getPages() : 0;
    }
    result.name = in.getName().asChars().begin();
    result.name_size = in.getName().size();
    fill(mapping, size, &result, sizeof result);
  });
}

rrpcp_status rrpcp_memory_open(const rrpcp_checkpoint* checkpoint, size_t space,
                               const char* trace_directory, int verify, rrpcp_memory** memory,
                               rrpcp_error** error) {
  return guarded(error, [&] {
    require(checkpoint, "the checkpoint");
    BackingFiles files;
    files.trace_directory = trace_directory != nullptr ? trace_directory : "";
    files.verify_digests = verify != 0;
    *memory = new rrpcp_memory{MemoryView(checkpoint->reader, space, std::move(files))};
  });
}

void rrpcp_memory_close(rrpcp_memory* memory) {
  delete memory;
}

rrpcp_status rrpcp_memory_read(rrpcp_memory* memory, uint64_t address, void* buffer, size_t size,
                               size_t* done, rrpcp_error** error) {
  return guarded(error, [&] {
    require(memory, "the memory");
    *done = memory->view.read(address, {static_cast<std::byte*>(buffer), size});
  });
}

rrpcp_status rrpcp_get_chunk(const rrpcp_checkpoint* checkpoint, uint64_t index, rrpcp_chunk* chunk,
                             size_t size, rrpcp_error** error) {
  return guarded(error, [&] {
    require(checkpoint, "the checkpoint");
    const ChunkEntry in = checkpoint->reader.chunk(index);
    rrpcp_chunk result = {};
    result.offset = in.offset;
    result.stored_length = in.stored_length;
    result.length = in.length;
    result.checksum = in.checksum;
    result.stored_checksum = in.stored_checksum;
    result.codec = in.codec;
    fill(chunk, size, &result, sizeof result);
  });
}

rrpcp_status rrpcp_read_pages(const rrpcp_checkpoint* checkpoint, uint64_t first, uint64_t count,
                              void* buffer, rrpcp_error** error) {
  return guarded(error, [&] {
    require(checkpoint, "the checkpoint");
    auto* out = static_cast<std::byte*>(buffer);
    checkpoint->reader.read_stream(first, count, [&](std::span<const std::byte> bytes) {
      out = std::copy(bytes.begin(), bytes.end(), out);
    });
  });
}
