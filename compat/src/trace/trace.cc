#include "base/file.h"
#include "legacy/machine.h"
#include "legacy/packed_message.h"
#include "rrpcp/compat/rr_trace.h"
#include "rrpcp/error.h"
#include "rrpcp/legacy/rr_trace.capnp.h"
#include "trace/block_stream.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <elf.h>
#include <functional>
#include <sys/stat.h>

namespace rrpcp {

namespace {

using compat::BlockStream;

constexpr std::uint32_t kTraceVersion = 85;
constexpr std::uint64_t kMaxVersionFile = 1 << 20;
// Memory writes and holes of one frame: far more than rr ever records, and few enough that records
// which claim them without having them cost nothing.
constexpr std::uint64_t kMaxFrameWrites = 1 << 16;

// Cap'n Proto's view of a stream.
class StreamAdapter final : public kj::BufferedInputStream {
public:
  explicit StreamAdapter(BlockStream& stream) : stream_(stream) {}

  kj::ArrayPtr<const kj::byte> tryGetReadBuffer() override {
    const std::span<const std::byte> bytes = stream_.buffer();
    return kj::arrayPtr(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size());
  }
  std::size_t tryRead(void* buffer, std::size_t min_bytes, std::size_t max_bytes) override {
    // No more than what is there at once and what is needed: Cap'n Proto asks for more again.
    const std::span<const std::byte> here = stream_.buffer();
    const std::size_t count = std::min(max_bytes, std::max(min_bytes, here.size()));
    return stream_.read(std::span(static_cast<std::byte*>(buffer), count));
  }
  void skip(std::size_t bytes) override { stream_.skip(bytes); }

private:
  BlockStream& stream_;
};

// Reads one message from `stream` and shows its root.
template <typename Root>
void read_message(BlockStream& stream, const RrTraceLimits& limits,
                  const std::function<void(typename Root::Reader)>& show) {
  const StreamPosition place = stream.position();
  const compat::QuietCapnp quiet;
  try {
    StreamAdapter adapter(stream);
    capnp::word scratch[256];
    capnp::PackedMessageReader reader(adapter, compat::reader_options(limits.max_message_bytes),
                                      kj::arrayPtr(scratch, 256));
    show(reader.getRoot<Root>());
  } catch (const kj::Exception& exception) {
    throw compat::message_error(exception,
                                "a record at decoded byte " + std::to_string(place.decoded_offset))
        .in_file(stream.path())
        .at(place.block_offset);
  }
}

std::vector<std::byte> to_bytes(capnp::Data::Reader data) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data.begin());
  return std::vector<std::byte>(bytes, bytes + data.size());
}

std::string to_string(capnp::Data::Reader data) {
  return std::string(reinterpret_cast<const char*>(data.begin()), data.size());
}

FrameKind frame_kind(legacy::trace::Frame::Event::Which which) {
  using Which = legacy::trace::Frame::Event::Which;
  switch (which) {
  case Which::INSTRUCTION_TRAP:
    return FrameKind::kInstructionTrap;
  case Which::PATCH_SYSCALL:
    return FrameKind::kPatchSyscall;
  case Which::SYSCALLBUF_ABORT_COMMIT:
    return FrameKind::kSyscallbufAbortCommit;
  case Which::SYSCALLBUF_RESET:
    return FrameKind::kSyscallbufReset;
  case Which::SCHED:
    return FrameKind::kSched;
  case Which::GROW_MAP:
    return FrameKind::kGrowMap;
  case Which::SIGNAL:
    return FrameKind::kSignal;
  case Which::SIGNAL_DELIVERY:
    return FrameKind::kSignalDelivery;
  case Which::SIGNAL_HANDLER:
    return FrameKind::kSignalHandler;
  case Which::EXIT:
    return FrameKind::kExit;
  case Which::SYSCALLBUF_FLUSH:
    return FrameKind::kSyscallbufFlush;
  case Which::SYSCALL:
    return FrameKind::kSyscall;
  case Which::PATCH_AFTER_SYSCALL:
    return FrameKind::kPatchAfterSyscall;
  case Which::PATCH_VSYSCALL:
    return FrameKind::kPatchVsyscall;
  case Which::PATCH_TRAPPING_INSTRUCTION:
    return FrameKind::kPatchTrappingInstruction;
  }
  return FrameKind::kUnknown;
}

