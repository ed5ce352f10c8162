// Any checkpoint that rr-2025 can say is imported, written back and imported again unchanged.

#include "compat/golden.h"
#include "legacy/checkpoint_impl.h"
#include "legacy/compare_messages.h"
#include "legacy/machine.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/legacy/rr_trace.capnp.h"
#include "support/checkpoint_bytes.h"
#include "support/random_message.h"

#include <algorithm>
#include <capnp/dynamic.h>
#include <capnp/message.h>
#include <capnp/schema.capnp.h>
#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>
#include <random>
#include <rapidcheck/gtest.h>
#include <set>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;
using compat::as_data;

constexpr std::uint64_t kPage = 4096;

// A trace of `machine` without events.
void make_trace(const std::string& directory, legacy::Machine machine) {
  fs::create_directories(directory);
  capnp::MallocMessageBuilder message;
  auto header = message.initRoot<legacy::trace::Header>();
  header.setUuid(as_data("0123456789abcdef"));
  header.setNativeArch(machine);
  test::write_packed(directory + "/version", message, "85\n");
  for (const char* stream : {"events", "data", "mmaps", "tasks"}) {
    test::write_file(directory + "/" + stream, {});
  }
}

class Maker {
public:
  explicit Maker(std::uint64_t seed) : random_(seed) {}

  // Fills a checkpoint directory of the trace with a random checkpoint.
  void make(const std::string& trace) {
    native_ = pick({legacy::Machine::X8664, legacy::Machine::AARCH64, legacy::Machine::X86});
    make_trace(trace, native_);
    capnp::MallocMessageBuilder message;
    auto info = message.initRoot<legacy::rr2025::CheckpointInfo>();
    test::fill_at_random(info, random_);
    const std::int64_t event = 1 + static_cast<std::int64_t>(below(1000));
    if (info.isExplicit()) {
      mend_mark(info.getExplicit(), event);
    } else {
      mend_mark(info.getNonExplicit().getCloneMark(), event);
      mend_mark(info.getNonExplicit().getCheckpointMark(),
                event + static_cast<std::int64_t>(below(5)));
    }
    directory_ = trace + "/checkpoint-" + std::to_string(event);
    fs::create_directories(directory_);
    auto completion = info.getCloneCompletion();
    const auto count = static_cast<unsigned>(1 + below(3));
    if (completion.getAddressSpaces().size() != count) {
      auto spaces = completion.initAddressSpaces(count);
      for (auto space : spaces) {
        test::fill_at_random(space, random_);
      }
    }
    for (auto space : completion.getAddressSpaces()) {
      mend_space(space);
    }
    test::write_packed(directory_ + "/metadata", message);
  }

private:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  template <typename T> T pick(std::initializer_list<T> values) {
    return *(values.begin() + below(values.size()));
  }

  template <typename Raw> void set_registers(Raw raw, legacy::Machine machine) {
    auto bytes = raw.initRaw(
        static_cast<unsigned>(compat::register_record_size(compat::elf_machine(machine))));
    for (auto& byte : bytes) {
      byte = static_cast<capnp::byte>(random_());
    }
  }

  void mend_mark(legacy::MarkData::Builder mark, std::int64_t event) {
    mark.setTime(event);
    mark.setTicks(static_cast<std::int64_t>(below(100)));
    mark.setTicksAtEventStart(static_cast<std::int64_t>(below(2)) == 0 ? mark.getTicks() : 0);
    mark.setStepKey(static_cast<std::int32_t>(below(3)));
    mark.setArch(native_);
    set_registers(mark.getRegs(), native_);
  }

  void mend_task(legacy::CapturedState::Builder task, legacy::Machine machine) {
    task.setRecTid(next_tid_++);
    task.setTicks(static_cast<std::int64_t>(below(1000)));
    task.getTguid().setTid(below(2) == 0 ? task.getRecTid() : 1000);
    set_registers(task.getRegs(), machine);
    if (task.getExtraRegs().getRaw().size() == 0 && below(2) == 0) {
      task.getExtraRegs().initRaw(832);
    }
    auto areas = task.initThreadAreas(static_cast<unsigned>(below(3)));
    for (unsigned a = 0; a < areas.size(); ++a) {
      capnp::byte area[16];
      for (auto& byte : area) {
        byte = static_cast<capnp::byte>(random_());
      }
      areas.set(a, capnp::Data::Reader(area, sizeof area));
    }
    task.setFdtableIdentity(below(3));
  }

