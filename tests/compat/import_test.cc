// Real checkpoints of every generation: imported, verified, judged, written back and imported
// again.

#include "compat/golden.h"
#include "legacy/checkpoint_impl.h"
#include "legacy/compare_messages.h"
#include "legacy/registers.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/compat/validate.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/store.h"
#include "support/checkpoint_bytes.h"

#include <algorithm>
#include <capnp/message.h>
#include <cctype>
#include <elf.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;

// rr's ExtraRegisters of AArch64 have 528 bytes, or 536 where the trace has TPIDR_EL0.
TEST(Registers, Aarch64RecordsWithTpidrComeBackWhole) {
  for (const std::size_t size : {528u, 536u}) {
    SCOPED_TRACE(size);
    std::vector<capnp::byte> general(288), extra(size);
    for (std::size_t i = 0; i < extra.size(); ++i) {
      extra[i] = static_cast<capnp::byte>(i);
    }
    general[280] = 0x39;
    const auto sets = compat::to_register_sets(EM_AARCH64, {general.data(), general.size()},
                                               {extra.data(), extra.size()});
    const auto of_type = [&](std::uint32_t type) {
      return std::find_if(sets.begin(), sets.end(),
                          [&](const auto& set) { return set.note_type == type; });
    };
    ASSERT_NE(of_type(NT_PRFPREG), sets.end());
    EXPECT_EQ(of_type(NT_PRFPREG)->bytes.size(), 528u);
    EXPECT_EQ(of_type(NT_ARM_TLS) != sets.end(), size == 536);
    capnp::MallocMessageBuilder message;
    auto task = message.initRoot<schema::Task>();
    compat::set_register_sets(task.initRegisters(static_cast<unsigned>(sets.size())), sets);
    const auto records = compat::from_register_sets(EM_AARCH64, task.asReader().getRegisters());
    EXPECT_TRUE(std::equal(records.extra_registers.begin(), records.extra_registers.end(),
                           reinterpret_cast<const std::byte*>(extra.data()),
                           reinterpret_cast<const std::byte*>(extra.data()) + extra.size()));
    EXPECT_TRUE(std::equal(records.registers.begin(), records.registers.end(),
                           reinterpret_cast<const std::byte*>(general.data()),
                           reinterpret_cast<const std::byte*>(general.data()) + general.size()));
  }
}

class GoldenTest : public testing::TestWithParam<const char*> {
protected:
  test::Golden golden_{GetParam()};
};

std::vector<std::byte> bytes_of(const fs::path& path) {
  return test::read_file(path.string());
}

std::string describe(const std::vector<Finding>& findings) {
  std::string all;
  for (const Finding& finding : findings) {
    all += std::string(finding.code) + " " + finding.path + ": " + finding.message + "\n";
  }
  return all;
}

TEST_P(GoldenTest, ImportsWithoutLossAndAgreesWithItsTrace) {
  const LegacyTrace trace = LegacyTrace::open(golden_.trace());
  ASSERT_GE(trace.entries().size(), 2u);
  EXPECT_TRUE(trace.findings().empty()) << describe(trace.findings());
  std::vector<std::int64_t> events;
  for (const LegacyEntry& entry : trace.entries()) {
    events.push_back(entry.event);
    EXPECT_EQ(generation_name(entry.generation), std::string(GetParam()).substr(0, 7));
  }
  const TraceValidator validator(golden_.trace(), events);
  for (const LegacyEntry& entry : trace.entries()) {
    SCOPED_TRACE(entry.name);
    const LegacyCheckpoint legacy = trace.load(entry);
    ASSERT_TRUE(legacy.importable()) << describe(legacy.findings());
    const CheckpointReader imported = test::import_to(legacy, golden_.file("imported.pcp"));
    EXPECT_NO_THROW(verify_import(legacy, imported));
    const std::vector<Finding> against_trace = validator.check(imported);
    EXPECT_TRUE(against_trace.empty()) << describe(against_trace);
    const ValidationReport report = validate_file(golden_.file("imported.pcp"));
    EXPECT_TRUE(report.findings.empty()) << describe(report.findings);
    EXPECT_EQ(imported.manifest().getProvenance().getConvertedFrom(),
              std::string(generation_name(entry.generation)).c_str());
    const HeaderFields fields = import_header(legacy);
    EXPECT_EQ(fields.event, imported.header().event);
    EXPECT_EQ(fields.position_kind, imported.header().position_kind);
    // Page files are whole mappings; the pages that matter are few.
    EXPECT_LT(imported.file_size(), legacy.stored_bytes() / 20);
  }
}

