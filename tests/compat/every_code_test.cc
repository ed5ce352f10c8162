// Each code about rr's checkpoints and traces is given for a defect made on purpose.

#include "compat/golden.h"
#include "legacy/legacy_message.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/compat/validate.h"
#include "rrpcp/legacy/rr_2025.capnp.h"
#include "support/checkpoint_bytes.h"

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <set>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;
using Codes = std::set<std::string>;

Codes codes_of(const std::vector<Finding>& findings) {
  Codes codes;
  for (const Finding& finding : findings) {
    codes.emplace(finding.code);
  }
  return codes;
}

// Everything that is said about the checkpoints of a trace while they are found, read and imported.
Codes codes_of_trace(const test::Golden& golden) {
  const LegacyTrace trace = LegacyTrace::open(golden.trace());
  Codes codes = codes_of(trace.findings());
  for (const LegacyEntry& entry : trace.entries()) {
    if (entry.problem) {
      codes.insert(entry.problem->diagnostic());
      continue;
    }
    const LegacyCheckpoint legacy = trace.load(entry);
    codes.merge(codes_of(legacy.findings()));
    if (legacy.importable()) {
      codes.merge(codes_of(publish_import(legacy, golden.file("store")).findings));
    }
  }
  return codes;
}

// The codes after `damage` was done to a golden, given its trace's path.
Codes after(const char* name, const std::function<void(const std::string&)>& damage) {
  const test::Golden golden(name);
  damage(golden.trace());
  return codes_of_trace(golden);
}

constexpr const char* kPlain = "rr-2025/tiny_ticks";
constexpr const char* kIndexed = "rr-2024/tiny_threads";
constexpr const char* kForked = "rr-2025/tiny_fork";

void cut_in_half(const std::string& path) {
  const auto bytes = test::read_file(path);
  fs::remove(path);
  test::write_file(path, std::span(bytes).first(bytes.size() / 2));
}

fs::path page_file_of(const std::string& trace, const std::string& part = "-0x") {
  for (const auto& checkpoint : fs::directory_iterator(trace)) {
    if (checkpoint.is_directory() &&
        checkpoint.path().filename().string().starts_with("checkpoint-")) {
      for (const auto& file : fs::directory_iterator(checkpoint.path())) {
        if (file.path().filename().string().find(part) != std::string::npos) {
          return file.path();
        }
      }
    }
  }
  throw std::runtime_error("no page file");
}

void change_message(const std::string& trace,
                    const std::function<void(legacy::rr2025::CheckpointInfo::Builder)>& change) {
  test::change_packed<legacy::rr2025::CheckpointInfo>(trace + "/checkpoint-840/metadata", change);
}

// What the validator says about the checkpoint of tiny_fork at event 244 after a change of it, or
// of the trace.
Codes against_trace(const std::function<void(schema::State::Builder)>& change,
                    const std::function<void(const std::string&)>& damage = {}) {
  const test::Golden golden(kForked);
  const LegacyTrace trace = LegacyTrace::open(golden.trace());
  const CheckpointReader imported =
      test::import_to(trace.load(test::entry_at(trace, 244)), golden.file("c.pcp"));
  const CheckpointReader changed = test::rewrite(imported, golden.file("changed.pcp"), change);
  if (damage) {
    damage(golden.trace());
  }
  return codes_of(TraceValidator(golden.trace(), {changed.header().event}).check(changed));
}

void nothing(schema::State::Builder) {}

void change_program(const std::string& trace,
                    const std::function<void(std::vector<std::byte>&)>& change) {
  const std::string program = trace + "/mmap_hardlink_3_tiny_fork";
  auto bytes = test::read_file(program);
  fs::remove(program);
  change(bytes);
  test::write_file(program, bytes);
}

