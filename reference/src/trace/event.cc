#include "trace/event.h"

#include "rrpcp/error.h"

#include <cstring>

namespace rrpcp::trace {

namespace {

kj::ArrayPtr<const kj::byte> to_kj(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}

kj::ArrayPtr<const kj::byte> to_kj(const std::string& text) {
  return {reinterpret_cast<const kj::byte*>(text.data()), text.size()};
}

kj::ArrayPtr<const kj::byte> to_kj(const user_regs_struct& registers) {
  return {reinterpret_cast<const kj::byte*>(&registers), sizeof registers};
}

std::span<const std::byte> to_span(capnp::Data::Reader data) {
  return std::as_bytes(std::span(data.begin(), data.size()));
}

std::string to_string(capnp::Data::Reader data) {
  return {reinterpret_cast<const char*>(data.begin()), data.size()};
}

user_regs_struct to_registers(capnp::Data::Reader data) {
  user_regs_struct registers;
  if (data.size() != sizeof registers) {
    throw Error(ErrorCode::kDamaged, "an event has general registers of " +
                                         std::to_string(data.size()) + " bytes instead of " +
                                         std::to_string(sizeof registers));
  }
  std::memcpy(&registers, data.begin(), sizeof registers);
  return registers;
}

} // namespace

std::string_view event_kind_name(EventKind kind) {
  switch (kind) {
  case EventKind::kSystemCall:
    return "system call";
  case EventKind::kSystemCallBegun:
    return "system call begun";
  case EventKind::kSystemCallFinished:
    return "system call finished";
  case EventKind::kExec:
    return "exec";
  case EventKind::kNewTask:
    return "new task";
  case EventKind::kExit:
    return "exit";
  case EventKind::kSignal:
    return "signal";
  case EventKind::kTrap:
    return "trapped instruction";
  case EventKind::kPreemption:
    return "preemption";
  }
  return "unknown";
}

void EventData::clear() {
  bytes_.clear();
  data_elsewhere_ = false;
  kind = EventKind::kSystemCall;
  task = 0;
  time = 0;
  registers.reset();
  registers_after.reset();
  result = 0;
  extended_registers = {};
  signal_mask.reset();
  memory.clear();
  shared.clear();
  followed.clear();
  mapping.reset();
  output = 0;
  output_ranges.clear();
  output_digest = 0;
  inputs.clear();
  input_digest = 0;
  memory_digests.clear();
  image.clear();
  executable.clear();
  arguments.clear();
  former_task = 0;
  child = 0;
  child_process = 0;
  flags = 0;
  child_memory.clear();
  status = 0;
  signal_info = {};
}

std::span<std::byte> EventData::append(std::size_t length, ByteRange& range) {
  range = {bytes_.size(), length};
  bytes_.resize(bytes_.size() + length);
  return std::span(bytes_).subspan(range.offset, length);
}

ByteRange EventData::append(std::span<const std::byte> bytes) {
  ByteRange range{bytes_.size(), bytes.size()};
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return range;
}

void EventData::shrink(ByteRange& range, std::size_t length) {
  range.length -= length;
  bytes_.resize(bytes_.size() - length);
}

namespace {

void encode_ranges(const std::vector<EventData::Range>& from,
                   capnp::List<schema::MemoryRange>::Builder out) {
  for (unsigned i = 0; i < out.size(); ++i) {
    out[i].setAddress(from[i].address);
    out[i].setLength(from[i].length);
  }
}

void decode_ranges(capnp::List<schema::MemoryRange>::Reader from,
                   std::vector<EventData::Range>& out) {
  for (schema::MemoryRange::Reader range : from) {
    out.push_back({range.getAddress(), range.getLength()});
  }
}

void encode_writes(const std::vector<EventData::Write>& from,
                   capnp::List<schema::MemoryWrite>::Builder out) {
  for (unsigned i = 0; i < out.size(); ++i) {
    out[i].setAddress(from[i].address);
    out[i].setLength(from[i].data.length);
    out[i].setTask(from[i].task);
  }
}

void decode_writes(capnp::List<schema::MemoryWrite>::Reader from,
                   std::vector<EventData::Write>& out) {
  for (schema::MemoryWrite::Reader write : from) {
    out.push_back({write.getAddress(), {0, write.getLength()}, write.getTask()});
  }
}

} // namespace

void EventData::pieces(std::vector<std::span<const std::byte>>& out) const {
  out.clear();
  for (const Shared& write : shared) {
    out.push_back(bytes(write.data));
  }
  for (const std::vector<Write>* list : {&memory, &child_memory}) {
    for (const Write& write : *list) {
      out.push_back(bytes(write.data));
    }
  }
}

void EventData::encode(schema::Event::Builder out) const {
  out.setTask(task);
  out.setTime(time);
  if (registers) {
    out.setRegisters(to_kj(*registers));
  }
  if (registers_after) {
    out.setRegistersAfter(to_kj(*registers_after));
  }
  out.setResult(result);
  if (extended_registers.length != 0) {
    out.setExtendedRegisters(to_kj(bytes(extended_registers)));
  }
  if (signal_mask) {
    out.setSignalMask(*signal_mask);
    out.setChangesSignalMask(true);
  }
  if (!memory.empty()) {
    encode_writes(memory, out.initMemory(static_cast<unsigned>(memory.size())));
  }
  if (!shared.empty()) {
    auto list = out.initShared(static_cast<unsigned>(shared.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setObject(shared[i].object);
      list[i].setSize(shared[i].size);
      list[i].setOffset(shared[i].offset);
      list[i].setLength(shared[i].data.length);
      list[i].setCleared(shared[i].cleared);
    }
  }
  if (!followed.empty()) {
    auto list = out.initFollowed(static_cast<unsigned>(followed.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setTask(followed[i].task);
      list[i].setAddress(followed[i].address);
      list[i].setLength(followed[i].length);
      list[i].setObject(followed[i].object);
      list[i].setOffset(followed[i].offset);
    }
  }
  if (mapping) {
    schema::EventMapping::Builder built = out.initMapping();
    if (mapping->object) {
      built.setObject(*mapping->object);
    } else {
      built.setFile(mapping->file);
    }
    built.setOffset(mapping->offset);
    built.setLength(mapping->length);
    built.setPath(to_kj(mapping->path));
    built.setReadOnly(mapping->read_only);
  }
  if (output != 0) {
    out.setOutput(static_cast<std::uint8_t>(output));
    encode_ranges(output_ranges, out.initOutputRanges(static_cast<unsigned>(output_ranges.size())));
    out.setOutputDigest(output_digest);
  }
  if (!inputs.empty()) {
    encode_ranges(inputs, out.initInputs(static_cast<unsigned>(inputs.size())));
    out.setInputDigest(input_digest);
  }
  if (!memory_digests.empty()) {
    auto list = out.initMemoryDigests(static_cast<unsigned>(memory_digests.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setAddress(memory_digests[i].address);
      list[i].setDigests(to_kj(bytes(memory_digests[i].pages)));
    }
  }
  switch (kind) {
  case EventKind::kSystemCall:
    out.setSystemCall();
    break;
  case EventKind::kSystemCallBegun:
    out.setSystemCallBegun();
    break;
  case EventKind::kSystemCallFinished:
    out.setSystemCallFinished();
    break;
  case EventKind::kExec: {
    auto exec = out.initExec();
    exec.setImage(image);
    exec.setExecutable(to_kj(executable));
    auto list = exec.initArguments(static_cast<unsigned>(arguments.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list.set(i, to_kj(arguments[i]));
    }
    exec.setFormerTask(former_task);
    break;
  }
  case EventKind::kNewTask: {
    auto task_out = out.initNewTask();
    task_out.setChild(child);
    task_out.setChildProcess(child_process);
    task_out.setFlags(flags);
    task_out.setChildRegisters(to_kj(child_registers));
    encode_writes(child_memory,
                  task_out.initChildMemory(static_cast<unsigned>(child_memory.size())));
    break;
  }
  case EventKind::kExit:
    out.initExit().setStatus(status);
    break;
  case EventKind::kSignal: {
    auto signal = out.initSignal();
    signal.setInfo(to_kj(bytes(signal_info)));
    signal.setCause(cause);
    break;
  }
  case EventKind::kTrap:
    out.setTrap(instruction);
    break;
  case EventKind::kPreemption:
    out.setPreemption();
    break;
  }
}

std::span<std::byte> EventData::decode(schema::Event::Reader in, std::uint64_t data_length,
                                       std::uint64_t most) {
  clear();
  task = in.getTask();
  time = in.getTime();
  if (in.hasRegisters()) {
    registers = to_registers(in.getRegisters());
  }
  if (in.hasRegistersAfter()) {
    registers_after = to_registers(in.getRegistersAfter());
  }
  result = in.getResult();
  if (in.hasExtendedRegisters()) {
    extended_registers = append(to_span(in.getExtendedRegisters()));
  }
  if (in.getChangesSignalMask()) {
    signal_mask = in.getSignalMask();
  }
  if (in.hasMemory()) {
    decode_writes(in.getMemory(), memory);
  }
  if (in.hasShared()) {
    for (schema::SharedWrite::Reader write : in.getShared()) {
      shared.push_back({write.getObject(),
                        write.getSize(),
                        write.getOffset(),
                        {0, write.getLength()},
                        write.getCleared()});
    }
  }
  if (in.hasFollowed()) {
    for (schema::FollowedMapping::Reader from : in.getFollowed()) {
      followed.push_back({from.getTask(), from.getAddress(), from.getLength(), from.getObject(),
                          from.getOffset()});
    }
  }
  if (in.hasMapping()) {
    schema::EventMapping::Reader from = in.getMapping();
    mapping = Mapping{};
    Mapping& to = *mapping;
    if (from.isObject()) {
      to.object = from.getObject();
    } else {
      to.file = from.getFile().cStr();
    }
    to.offset = from.getOffset();
    to.length = from.getLength();
    to.path = to_string(from.getPath());
    to.read_only = from.getReadOnly();
  }
  output = in.getOutput();
  if (output != 0) {
    decode_ranges(in.getOutputRanges(), output_ranges);
    output_digest = in.getOutputDigest();
  }
  if (in.hasInputs()) {
    decode_ranges(in.getInputs(), inputs);
    input_digest = in.getInputDigest();
  }
  if (in.hasMemoryDigests()) {
    for (schema::MemoryDigests::Reader from : in.getMemoryDigests()) {
      memory_digests.push_back({from.getAddress(), append(to_span(from.getDigests()))});
    }
  }
  decode_kind(in);
  // Lengths are summed up with care: they come from a file.
  data_elsewhere_ = data_length > most;
  const std::size_t start = data_elsewhere_ ? 0 : bytes_.size();
  std::uint64_t used = 0;
  auto place = [&](ByteRange& range) {
    if (range.length > data_length - used) {
      throw Error(ErrorCode::kDamaged, "an event refers to more data than it has (" +
                                           std::to_string(data_length) + " bytes)");
    }
    range.offset = start + used;
    used += range.length;
  };
  for (Shared& write : shared) {
    place(write.data);
  }
  for (std::vector<Write>* list : {&memory, &child_memory}) {
    for (Write& write : *list) {
      place(write.data);
    }
  }
  if (used != data_length) {
    throw Error(ErrorCode::kDamaged, "an event has " + std::to_string(data_length) +
                                         " bytes of data but refers to " + std::to_string(used));
  }
  if (data_elsewhere_) {
    return {};
  }
  bytes_.resize(start + data_length);
  return std::span(bytes_).subspan(start);
}

void EventData::decode_kind(schema::Event::Reader in) {
  switch (in.which()) {
  case schema::Event::SYSTEM_CALL:
    kind = EventKind::kSystemCall;
    return;
  case schema::Event::SYSTEM_CALL_BEGUN:
    kind = EventKind::kSystemCallBegun;
    return;
  case schema::Event::SYSTEM_CALL_FINISHED:
    kind = EventKind::kSystemCallFinished;
    return;
  case schema::Event::EXEC: {
    kind = EventKind::kExec;
    auto exec = in.getExec();
    image = exec.getImage().cStr();
    executable = to_string(exec.getExecutable());
    for (capnp::Data::Reader argument : exec.getArguments()) {
      arguments.push_back(to_string(argument));
    }
    former_task = exec.getFormerTask();
    return;
  }
  case schema::Event::NEW_TASK: {
    kind = EventKind::kNewTask;
    auto created = in.getNewTask();
    child = created.getChild();
    child_process = created.getChildProcess();
    flags = created.getFlags();
    child_registers = to_registers(created.getChildRegisters());
    decode_writes(created.getChildMemory(), child_memory);
    return;
  }
  case schema::Event::EXIT:
    kind = EventKind::kExit;
    status = in.getExit().getStatus();
    return;
  case schema::Event::SIGNAL: {
    kind = EventKind::kSignal;
    auto signal = in.getSignal();
    signal_info = append(to_span(signal.getInfo()));
    cause = signal.getCause();
    return;
  }
  case schema::Event::TRAP:
    kind = EventKind::kTrap;
    instruction = in.getTrap();
    return;
  case schema::Event::PREEMPTION:
    kind = EventKind::kPreemption;
    return;
  }
  throw Error(ErrorCode::kUnsupportedFeature,
              "an event of an unknown kind (" + std::to_string(static_cast<int>(in.which())) + ")")
      .with_hint("replay it with the version of pcp-rr that recorded it, or a later one");
}

} // namespace rrpcp::trace
