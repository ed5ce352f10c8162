// pcp-inspect diff: says what differs, and nothing else.

#include "support/checkpoint_bytes.h"
#include "support/random_message.h"
#include "support/temp_dir.h"
#include "tools/run_command.h"
#include "tools/sample.h"

#include <capnp/dynamic.h>
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <random>
#include <unistd.h>

namespace rrpcp::test {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

class Diff : public ::testing::Test {
protected:
  CommandResult diff(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {RRPCP_INSPECT, "diff"});
    return run_command(arguments);
  }

  // The difference between a sample and one that `change` was applied to.
  CommandResult after(const std::function<void(schema::State::Builder)>& change) {
    SampleOptions options;
    options.change = change;
    return between({}, options);
  }

  CommandResult between(const SampleOptions& a, const SampleOptions& b) {
    return diff({"--all", write_rich_sample(dir_.path(), "a.pcp", a),
                 write_rich_sample(dir_.path(), "b.pcp", b)});
  }

  TempDir dir_;
};

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> result;
  std::size_t start = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', start)) {
    result.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return result;
}

void set_register(schema::Task::Builder task, unsigned set, std::size_t offset,
                  std::uint64_t value) {
  auto data = task.getRegisters()[set].getData();
  std::memcpy(data.begin() + offset, &value, sizeof value);
}

TEST_F(Diff, EqualStatesAreEqualHoweverTheyAreStored) {
  SampleOptions other;
  other.writer.profile = Profile::kRaw;
  other.creator = "somebody else";
  const CommandResult result = between({}, other);
  EXPECT_EQ(result.code, 0) << result.out << result.err;
  EXPECT_EQ(result.out, "equal: the same state and memory\n");
  const CommandResult provenance = diff({"--provenance", dir_.file("a.pcp"), dir_.file("b.pcp")});
  EXPECT_EQ(provenance.code, 1);
  EXPECT_EQ(provenance.out, "provenance: creator 'sample' vs 'somebody else'\n");
  EXPECT_EQ(diff({"--quiet", dir_.file("a.pcp"), dir_.file("b.pcp")}).out, "");
}

TEST_F(Diff, RegistersAreNamed) {
  const CommandResult result = after([](schema::State::Builder state) {
    set_register(state.getTasks()[1], 0, 10 * 8, 0xdead);
    set_register(state.getTasks()[1], 2, 1088 + 8, 5); // k1
    state.getTasks()[2].getRegisters()[3].getData()[7] = 0xff;
  });
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(
      lines(result.out),
      (std::vector<std::string>{
          "task 101: rax 0x2 vs 0xdead", "task 101: NT_X86_XSTATE k1 0x2222222222222222 vs 0x5",
          "task 200: note 0x999 data 40 bytes, at 7: 0a0b0c0d0e0f10111213141516171819 vs 40 "
          "bytes, at 7: ff0b0c0d0e0f10111213141516171819"}));
}

TEST_F(Diff, BytesOfARegisterSetThatBelongToNoRegisterCountToo) {
  const CommandResult result = after([](schema::State::Builder state) {
    state.getTasks()[0].getRegisters()[1].getData()[500] = 1; // FXSAVE, reserved
  });
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.out, HasSubstr("task 100: NT_PRFPREG data 512 bytes, at 500:"));
}

TEST_F(Diff, MemoryIsComparedByteByByte) {
  SampleOptions other;
  other.heap = sample_heap();
  other.heap[0x10] ^= std::byte{0xff};
  other.heap[0x12] ^= std::byte{0xff};
  other.heap[0x3800] = std::byte{7}; // in the page of zeros
  const CommandResult result = between({}, other);
  EXPECT_EQ(result.code, 1);
  const auto heap = sample_heap();
  const auto found = lines(result.out);
  // The stack shows the same pages.
  ASSERT_EQ(found.size(), 4u) << result.out;
  EXPECT_THAT(found[0], HasSubstr("memory 0x600010-0x600013 ([heap]): 2 bytes differ of 3: "));
  EXPECT_EQ(found[1],
            "address space 0: memory 0x603800-0x603801 ([heap]): 1 byte differs: 00 vs 07");
  EXPECT_THAT(found[2], HasSubstr("memory 0x7ffffff00010-0x7ffffff00013 ([stack])"));
  EXPECT_THAT(found[3], HasSubstr("memory 0x7ffffff03800-0x7ffffff03801 ([stack])"));
}