const std::map<std::string, std::function<Codes()>> kDefects = {
    {"legacy.incomplete",
     [] {
       return after(kPlain, [](const std::string& trace) {
         test::write_file(trace + "/checkpoint-840/metadata", {});
       });
     }},
    {"legacy.message",
     [] {
       return after(kPlain, [](const std::string& trace) {
         cut_in_half(trace + "/checkpoint-840/metadata");
       });
     }},
    {"legacy.invariant",
     [] {
       return after(kPlain, [](const std::string& trace) {
         change_message(trace, [](auto info) { info.getExplicit().setTime(0); });
       });
     }},
    {"legacy.index",
     [] {
       return after(kIndexed,
                    [](const std::string& trace) { cut_in_half(trace + "/checkpoints"); });
     }},
    {"legacy.generation-unknown",
     [] {
       return after(kIndexed, [](const std::string& trace) {
         using Index = legacy::rr2024::PersistentCheckpoints;
         test::change_packed<Index>(trace + "/checkpoints", [](Index::Builder index) {
           index.getCheckpoints()[0].setNextSerial(0);
         });
       });
     }},
    {"legacy.orphan",
     [] {
       return after(kIndexed, [](const std::string& trace) { fs::remove(trace + "/checkpoints"); });
     }},
    {"legacy.name",
     [] {
       return after(kPlain, [](const std::string& trace) {
         fs::rename(trace + "/checkpoint-840", trace + "/checkpoint-841");
       });
     }},
    {"legacy.page-path",
     [] {
       return after(kPlain, [](const std::string& trace) {
         change_message(trace, [](auto info) {
           compat::set_contents_path(info.getCloneCompletion()
                                         .getAddressSpaces()[0]
                                         .getProcessSpace()
                                         .getVirtualAddressSpace()[2],
                                     "/etc/passwd");
         });
       });
     }},
    {"legacy.page-symlink",
     [] {
       return after(kPlain, [](const std::string& trace) {
         const fs::path file = page_file_of(trace);
         fs::rename(file, trace + "/elsewhere");
         fs::create_symlink(trace + "/elsewhere", file);
       });
     }},
    {"legacy.page-missing",
     [] {
       return after(kPlain, [](const std::string& trace) { fs::remove(page_file_of(trace)); });
     }},
    {"legacy.page-type",
     [] {
       return after(kPlain, [](const std::string& trace) {
         const fs::path file = page_file_of(trace);
         fs::remove(file);
         fs::create_directory(file);
       });
     }},
    {"legacy.page-size",
     [] {
       return after(kPlain, [](const std::string& trace) { cut_in_half(page_file_of(trace)); });
     }},
    {"legacy.elsewhere", [] { return after("rr-2025/moved-trace", [](const std::string&) {}); }},
    {"legacy.shared-differs",
     [] {
       return after(kForked, [](const std::string& trace) {
         const fs::path file = page_file_of(trace, "memfd:tiny_fork");
         auto bytes = test::read_file(file);
         bytes[100] ^= std::byte{1};
         test::write_file(file, bytes);
       });
     }},
    {"rr-trace.cursor",
     [] {
       return after(kPlain, [](const std::string& trace) { cut_in_half(trace + "/events"); });
     }},
    {"rr-trace.uuid",
     [] {
       return against_trace(
           [](schema::State::Builder state) { state.getTrace().getUuid()[0] ^= 1; });
     }},
    {"rr-trace.format",
     [] {
       return against_trace(
           [](schema::State::Builder state) { state.getTrace().setFormatVersion(84); });
     }},
    {"rr-trace.stream",
     [] {
       return against_trace(nothing,
                            [](const std::string& trace) { cut_in_half(trace + "/mmaps"); });
     }},
    {"rr-trace.event-missing",
     [] {
       return against_trace(
           [](schema::State::Builder state) { state.getPosition().getClone().setEvent(5000); });
     }},
    {"rr-trace.event-kind",
     [] {
       // The last frame of the trace is an exit.
       return against_trace(
           [](schema::State::Builder state) { state.getPosition().getClone().setEvent(608); });
     }},
    {"rr-trace.cursor-wrong",
     [] {
       return against_trace([](schema::State::Builder state) {
         state.getTrace().getCursor()[0].setDecodedOffset(1);
       });
     }},
    {"rr-trace.task-missing",
     [] {
       return against_trace(
           [](schema::State::Builder state) { state.getTasks()[2].setTid(99999); });
     }},
    {"rr-trace.task-unknown",
     [] {
       return against_trace(
           [](schema::State::Builder state) { state.getTasks()[1].setTid(99999); });
     }},
    {"rr-trace.ticks",
     [] {
       return against_trace(
           [](schema::State::Builder state) { state.getTasks()[1].getReplay().setTicks(1); });
     }},
    {"rr-trace.registers",
     [] {
       return against_trace([](schema::State::Builder state) {
         state.getTasks()[2].getRegisters()[0].getData()[8] ^= 1;
       });
     }},
    {"rr-trace.mapping",
     [] {
       return against_trace([](schema::State::Builder state) {
         for (auto mapping : state.getAddressSpaces()[0].getMappings()) {
           if (mapping.getStart() == 0x401000) {
             mapping.getRr().setFileOffset(mapping.getRr().getFileOffset() + 4096);
           }
         }
       });
     }},
    {"rr-trace.backing-missing",
     [] {
       return against_trace(nothing, [](const std::string& trace) {
         fs::remove(trace + "/mmap_hardlink_3_tiny_fork");
       });
     }},
    {"rr-trace.backing-size",
     [] {
       return against_trace(nothing, [](const std::string& trace) {
         change_program(trace, [](auto& bytes) { bytes.push_back(std::byte{0}); });
       });
     }},
    {"rr-trace.backing-content",
     [] {
       return against_trace(nothing, [](const std::string& trace) {
         change_program(trace, [](auto& bytes) { bytes[0x1000] ^= std::byte{1}; });
       });
     }},
};

class EveryCode : public testing::TestWithParam<std::string> {};

TEST_P(EveryCode, IsGivenForItsDefect) {
  EXPECT_TRUE(kDefects.at(GetParam())().contains(GetParam()));
}

std::vector<std::string> defects() {
  std::vector<std::string> codes;
  for (const auto& [code, make] : kDefects) {
    codes.push_back(code);
  }
  return codes;
}

INSTANTIATE_TEST_SUITE_P(Codes, EveryCode, testing::ValuesIn(defects()),
                         [](const testing::TestParamInfo<std::string>& code) {
                           std::string name = code.param;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return std::isalnum(c) == 0; }, '_');
                           return name;
                         });

TEST(EveryCodeHas, ADefect) {
  Codes known;
  for (const DiagnosticGroup group : {DiagnosticGroup::kLegacy, DiagnosticGroup::kRrTrace}) {
    for (const Diagnostic& diagnostic : diagnostics(group)) {
      known.emplace(diagnostic.code);
    }
  }
  const std::vector<std::string> made = defects();
  EXPECT_EQ(known, Codes(made.begin(), made.end()));
}

// Nothing is said about what is as it should be, so that the above says something.
TEST(EveryCodeHas, NoDefectInAGoodTrace) {
  EXPECT_EQ(after(kPlain, [](const std::string&) {}), Codes{"legacy.elsewhere"});
  EXPECT_EQ(after(kIndexed, [](const std::string&) {}), Codes{"legacy.elsewhere"});
  EXPECT_EQ(against_trace(nothing), Codes{});
}

} // namespace
} // namespace rrpcp