  void mend_space(legacy::rr2024::AddressSpaceClone::Builder space) {
    space.setArch(below(4) == 0 && native_ == legacy::Machine::X8664 ? legacy::Machine::X86
                                                                     : native_);
    mend_task(space.getCloneLeaderState(), space.getArch());
    for (auto member : space.getMemberState()) {
      mend_task(member, space.getArch());
    }
    auto process = space.getProcessSpace();
    // Spaces whose first tasks are of one process agree on its first event.
    auto group = space.getCloneLeaderState().getTguid();
    process.setTaskFirstRunEvent((group.getTid() + group.getSerial()) % 3);
    // Descriptors are watched once.
    std::int32_t fd = 0;
    for (auto monitor : process.getMonitors()) {
      monitor.setFd((fd += 7) % 20);
      if (monitor.getType() == -1) {
        monitor.setType(6); // -1 is "no number" in the model
      }
    }
    auto mappings = process.initVirtualAddressSpace(static_cast<unsigned>(1 + below(6)));
    std::vector<std::uint64_t> starts;
    std::uint64_t at = 0x10000;
    for (unsigned m = 0; m < mappings.size(); ++m) {
      at += kPage * below(3);
      starts.push_back(at);
      at += 4 * kPage;
    }
    std::shuffle(starts.begin(), starts.end(), random_);
    for (unsigned m = 0; m < mappings.size(); ++m) {
      test::fill_at_random(mappings[m], random_);
      mend_mapping(mappings[m], starts[m]);
    }
  }

  void mend_mapping(legacy::rr2024::KernelMapping::Builder mapping, std::uint64_t start) {
    const std::uint64_t pages = 1 + below(4);
    mapping.setStart(start);
    mapping.setEnd(start + pages * kPage);
    mapping.setProtection(static_cast<std::int32_t>(below(8)));
    mapping.setFlags(pick({0x1, 0x2, 0x21, 0x22, 0x122, 0x4022}));
    mapping.setOffset(below(4) * kPage);
    mapping.setDevice(below(2));
    mapping.setInode(below(3));
    mapping.setFsname(as_data(pick({"", "/memfd:a (deleted)", "/SYSV00000010 (deleted)", "/bin/x",
                                    "/dev/zero (deleted)", "[heap]", "odd \xff name"})));
    if (mapping.getMapType().isGuardSegment()) {
      return;
    }
    const std::string name = std::to_string(next_file_++) + "-" +
                             pick({"a b", "[heap]", "x", "memfd:a (deleted)"}) + "-0x1";
    compat::set_contents_path(mapping,
                              "/gone/" + fs::path(directory_).filename().string() + "/" + name);
    std::vector<std::byte> bytes(pages * kPage);
    for (std::uint64_t page = 0; page < pages; ++page) {
      const auto content = below(4);
      if (content != 0) {
        std::memset(&bytes[page * kPage], static_cast<int>(content), kPage);
        bytes[page * kPage + below(kPage)] = static_cast<std::byte>(below(3));
      }
    }
    test::write_file(directory_ + "/" + name, bytes);
  }

  std::mt19937_64 random_;
  legacy::Machine native_ = legacy::Machine::X8664;
  std::string directory_;
  std::int32_t next_tid_ = 100;
  unsigned next_file_ = 1;
};