TEST_F(Diff, ManyRangesAreCutShortUnlessAllAreWanted) {
  SampleOptions other;
  other.heap = sample_heap();
  for (std::size_t i = 0; i < 20; ++i) {
    other.heap[0x5000 + i * 64] ^= std::byte{1};
  }
  const CommandResult all = between({}, other);
  EXPECT_EQ(lines(all.out).size(), 20u);
  const CommandResult some = diff({dir_.file("a.pcp"), dir_.file("b.pcp")});
  ASSERT_EQ(lines(some.out).size(), 9u) << some.out;
  EXPECT_EQ(lines(some.out)[8],
            "address space 0: memory and 12 more ranges, in all 20 bytes that differ there");
}

TEST_F(Diff, SharedMemoryIsComparedOnce) {
  const CommandResult result = after([](schema::State::Builder state) {
    // Its second page becomes a page of the heap.
    auto object = state.getMemoryObjects()[1];
    const std::uint64_t first = object.getRuns()[0].getFirst();
    set_runs(object.initRuns(2),
             {{schema::RunKind::STREAM, 1, first}, {schema::RunKind::ZERO, 1, 0}});
  });
  EXPECT_EQ(result.code, 1);
  for (const std::string& line : lines(result.out)) {
    EXPECT_THAT(line, HasSubstr("memory object 1: bytes 0x1"));
    EXPECT_THAT(line, HasSubstr("(its byte 0x0 is mapped at 0x700000)"));
  }
}

TEST_F(Diff, MappingsAreMatchedByAddress) {
  const CommandResult result = after([](schema::State::Builder state) {
    auto mappings = state.getAddressSpaces()[0].getMappings();
    mappings[1].setProtection(1);
    mappings[4].setStart(kSampleGuard + 4096);
  });
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(lines(result.out),
            (std::vector<std::string>{
                "address space 0: mappings 0x600000-0x608000 rw-p [heap] protection 3 vs 1",
                "address space 0: mappings 0x7e0000000000-0x7f0000000000 ---p only in A",
                "address space 0: mappings 0x7e0000001000-0x7f0000000000 ---p only in B"}));
}

TEST_F(Diff, DescriptorsSignalsAndSessionAreCompared) {
  const CommandResult result = after([](schema::State::Builder state) {
    state.getOpenFiles()[0].setOffset(99);
    state.getOpenFiles()[3].getEventfd().setCount(8);
    state.getFileTables()[0].getDescriptors()[10].setFd(21);
    state.getTasks()[1].setSignalMask(2);
    state.getTasks()[1].setName(capnp::Data::Reader(reinterpret_cast<const kj::byte*>("new"), 3));
    state.getSignalHandlerTables()[0].getActions()[0].setHandler(0x400300);
    state.getSession().getStatistics().setTicksProcessed(5);
    state.getPosition().getClone().setTicks(123456);
    state.getPosition().getForwardTo().getRr().setStepKey(4);
    state.getFileSystemContexts()[0].setUmask(077);
    state.getProcesses()[0].getPendingSignals()[0].setSignal(12);
  });
  EXPECT_EQ(result.code, 1);
  for (const char* line :
       {"position: forward to rr step key 3 vs 4\n",
        "session: statistics ticks processed 999999 vs 5\n",
        "process 100: pending signals #1 signal 10 vs 12\n",
        "task 101: name 'work\\x1b[31m' vs 'new'\n",
        "task 101: signal mask SIGINT SIGTERM vs SIGINT\n",
        "file table 0: descriptors 20 only in A\n", "file table 0: descriptors 21 only in B\n",
        "file system context 0: umask 18 vs 63\n",
        "signal handlers 0: actions SIGINT handler 0x400200 vs 0x400300\n",
        "open file 0: offset 1234 vs 99\n", "open file 3: eventfd count 7 vs 8\n"}) {
    EXPECT_THAT(result.out, HasSubstr(line));
  }
  EXPECT_EQ(lines(result.out).size(), 11u) << result.out;
}

TEST_F(Diff, AnotherOrderOfTablesIsNoDifference) {
  const CommandResult result = after([](schema::State::Builder state) {
    // Open files 1 and 2 change places, and so do the file tables.
    capnp::MallocMessageBuilder copies;
    auto first = copies.getOrphanage().newOrphanCopy(state.getOpenFiles()[1].asReader());
    auto files = state.getOpenFiles();
    files.setWithCaveats(1, state.getOpenFiles()[2].asReader());
    files.setWithCaveats(2, first.getReader());
    auto descriptors = state.getFileTables()[0].getDescriptors();
    descriptors[1].setOpenFile(2);
    descriptors[2].setOpenFile(1);
    auto table = copies.getOrphanage().newOrphanCopy(state.getFileTables()[0].asReader());
    auto tables = state.getFileTables();
    tables.setWithCaveats(0, state.getFileTables()[1].asReader());
    tables.setWithCaveats(1, table.getReader());
    for (auto task : state.getTasks()) {
      task.setFileTable(1 - task.getFileTable());
    }
  });
  EXPECT_EQ(result.code, 0) << result.out;
}