TEST_P(GoldenTest, WritesBackWhatItReadAndReadsItEqual) {
  const std::string original = golden_.trace();
  const std::string copy = golden_.file("copy");
  fs::copy(original, copy, fs::copy_options::recursive);
  test::remove_checkpoints(copy);
  const LegacyTrace trace = LegacyTrace::open(original);
  for (const LegacyEntry& entry : trace.entries()) {
    SCOPED_TRACE(entry.name);
    const LegacyCheckpoint legacy = trace.load(entry);
    const CheckpointReader imported = test::import_to(legacy, golden_.file("imported.pcp"));
    const ExportResult written = export_rr2025(imported, copy);
    EXPECT_EQ(written.directory, copy + "/checkpoint-" + std::to_string(entry.event));

    const LegacyTrace again = LegacyTrace::open(copy);
    const LegacyCheckpoint reread = again.load(test::entry_at(again, entry.event));
    ASSERT_TRUE(reread.importable());
    EXPECT_EQ(compat::first_difference(legacy.impl().message.root(), reread.impl().message.root()),
              "");
    std::set<std::string> names;
    for (const fs::directory_entry& file : fs::directory_iterator(entry.page_directory)) {
      const std::string name = file.path().filename().string();
      if (name != "metadata") {
        names.insert(name);
        EXPECT_TRUE(bytes_of(file.path()) == bytes_of(fs::path(written.directory) / name)) << name;
      }
    }
    EXPECT_EQ(written.page_files, names.size());

    const CheckpointReader twice = test::import_to(reread, golden_.file("twice.pcp"));
    bool flags_dropped = false;
    for (const auto& skipped : legacy.impl().message.monitoring_skipped) {
      flags_dropped = flags_dropped || !skipped.empty();
    }
    if (flags_dropped) {
      EXPECT_EQ(written.losses.size(), 1u);
      EXPECT_NE(imported.id(), twice.id());
    } else {
      EXPECT_TRUE(written.losses.empty()) << written.losses.front();
      EXPECT_EQ(imported.id(), twice.id());
    }
  }
}

TEST_P(GoldenTest, EmbedsFilesWhenAsked) {
  const LegacyTrace trace = LegacyTrace::open(golden_.trace());
  const LegacyCheckpoint legacy = trace.load(trace.entries().front());
  ImportOptions options;
  options.embed_files = true;
  const std::string path = golden_.file("embedded.pcp");
  write_file_atomically(path, true,
                        [&](Output& output) { import_checkpoint(legacy, output, options); });
  const CheckpointReader imported = CheckpointReader::open(path);
  for (const auto space : imported.state().getAddressSpaces()) {
    for (const auto mapping : space.getMappings()) {
      for (const auto run : mapping.getRuns()) {
        ASSERT_NE(run.getKind(), schema::RunKind::BACKING);
      }
    }
  }
  verify_import(legacy, imported);
}