RrTraceFrame to_frame(legacy::trace::Frame::Reader in) {
  RrTraceFrame frame;
  frame.tid = in.getTid();
  frame.ticks = in.getTicks();
  frame.machine = compat::elf_machine(in.getArch());
  frame.registers = to_bytes(in.getRegisters().getRaw());
  frame.extra_registers = to_bytes(in.getExtraRegisters().getRaw());
  const auto event = in.getEvent();
  frame.kind = frame_kind(event.which());
  if (event.isSyscall()) {
    frame.syscall_number = event.getSyscall().getNumber();
    frame.syscall_phase = static_cast<SyscallPhase>(event.getSyscall().getState());
  }
  std::uint64_t parts = in.getMemWrites().size();
  for (const auto write : in.getMemWrites()) {
    parts += parts > kMaxFrameWrites ? 0 : write.getHoles().size();
    if (parts > kMaxFrameWrites) {
      throw Error(ErrorCode::kLimit,
                  "a frame claims more than " + std::to_string(kMaxFrameWrites) + " memory writes");
    }
    std::uint64_t bytes = write.getSize();
    for (const auto hole : write.getHoles()) {
      if (hole.getSize() > bytes) {
        throw Error(ErrorCode::kDamaged, "the holes of a memory write are longer than the write");
      }
      bytes -= hole.getSize();
    }
    if (__builtin_add_overflow(frame.data_bytes, bytes, &frame.data_bytes)) {
      throw Error(ErrorCode::kDamaged, "the memory writes of a frame have an absurd length");
    }
  }
  return frame;
}

RrTraceHeader read_header(const std::string& directory) {
  const std::string path = join_path(directory, "version");
  std::vector<std::byte> bytes;
  try {
    bytes = read_file(path, kMaxVersionFile);
  } catch (const Error& error) {
    struct stat info = {};
    if (error.code() == ErrorCode::kNotFound &&
        ::stat(join_path(directory, "incomplete").c_str(), &info) == 0) {
      throw Error(ErrorCode::kIncomplete, "the recording of this trace did not end")
          .in_file(directory);
    }
    throw;
  }
  const auto newline = std::find(bytes.begin(), bytes.end(), std::byte{'\n'});
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const auto length = static_cast<std::size_t>(newline - bytes.begin());
  RrTraceHeader header;
  const auto [end, status] = std::from_chars(text, text + length, header.version);
  if (newline == bytes.end() || status != std::errc() || end != text + length) {
    throw Error(ErrorCode::kDamaged, "does not begin with a trace version").in_file(path).at(0);
  }
  if (header.version != kTraceVersion) {
    throw Error(ErrorCode::kUnsupportedFeature,
                "is of trace version " + std::to_string(header.version) + ", only 85 is known")
        .in_file(path);
  }
  try {
    const auto message = compat::read_packed<legacy::trace::Header>(
        std::span(bytes).subspan(length + 1), "the trace's header");
    const auto in = message->getRoot<legacy::trace::Header>().asReader();
    const auto uuid = in.getUuid();
    if (uuid.size() != header.uuid.bytes.size()) {
      throw Error(ErrorCode::kDamaged,
                  "the trace's uuid has " + std::to_string(uuid.size()) + " bytes, not 16");
    }
    std::memcpy(header.uuid.bytes.data(), uuid.begin(), uuid.size());
    header.machine = compat::elf_machine(in.getNativeArch());
    header.page_size = in.getRuntimePageSize();
    if (header.page_size != 4096 && header.page_size != 16384 && header.page_size != 65536) {
      throw Error(ErrorCode::kDamaged,
                  "the trace's page size is " + std::to_string(header.page_size));
    }
    header.xcr0 = in.getX86().getXcr0();
    header.required_forward_compatibility = in.getRequiredForwardCompatibilityVersion();
    header.has_pointer_authentication = in.getAarch64().getHasPAuth();
    header.has_tpidr = in.getAarch64().getHasTPIDR();
    const auto records = in.getX86().getCpuidRecords();
    static_assert(sizeof(RrTraceCpuid) == 24);
    header.cpuid.resize(records.size() / sizeof(RrTraceCpuid));
    if (!header.cpuid.empty()) {
      std::memcpy(header.cpuid.data(), records.begin(), header.cpuid.size() * sizeof(RrTraceCpuid));
    }
  } catch (const Error& error) {
    throw error.in_file(path);
  }
  return header;
}

template <typename Root, typename Record>
std::vector<Record> read_records(const std::string& path, const RrTraceLimits& limits,
                                 const std::function<Record(typename Root::Reader)>& convert,
                                 std::vector<StreamPosition>* places = nullptr) {
  BlockStream stream(path, limits);
  std::vector<Record> records;
  while (!stream.at_end()) {
    if (records.size() == limits.max_records) {
      throw Error(ErrorCode::kLimit,
                  "has more than " + std::to_string(limits.max_records) + " records")
          .in_file(path);
    }
    if (places != nullptr) {
      places->push_back(stream.position());
    }
    read_message<Root>(stream, limits,
                       [&](typename Root::Reader in) { records.push_back(convert(in)); });
  }
  if (places != nullptr) {
    places->push_back(stream.position());
  }
  return records;
}