TEST_F(Diff, OtherSharingIsADifference) {
  const CommandResult result =
      after([](schema::State::Builder state) { state.getTasks()[1].setFileTable(1); });
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.out, HasSubstr("task 101: file table is shared with others than"));
}

TEST_F(Diff, TasksThatCameAndWentAreNamed) {
  const CommandResult result =
      after([](schema::State::Builder state) { state.getTasks()[1].setTid(102); });
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(lines(result.out), (std::vector<std::string>{"task 101 work\\x1b[31m only in A",
                                                         "task 102 work\\x1b[31m only in B"}));
}

TEST_F(Diff, AsJsonItHasPathsAndValues) {
  SampleOptions other;
  other.heap = sample_heap();
  other.heap[0x5000] ^= std::byte{1};
  other.change = [](schema::State::Builder state) {
    set_register(state.getTasks()[0], 0, 10 * 8, 0xffffffffffffffff);
  };
  between({}, other);
  const CommandResult result = diff({"--json", dir_.file("a.pcp"), dir_.file("b.pcp")});
  EXPECT_EQ(result.code, 1);
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json["equal"], false);
  ASSERT_EQ(json["differences"].size(), 2u) << result.out;
  EXPECT_EQ(json["differences"][0]["path"], "tasks[100].registers[1].rax");
  EXPECT_EQ(json["differences"][0]["b"], std::to_string(UINT64_MAX));
  EXPECT_EQ(json["differences"][1]["kind"], "memory");
  EXPECT_EQ(json["differences"][1]["start"], std::to_string(kSampleHeap + 0x5000));
  EXPECT_EQ(json["differences"][1]["differentBytes"], "1");
}

TEST_F(Diff, TheSameFileContentIsEqualToItsCopy) {
  // One has the program's pages in the file, the other all of them stored.
  SampleOptions embedded;
  embedded.change = [](schema::State::Builder state) {
    auto mapping = state.getAddressSpaces()[0].getMappings()[0];
    const std::uint64_t changed = mapping.getRuns()[1].getFirst();
    set_runs(mapping.initRuns(3), {{schema::RunKind::BACKING, 1, 0},
                                   {schema::RunKind::STREAM, 1, changed},
                                   {schema::RunKind::BACKING, 2, 0}});
  };
  EXPECT_EQ(between({}, embedded).code, 0);
}

TEST_F(Diff, WhatCannotBeComparedIsTrouble) {
  SampleOptions other;
  // The first page of the program is a page of zeros in B, and in A that of a file that is gone.
  other.change = [](schema::State::Builder state) {
    state.getAddressSpaces()[0].getMappings()[0].getRuns()[0].setKind(schema::RunKind::ZERO);
  };
  write_rich_sample(dir_.path(), "a.pcp");
  write_rich_sample(dir_.path(), "b.pcp", other);
  ASSERT_EQ(::unlink(dir_.file("program").c_str()), 0);
  const CommandResult result = diff({dir_.file("a.pcp"), dir_.file("b.pcp")});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("could not be compared"));
  EXPECT_THAT(result.err, HasSubstr("program"));
  const CommandResult json = diff({"--json", dir_.file("a.pcp"), dir_.file("b.pcp")});
  EXPECT_EQ(Json::parse(json.out)["equal"], nullptr);
  EXPECT_EQ(diff({dir_.file("a.pcp"), dir_.file("none")}).code, 2);
}

// Every place in a message where a value can be changed.
class Leaves {
public:
  explicit Leaves(capnp::DynamicStruct::Builder root) { walk(root, ""); }

  std::size_t size() const { return changes_.size(); }
  const std::string& name(std::size_t i) const { return changes_[i].first; }
  void change(std::size_t i) const { changes_[i].second(); }

private:
  using Struct = capnp::DynamicStruct::Builder;

  // Changes here are none of the state: where pages are in the stream, and references, whose
  // numbers alone mean nothing.
  static bool is_excluded(const std::string& path) {
    static const char* const kExcluded[] = {
        ".pageStream",        ".runs",           ".process",  ".addressSpace", ".fileTable",
        ".fileSystemContext", ".signalHandlers", ".openFile", ".executable",   ".object",
        ".machine",           ".position",       ".trace"};
    return std::any_of(std::begin(kExcluded), std::end(kExcluded), [&](const char* part) {
      const std::string text = part;
      return path.ends_with(text) || path.find(text + ".") != std::string::npos ||
             path.find(text + "[") != std::string::npos;
    });
  }