INSTANTIATE_TEST_SUITE_P(
    Goldens, GoldenTest,
    testing::Values("rr-2022/tiny_ticks", "rr-2022/tiny_fork", "rr-2022/tiny_threads",
                    "rr-2024/tiny_ticks", "rr-2024/tiny_fork", "rr-2024/tiny_threads",
                    "rr-2025/tiny_ticks", "rr-2025/tiny_ticks_packed", "rr-2025/tiny_ticks_gdb",
                    "rr-2025/tiny_fork", "rr-2025/tiny_threads", "rr-2025/moved-trace",
                    "rr-2025/copied-trace"),
    [](const testing::TestParamInfo<const char*>& golden) {
      std::string name = golden.param;
      std::replace_if(
          name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
      return name;
    });

TEST(Import, StoresSharedMemoryOnce) {
  const test::Golden golden("rr-2025/tiny_fork");
  const LegacyTrace trace = LegacyTrace::open(golden.trace());
  const CheckpointReader imported =
      test::import_to(trace.load(test::entry_at(trace, 244)), golden.file("c.pcp"));
  const auto state = imported.state();
  ASSERT_EQ(state.getAddressSpaces().size(), 3u);
  std::map<schema::MemoryObject::Which, int> kinds;
  for (const auto object : state.getMemoryObjects()) {
    ++kinds[object.which()];
  }
  EXPECT_EQ(kinds[schema::MemoryObject::MEMFD], 1);
  EXPECT_EQ(kinds[schema::MemoryObject::SYSTEM_V], 1);
  // /dev/zero, and one page of thread locals of rr's for each process.
  EXPECT_EQ(kinds[schema::MemoryObject::ANONYMOUS], 1 + 3);
  // The program and librrpage.so.
  EXPECT_EQ(kinds[schema::MemoryObject::FILE], 2);
  std::map<std::uint32_t, int> users;
  for (const auto space : state.getAddressSpaces()) {
    for (const auto mapping : space.getMappings()) {
      if (mapping.getObject() != schema::NO_INDEX &&
          state.getMemoryObjects()[mapping.getObject()].isMemfd()) {
        EXPECT_EQ(mapping.getRuns().size(), 0u);
        ++users[mapping.getObject()];
      }
    }
  }
  ASSERT_EQ(users.size(), 1u);
  EXPECT_EQ(users.begin()->second, 3);
}

TEST(Import, KeepsContentsThatDifferBetweenProcesses) {
  const test::Golden golden("rr-2025/tiny_fork");
  const LegacyTrace trace = LegacyTrace::open(golden.trace());
  const LegacyEntry& entry = test::entry_at(trace, 244);
  // Another byte in one process's copy of the shared memory.
  bool changed = false;
  for (const fs::directory_entry& file : fs::directory_iterator(entry.page_directory)) {
    if (!changed && file.path().filename().string().find("memfd:tiny_fork") != std::string::npos) {
      std::fstream stream(file.path(), std::ios::in | std::ios::out | std::ios::binary);
      stream.seekp(100);
      stream.put('x');
      changed = true;
    }
  }
  ASSERT_TRUE(changed);
  const LegacyCheckpoint legacy = trace.load(entry);
  const std::string path = golden.file("c.pcp");
  ImportResult result;
  write_file_atomically(path, true,
                        [&](Output& output) { result = import_checkpoint(legacy, output); });
  EXPECT_TRUE(test::has_code(result.findings, "legacy.shared-differs"));
  verify_import(legacy, CheckpointReader::open(path));
}

TEST(Import, BacksCleanPagesByTheTracesFiles) {
  const test::Golden golden("rr-2025/tiny_ticks");
  const LegacyTrace trace = LegacyTrace::open(golden.trace());
  const CheckpointReader imported =
      test::import_to(trace.load(test::entry_at(trace, 840)), golden.file("c.pcp"));
  bool found = false;
  for (const auto object : imported.state().getMemoryObjects()) {
    if (object.isFile() && object.getFile().getDigests().size() != 0) {
      const auto file = object.getFile();
      EXPECT_EQ(file.getPathBase(), schema::PathBase::TRACE);
      const auto path = file.getPath();
      const std::string name(reinterpret_cast<const char*>(path.begin()), path.size());
      EXPECT_EQ(fs::file_size(fs::path(golden.trace()) / name), file.getSize());
      found = true;
    }
  }
  EXPECT_TRUE(found);
  EXPECT_NE(imported.state().getAddressSpaces()[0].getExecutable(), schema::NO_INDEX);
  // A changed file is refused by name.
  MemoryView view(imported, 0, {golden.trace(), true});
  std::byte byte;
  EXPECT_EQ(view.read(0x401000, std::span(&byte, 1)), 1u);
  const fs::path program = fs::path(golden.trace()) / "mmap_hardlink_3_tiny_ticks";
  fs::permissions(program, fs::perms::owner_write, fs::perm_options::add);
  std::fstream stream(program, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(0x1000);
  stream.put('x');
  stream.close();
  MemoryView later(imported, 0, {golden.trace(), true});
  try {
    later.read(0x401000, std::span(&byte, 1));
    FAIL() << "a changed file was used";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBackingFile);
    EXPECT_NE(std::string(error.what()).find("mmap_hardlink_3_tiny_ticks"), std::string::npos);
  }
}

TEST(Import, TellsPositionsInsideEvents) {
  const test::Golden golden("rr-2025/tiny_ticks_gdb");
  const LegacyTrace trace = LegacyTrace::open(golden.trace());
  for (const LegacyEntry& entry : trace.entries()) {
    const CheckpointReader imported = test::import_to(trace.load(entry), golden.file("c.pcp"));
    EXPECT_EQ(imported.header().position_kind, format::kPositionBetween);
    EXPECT_TRUE(imported.state().getSession().getRr().hasCurrentStep());
    EXPECT_EQ(imported.state().getSession().getRr().getCurrentStep().getAction(),
              schema::rr::ReplayStep::Action::ENTER_SYSTEM_CALL);
  }
}

TEST(Export, RefusesAForeignTrace) {
  const test::Golden golden("rr-2025/tiny_ticks");
  const test::Golden other("rr-2025/tiny_threads");
  const LegacyTrace trace = LegacyTrace::open(golden.trace());
  const CheckpointReader imported =
      test::import_to(trace.load(trace.entries().front()), golden.file("c.pcp"));
  try {
    export_rr2025(imported, other.trace());
    FAIL() << "it was written into another trace";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kForeignTrace);
  }
}