RC_GTEST_PROP(LegacyProperty, ImportExportImportIsTheIdentity, ()) {
  const test::TempDir directory;
  Maker(*rc::gen::arbitrary<std::uint64_t>()).make(directory.file("trace"));
  const LegacyTrace trace = LegacyTrace::open(directory.file("trace"));
  RC_ASSERT(trace.entries().size() == 1u);
  if (trace.entries()[0].problem) {
    RC_FAIL(trace.entries()[0].problem->what());
  }
  const LegacyCheckpoint legacy = trace.load(trace.entries()[0]);
  for (const Finding& finding : legacy.findings()) {
    if (finding.severity == Severity::kError) {
      RC_FAIL(finding.message);
    }
  }
  const CheckpointReader imported = test::import_to(legacy, directory.file("a.pcp"));
  verify_import(legacy, imported);

  const std::string copy = directory.file("copy");
  fs::create_directories(copy);
  for (const char* name : {"version", "events", "data", "mmaps", "tasks"}) {
    fs::copy_file(directory.file("trace") + "/" + name, copy + "/" + name);
  }
  const ExportResult written = export_rr2025(imported, copy);
  RC_ASSERT(written.losses.empty());
  const LegacyTrace again = LegacyTrace::open(copy);
  RC_ASSERT(again.entries().size() == 1u && !again.entries()[0].problem);
  const LegacyCheckpoint reread = again.load(again.entries()[0]);
  RC_ASSERT(compat::first_difference(legacy.impl().message.root(), reread.impl().message.root()) ==
            "");
  for (const fs::directory_entry& file :
       fs::directory_iterator(trace.entries()[0].page_directory)) {
    const std::string name = file.path().filename().string();
    if (name != "metadata") {
      RC_ASSERT(test::read_file(file.path().string()) ==
                test::read_file(written.directory + "/" + name));
    }
  }
  const CheckpointReader twice = test::import_to(reread, directory.file("b.pcp"));
  RC_ASSERT(imported.id() == twice.id());
}

// Every struct of a message.
void collect(capnp::DynamicStruct::Builder value, std::vector<capnp::DynamicStruct::Builder>& out) {
  out.push_back(value);
  const auto look = [&](capnp::StructSchema::Field field) {
    const bool group = field.getProto().isGroup();
    if (!group && field.getType().isStruct() && value.has(field)) {
      collect(value.get(field).as<capnp::DynamicStruct>(), out);
    } else if (group) {
      collect(value.get(field).as<capnp::DynamicStruct>(), out);
    } else if (field.getType().isList() && field.getType().asList().getElementType().isStruct()) {
      capnp::DynamicList::Builder list = value.get(field).as<capnp::DynamicList>();
      for (unsigned i = 0; i < list.size(); ++i) {
        collect(list[i].as<capnp::DynamicStruct>(), out);
      }
    }
  };
  for (const auto field : value.getSchema().getNonUnionFields()) {
    look(field);
  }
  KJ_IF_MAYBE (arm, value.which()) {
    look(*arm);
  }
}

// Makes of random fields what a message may say: numbers that are not negative, text without NUL,
// extended registers of a size and with components that the machine has.
void calm(capnp::DynamicStruct::Builder message, legacy::Machine machine) {
  const std::set<std::string> texts = {"prname", "where",       "fsname",
                                       "exe",    "originalExe", "clonedFileDataFname"};
  std::vector<capnp::DynamicStruct::Builder> structs;
  collect(message, structs);
  for (auto& target : structs) {
    for (const auto field : target.getSchema().getFields()) {
      const std::string name = field.getProto().getName();
      bool set = field.getProto().getDiscriminantValue() == capnp::schema::Field::NO_DISCRIMINANT;
      KJ_IF_MAYBE (arm, target.which()) {
        set = set || *arm == field;
      }
      if (!set || field.getProto().isGroup()) {
        continue;
      }
      using capnp::schema::Type;
      switch (field.getType().which()) {
      case Type::INT32:
        target.set(field, target.get(field).as<std::int32_t>() & 0x3fffffff);
        break;
      case Type::INT64:
        target.set(field, target.get(field).as<std::int64_t>() & 0x3fffffffffff);
        break;
      case Type::DATA:
        if (texts.contains(name) && target.has(field)) {
          for (auto& byte : target.get(field).as<capnp::Data>()) {
            byte = static_cast<capnp::byte>(byte == 0 ? 'x' : byte);
          }
        } else if (name == "lastSigInfo") {
          target.set(field, as_data(std::string(128, '\0')));
        }
        break;
      case Type::STRUCT:
        if (name == "extraRegs") {
          const bool arm = machine == legacy::Machine::AARCH64;
          std::string area(arm ? 528 : 576, '\0');
          if (!arm) {
            area[512] = 3; // x87 and SSE
          }
          target.init(field).as<capnp::DynamicStruct>().set("raw", as_data(area));
        }
        break;
      default:
        break;
      }
    }
  }
}