RrTraceTask to_task(legacy::trace::TaskEvent::Reader in) {
  RrTraceTask task;
  task.event = in.getFrameTime();
  task.tid = in.getTid();
  switch (in.which()) {
  case legacy::trace::TaskEvent::CLONE:
    task.kind = RrTraceTask::Kind::kClone;
    task.parent_tid = in.getClone().getParentTid();
    task.clone_flags = in.getClone().getFlags();
    task.own_namespace_tid = in.getClone().getOwnNsTid();
    break;
  case legacy::trace::TaskEvent::EXEC:
    task.kind = RrTraceTask::Kind::kExec;
    task.file_name = to_string(in.getExec().getFileName());
    for (const auto word : in.getExec().getCmdLine()) {
      task.command_line.push_back(to_string(word));
    }
    break;
  case legacy::trace::TaskEvent::EXIT:
    task.kind = RrTraceTask::Kind::kExit;
    task.exit_status = in.getExit().getExitStatus();
    break;
  case legacy::trace::TaskEvent::DETACH:
    task.kind = RrTraceTask::Kind::kDetach;
    break;
  }
  return task;
}

RrTraceMapping to_mapping(legacy::trace::MMap::Reader in) {
  RrTraceMapping mapping;
  mapping.event = in.getFrameTime();
  mapping.start = in.getStart();
  mapping.end = in.getEnd();
  mapping.name = to_string(in.getFsname());
  mapping.device = in.getDevice();
  mapping.inode = in.getInode();
  mapping.protection = in.getProt();
  mapping.flags = in.getFlags();
  mapping.file_offset = in.getFileOffsetBytes();
  mapping.mode = in.getStatMode();
  mapping.size = in.getStatSize();
  mapping.modified_at = in.getStatMTime();
  switch (in.getSource().which()) {
  case legacy::trace::MMap::Source::ZERO:
    mapping.source = RrTraceMapping::Source::kZero;
    break;
  case legacy::trace::MMap::Source::TRACE:
    mapping.source = RrTraceMapping::Source::kTrace;
    break;
  case legacy::trace::MMap::Source::FILE:
    mapping.source = RrTraceMapping::Source::kFile;
    mapping.backing_file = to_string(in.getSource().getFile().getBackingFileName());
    break;
  }
  return mapping;
}

// The place of the first record of `event` or a later one, in a list with one place more than
// records.
template <typename Record>
StreamPosition place_of(const std::vector<Record>& records,
                        const std::vector<StreamPosition>& places, std::int64_t event) {
  const auto found = std::find_if(records.begin(), records.end(),
                                  [&](const Record& record) { return record.event >= event; });
  return places[static_cast<std::size_t>(found - records.begin())];
}

} // namespace

const char* frame_kind_name(FrameKind kind) {
  switch (kind) {
  case FrameKind::kInstructionTrap:
    return "instructionTrap";
  case FrameKind::kPatchSyscall:
    return "patchSyscall";
  case FrameKind::kSyscallbufAbortCommit:
    return "syscallbufAbortCommit";
  case FrameKind::kSyscallbufReset:
    return "syscallbufReset";
  case FrameKind::kSched:
    return "sched";
  case FrameKind::kGrowMap:
    return "growMap";
  case FrameKind::kSignal:
    return "signal";
  case FrameKind::kSignalDelivery:
    return "signalDelivery";
  case FrameKind::kSignalHandler:
    return "signalHandler";
  case FrameKind::kExit:
    return "exit";
  case FrameKind::kSyscallbufFlush:
    return "syscallbufFlush";
  case FrameKind::kSyscall:
    return "syscall";
  case FrameKind::kPatchAfterSyscall:
    return "patchAfterSyscall";
  case FrameKind::kPatchVsyscall:
    return "patchVsyscall";
  case FrameKind::kPatchTrappingInstruction:
    return "patchTrappingInstruction";
  case FrameKind::kUnknown:
    break;
  }
  return "unknown";
}

bool can_hold_checkpoint(FrameKind kind) {
  switch (kind) {
  case FrameKind::kSyscallbufAbortCommit:
  case FrameKind::kSyscallbufFlush:
  case FrameKind::kSyscallbufReset:
  case FrameKind::kGrowMap:
  case FrameKind::kExit:
    return false;
  default:
    return true;
  }
}

struct RrTraceFrameReader::Impl {
  Impl(const std::string& path, const RrTraceLimits& trace_limits)
      : stream(path, trace_limits), limits(trace_limits) {}

  BlockStream stream;
  RrTraceLimits limits;
  std::int64_t next_event = 1;
  std::uint64_t data_offset = 0;
};

RrTraceFrameReader::RrTraceFrameReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RrTraceFrameReader::RrTraceFrameReader(RrTraceFrameReader&&) noexcept = default;
RrTraceFrameReader& RrTraceFrameReader::operator=(RrTraceFrameReader&&) noexcept = default;
RrTraceFrameReader::~RrTraceFrameReader() = default;