TEST(Export, LeavesAnExistingCheckpointAlone) {
  const test::Golden golden("rr-2025/tiny_ticks");
  const LegacyTrace trace = LegacyTrace::open(golden.trace());
  const LegacyEntry& entry = trace.entries().front();
  const CheckpointReader imported = test::import_to(trace.load(entry), golden.file("c.pcp"));
  const auto before = bytes_of(entry.path);
  try {
    export_rr2025(imported, golden.trace());
    FAIL() << "it was replaced";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kExists);
  }
  EXPECT_TRUE(before == bytes_of(entry.path));
}

TEST(Export, RefusesWhatTheGenerationCannotSay) {
  const test::Golden golden("rr-2025/tiny_fork");
  const LegacyTrace trace = LegacyTrace::open(golden.trace());
  const CheckpointReader imported =
      test::import_to(trace.load(test::entry_at(trace, 244)), golden.file("c.pcp"));
  const CheckpointReader changed =
      test::rewrite(imported, golden.file("changed.pcp"), [](schema::State::Builder state) {
        state.getAddressSpaces()[1].getRr().setSyscallBuffering(true);
        auto monitor = state.getFileTables()[0].getRr().getMonitors()[0];
        monitor.setKind(schema::rr::FileMonitor::Kind::PID_FD);
        monitor.initPidFd().setTid(1);
      });
  test::remove_checkpoints(golden.trace());
  try {
    export_rr2025(changed, golden.trace());
    FAIL() << "something was left out silently";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupportedState);
    EXPECT_NE(std::string(error.what()).find("system-call buffering"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("monitor"), std::string::npos);
  }
  EXPECT_TRUE(LegacyTrace::open(golden.trace()).entries().empty());
}

TEST(Rewrite, KeepsTheId) {
  const test::Golden golden("rr-2025/tiny_ticks");
  const LegacyTrace trace = LegacyTrace::open(golden.trace());
  const CheckpointReader imported =
      test::import_to(trace.load(trace.entries().front()), golden.file("c.pcp"));
  WriterOptions raw;
  raw.profile = Profile::kRaw;
  const PublishedImport rewritten = publish_rewrite(imported, golden.file("store"), raw);
  EXPECT_EQ(rewritten.id, imported.id());
  EXPECT_FALSE(rewritten.existed);
  EXPECT_GT(rewritten.bytes, imported.file_size());
  EXPECT_TRUE(publish_rewrite(imported, golden.file("store"), raw).existed);
}

} // namespace
} // namespace rrpcp