// Flags and names are those of the kind, and bytes that were put aside do not overlap.
void calm_memory(legacy::rr2024::AddressSpaceClone::Builder space) {
  using MapType = legacy::rr2024::KernelMapping::MapType;
  std::uint64_t inode = 1;
  for (auto mapping : space.getProcessSpace().getVirtualAddressSpace()) {
    mapping.setProtection(3);
    mapping.setInode(0);
    mapping.setDevice(0);
    mapping.setOffset(0);
    switch (mapping.getMapType().which()) {
    case MapType::FILE:
      mapping.setFlags(0x2);
      mapping.setFsname(as_data("/bin/x"));
      mapping.setInode(inode++);
      break;
    case MapType::GUARD_SEGMENT:
      mapping.setProtection(0);
      mapping.setFlags(0x22);
      mapping.setFsname({});
      break;
    case MapType::SHARED_ANON:
      mapping.setFlags(0x1);
      mapping.setFsname(as_data("/memfd:a (deleted)"));
      mapping.setInode(inode++);
      break;
    case MapType::SYSCALL_BUFFER:
      mapping.setFlags(0x1);
      mapping.setFsname(as_data("/dev/shm/buffer"));
      mapping.setInode(inode++);
      break;
    default:
      mapping.setFlags(0x22);
      mapping.setFsname({});
    }
  }
  std::uint64_t address = 0x1000;
  for (auto memory : space.getCapturedMemory()) {
    memory.setStartAddress(address += 0x1000);
    memory.setData(as_data("saved"));
  }
  for (auto monitor : space.getProcessSpace().getMonitors()) {
    // The first arm is what a union is that nobody set.
    monitor.setType(14);
    auto unset = monitor.initMmap();
    unset.setDead(false);
  }
}

// A thread group has one serial, thread areas their entries, and rseq is not registered.
void calm_tasks(legacy::rr2024::AddressSpaceClone::Builder space) {
  const auto calm_task = [&](legacy::CapturedState::Builder task) {
    task.getTguid().setSerial(static_cast<std::uint32_t>(task.getTguid().getTid()));
    task.getRseqState().setPtr(0);
    task.getRseqState().setAbortPrefixSignature(0);
    if (space.getArch() == legacy::Machine::AARCH64) {
      task.initThreadAreas(0);
    }
    std::uint32_t entry = space.getArch() == legacy::Machine::X86 ? 6 : 12;
    for (auto area : task.getThreadAreas()) {
      const std::uint32_t words[4] = {entry++, 0x1000, 0xfffff, 0x51};
      std::memcpy(area.begin(), words, sizeof words);
    }
  };
  calm_task(space.getCloneLeaderState());
  for (auto member : space.getMemberState()) {
    calm_task(member);
  }
}