std::optional<RrTraceFrame> RrTraceFrameReader::next() {
  if (impl_->stream.at_end()) {
    return std::nullopt;
  }
  RrTraceFrame frame;
  read_message<legacy::trace::Frame>(
      impl_->stream, impl_->limits, [&](legacy::trace::Frame::Reader in) { frame = to_frame(in); });
  frame.event = impl_->next_event++;
  impl_->data_offset += frame.data_bytes;
  return frame;
}

std::int64_t RrTraceFrameReader::next_event() const {
  return impl_->next_event;
}

StreamPosition RrTraceFrameReader::position() const {
  return impl_->stream.position();
}

std::uint64_t RrTraceFrameReader::data_offset() const {
  return impl_->data_offset;
}

RrTrace RrTrace::open(const std::string& directory, const RrTraceLimits& limits) {
  RrTrace trace;
  trace.directory_ = strip_slashes(directory);
  trace.limits_ = limits;
  trace.header_ = read_header(trace.directory_);
  return trace;
}

std::vector<RrTraceTask> RrTrace::tasks() const {
  const std::string path = join_path(directory_, "tasks");
  // Words of command lines may be one and the same in the message, but not here.
  std::uint64_t text = 0;
  return read_records<legacy::trace::TaskEvent, RrTraceTask>(
      path, limits_, [&](legacy::trace::TaskEvent::Reader in) {
        RrTraceTask task = to_task(in);
        for (const std::string& word : task.command_line) {
          text += sizeof word + word.size();
        }
        if (text > limits_.max_message_bytes) {
          throw Error(ErrorCode::kLimit, "the command lines are too long").in_file(path);
        }
        return task;
      });
}

std::vector<RrTraceMapping> RrTrace::mappings() const {
  return read_records<legacy::trace::MMap, RrTraceMapping>(join_path(directory_, "mmaps"), limits_,
                                                           to_mapping);
}

RrTraceFrameReader RrTrace::frames() const {
  return RrTraceFrameReader(
      std::make_unique<RrTraceFrameReader::Impl>(join_path(directory_, "events"), limits_));
}

RrTraceFrameReader RrTrace::frames(std::int64_t event, const StreamPosition& position) const {
  RrTraceFrameReader reader = frames();
  reader.impl_->stream.seek(position);
  reader.impl_->next_event = event;
  return reader;
}

std::vector<std::byte> RrTrace::read_data(const StreamPosition& position,
                                          std::uint64_t length) const {
  BlockStream stream(join_path(directory_, "data"), limits_);
  stream.seek(position);
  if (length > limits_.max_message_bytes) {
    throw Error(ErrorCode::kLimit, "too much recorded data is asked for at once")
        .in_file(stream.path());
  }
  std::vector<std::byte> bytes(length);
  if (stream.read(bytes) != length) {
    throw Error(ErrorCode::kIncomplete, "the stream ends within the data of a frame")
        .in_file(stream.path())
        .at(stream.position().block_offset);
  }
  return bytes;
}

std::vector<std::optional<RrTraceCursor>>
RrTrace::cursors(const std::vector<std::int64_t>& events) const {
  std::vector<std::optional<RrTraceCursor>> cursors(events.size());
  if (events.empty()) {
    return cursors;
  }
  std::vector<std::size_t> order(events.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return events[a] < events[b]; });

  std::vector<StreamPosition> mmap_places;
  const auto mmaps = read_records<legacy::trace::MMap, RrTraceMapping>(
      join_path(directory_, "mmaps"), limits_, to_mapping, &mmap_places);
  std::vector<StreamPosition> task_places;
  const auto tasks = read_records<legacy::trace::TaskEvent, RrTraceTask>(
      join_path(directory_, "tasks"), limits_, to_task, &task_places);

  RrTraceFrameReader reader = frames();
  BlockStream data(join_path(directory_, "data"), limits_);
  std::uint64_t data_offset = 0;
  bool more = true;
  for (const std::size_t index : order) {
    while (more && reader.next_event() < events[index]) {
      more = reader.next().has_value();
    }
    if (reader.next_event() != events[index]) {
      continue;
    }
    data.skip(reader.data_offset() - data_offset);
    data_offset = reader.data_offset();
    cursors[index] = RrTraceCursor{.events = reader.position(),
                                   .data = data.position(),
                                   .mmaps = place_of(mmaps, mmap_places, events[index]),
                                   .tasks = place_of(tasks, task_places, events[index])};
  }
  return cursors;
}

bool is_trace_directory(const std::string& directory) {
  struct stat info = {};
  return ::stat(join_path(directory, "version").c_str(), &info) == 0 ||
         ::stat(join_path(directory, "incomplete").c_str(), &info) == 0;
}

} // namespace rrpcp