  void walk(Struct value, const std::string& path) {
    for (const auto field : value.getSchema().getNonUnionFields()) {
      visit(value, field, path);
    }
    KJ_IF_MAYBE (arm, value.which()) {
      visit(value, *arm, path);
    }
  }

  void visit(Struct value, capnp::StructSchema::Field field, const std::string& parent) {
    const std::string path = parent + "." + field.getProto().getName().cStr();
    if (is_excluded(path)) {
      return;
    }
    if (field.getProto().isGroup()) {
      walk(value.get(field).as<capnp::DynamicStruct>(), path);
      return;
    }
    const auto type = field.getType();
    if (type.isStruct()) {
      if (value.has(field)) {
        walk(value.get(field).as<capnp::DynamicStruct>(), path);
      } else {
        changes_.emplace_back(path, [=]() mutable { value.init(field); });
      }
    } else if (type.isList() && type.asList().getElementType().isStruct()) {
      auto list = value.get(field).as<capnp::DynamicList>();
      for (unsigned i = 0; i < list.size(); ++i) {
        walk(list[i].as<capnp::DynamicStruct>(), path + "[" + std::to_string(i) + "]");
      }
    } else if (!type.isVoid()) {
      changes_.emplace_back(path, [=]() mutable { change_value(value, field); });
    }
  }

  static void change_value(Struct value, capnp::StructSchema::Field field) {
    const auto type = field.getType();
    if (type.isBool()) {
      value.set(field, !value.get(field).as<bool>());
    } else if (type.isText()) {
      value.set(field, "changed");
    } else if (type.isData()) {
      const kj::byte bytes[] = {'c', 'h'};
      value.set(field, capnp::Data::Reader(bytes, 2));
    } else if (type.isEnum()) {
      const auto raw = value.get(field).as<capnp::DynamicEnum>().getRaw();
      value.set(field, capnp::DynamicEnum(type.asEnum(), static_cast<std::uint16_t>(raw ^ 1)));
    } else if (type.isList()) {
      value.init(field, value.get(field).as<capnp::DynamicList>().size() + 1);
    } else {
      // Numbers: the lowest bit, which fits into every width.
      const auto old = value.get(field).asReader();
      if (old.getType() == capnp::DynamicValue::INT) {
        value.set(field, old.as<std::int64_t>() ^ 1);
      } else {
        value.set(field, old.as<std::uint64_t>() ^ 1);
      }
    }
  }

  std::vector<std::pair<std::string, std::function<void()>>> changes_;
};

// A state with something in every field, and memory that is there.
void fill_everything(schema::State::Builder state, unsigned seed) {
  std::mt19937_64 random(seed);
  capnp::MallocMessageBuilder scratch;
  auto filled = scratch.initRoot<schema::State>();
  fill_at_random(filled, random);
  state.setProducer(filled.asReader().getProducer());
  state.setProcesses(filled.asReader().getProcesses());
  state.setSession(filled.asReader().getSession());
  state.setCpu(filled.asReader().getCpu());
  state.setExtensions(filled.asReader().getExtensions());
  state.setFileSystemContexts(filled.asReader().getFileSystemContexts());
  state.setSignalHandlerTables(filled.asReader().getSignalHandlerTables());
}

class EveryField : public Diff, public ::testing::WithParamInterface<unsigned> {};

TEST_P(EveryField, ChangedAloneIsFound) {
  SampleOptions base;
  base.machine = 183;
  const unsigned seed = GetParam();
  base.change = [seed](schema::State::Builder state) { fill_everything(state, seed); };
  const std::string a = write_rich_sample(dir_.path(), "a.pcp", base);
  ASSERT_EQ(diff({a, a}).code, 0);
  std::size_t leaves = 0;
  base.change = [&](schema::State::Builder state) {
    fill_everything(state, seed);
    leaves = Leaves(state).size();
  };
  write_rich_sample(dir_.path(), "b.pcp", base);
  ASSERT_GT(leaves, 300u);
  std::mt19937 random(seed);
  for (unsigned i = 0; i < 40; ++i) {
    const std::size_t chosen = random() % leaves;
    std::string name;
    base.change = [&](schema::State::Builder state) {
      fill_everything(state, seed);
      const Leaves all(state);
      name = all.name(chosen);
      all.change(chosen);
    };
    const CommandResult result = diff({a, write_rich_sample(dir_.path(), "b.pcp", base)});
    EXPECT_EQ(result.code, 1) << name << "\n" << result.out << result.err;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, EveryField, ::testing::Range(1u, 4u));

} // namespace
} // namespace rrpcp::test