// Sets a field of any struct of the message to anything: an extreme number, other bytes, nothing.
void disturb(capnp::DynamicStruct::Builder message, std::mt19937_64& random) {
  std::vector<capnp::DynamicStruct::Builder> structs;
  collect(message, structs);
  auto target = structs[random() % structs.size()];
  const auto fields = target.getSchema().getNonUnionFields();
  if (fields.size() == 0) {
    return;
  }
  const auto field = fields[static_cast<unsigned>(random() % fields.size())];
  if (field.getProto().isGroup()) {
    return;
  }
  const auto type = field.getType();
  const std::uint64_t values[] = {0,          1,          127,        4095,       4096,
                                  UINT32_MAX, INT32_MAX,  INT64_MAX,  UINT64_MAX, 1ULL << 63,
                                  65,         0x80000000, 0xfffff000, 7};
  const std::uint64_t value = values[random() % std::size(values)];
  using capnp::schema::Type;
  switch (type.which()) {
  case Type::BOOL:
    target.set(field, value % 2 == 0);
    break;
  case Type::INT32:
    target.set(field, static_cast<std::int32_t>(value));
    break;
  case Type::INT64:
    target.set(field, static_cast<std::int64_t>(value));
    break;
  case Type::UINT32:
    target.set(field, static_cast<std::uint32_t>(value));
    break;
  case Type::UINT64:
    target.set(field, value);
    break;
  case Type::DATA: {
    const std::size_t sizes[] = {0, 1, 15, 16, 24, 68, 104, 128, 216, 288, 528, 536, 832};
    std::string bytes(sizes[random() % std::size(sizes)], '\0');
    for (char& c : bytes) {
      c = static_cast<char>(random() % 3 == 0 ? 0 : random());
    }
    target.set(field, as_data(bytes));
    break;
  }
  default:
    if (target.has(field) && random() % 4 == 0) {
      target.clear(field);
    }
  }
}

// What is upgraded is valid, and goes back equal; what cannot be is refused, and nothing is
// written.
RC_GTEST_PROP(LegacyProperty, WhatIsUpgradedIsValidAndGoesBack, ()) {
  const test::TempDir directory;
  const auto seed = *rc::gen::arbitrary<std::uint64_t>();
  Maker(seed).make(directory.file("trace"));
  std::string metadata;
  for (const auto& entry : fs::directory_iterator(directory.file("trace"))) {
    if (entry.is_directory()) {
      metadata = (entry.path() / "metadata").string();
    }
  }
  std::mt19937_64 random(seed);
  test::change_packed<legacy::rr2025::CheckpointInfo>(
      metadata, [&](legacy::rr2025::CheckpointInfo::Builder info) {
        calm(info, info.getCloneCompletion().getAddressSpaces()[0].getArch());
        for (auto space : info.getCloneCompletion().getAddressSpaces()) {
          calm_tasks(space);
          calm_memory(space);
        }
        for (std::uint64_t changes = random() % 3; changes > 0; --changes) {
          disturb(info, random);
        }
      });
  const std::string store = directory.file("store");
  try {
    const LegacyTrace trace = LegacyTrace::open(directory.file("trace"));
    RC_ASSERT(trace.entries().size() == 1u);
    if (trace.entries()[0].problem) {
      throw *trace.entries()[0].problem;
    }
    const LegacyCheckpoint legacy = trace.load(trace.entries()[0]);
    const PublishedImport published = publish_import(legacy, store, {});
    const ValidationReport report = validate_file(published.path);
    for (const Finding& finding : report.findings) {
      if (finding.severity == Severity::kError) {
        RC_FAIL(std::string(finding.code) + " " + finding.path + ": " + finding.message);
      }
    }
    const std::string copy = directory.file("copy");
    fs::create_directories(copy);
    for (const char* name : {"version", "events", "data", "mmaps", "tasks"}) {
      fs::copy_file(directory.file("trace") + "/" + name, copy + "/" + name);
    }
    export_rr2025(CheckpointReader::open(published.path), copy);
    const LegacyTrace again = LegacyTrace::open(copy);
    const LegacyCheckpoint reread = again.load(again.entries()[0]);
    RC_ASSERT(
        compat::first_difference(legacy.impl().message.root(), reread.impl().message.root()) == "");
    RC_TAG("upgraded");
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal || error.file().empty()) {
      RC_FAIL(error.what()); // blames nobody, or this program
    }
    const bool nothing_there = !fs::exists(store) || fs::is_empty(store);
    RC_ASSERT(nothing_there);
    RC_TAG(error.diagnostic().empty() ? "refused" : "refused " + error.diagnostic());
  }
}

} // namespace
} // namespace rrpcp
