// pcp-inspect on checkpoints with many kinds of content.

#include "base/scoped_fd.h"
#include "rrpcp/reader.h"
#include "rrpcp/store.h"
#include "support/checkpoint_bytes.h"
#include "support/random_message.h"
#include "support/temp_dir.h"
#include "tools/run_command.h"
#include "tools/sample.h"

#include <capnp/any.h>
#include <capnp/message.h>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

namespace rrpcp::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::ordered_json;

// How documents show an integer of 64 bits.
template <typename Number> std::string wide(Number number) {
  return std::to_string(number);
}

constexpr std::uint16_t kAarch64 = 183;

CommandResult inspect(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), RRPCP_INSPECT);
  return run_command(arguments);
}

Json inspect_json(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "--json");
  const CommandResult result = inspect(arguments);
  EXPECT_EQ(result.code, 0) << result.err;
  return Json::parse(result.out);
}

class Inspect : public ::testing::Test {
protected:
  std::string sample(const SampleOptions& options = {}, const std::string& name = "a.pcp") {
    return write_rich_sample(dir_.path(), name, options);
  }
  std::string arm_sample() {
    SampleOptions options;
    options.machine = kAarch64;
    return sample(options, "arm.pcp");
  }

  TempDir dir_;
};

std::size_t count_lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST_F(Inspect, InfoSaysWhatTheCheckpointIs) {
  const std::string path = sample();
  const CommandResult result = inspect({"info", path});
  EXPECT_EQ(result.code, 0) << result.err;
  for (const char* fact :
       {"event 1000, ticks 123456, to be replayed forward to a mark in event 1007",
        "a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf (org.rr-project.trace, version 85, with cursor)",
        "x86-64, pages of 4.0 KiB", "3 threads in 2 processes, 2 address spaces",
        "1.0 TiB in 8 mappings", "11 pages (44.0 KiB); 3 pages (12.0 KiB) stored once",
        "features: zstd", "org.example.extra version 2, 10 B, not critical",
        "sample on host (6.18.0), 2025-06-15 15:06:40 UTC", "3.40 ms"}) {
    EXPECT_THAT(result.out, HasSubstr(fact));
  }
  EXPECT_EQ(inspect({path}).out, result.out); // FILE alone is short for it
}

TEST_F(Inspect, InfoAsJson) {
  const Json info = inspect_json({"info", sample()});
  EXPECT_EQ(info["position"]["markEvent"], wide(1007));
  EXPECT_EQ(info["machine"]["name"], "x86-64");
  EXPECT_EQ(info["memory"]["storedPages"], wide(16));
  EXPECT_EQ(info["memory"]["filePages"], wide(3));
  EXPECT_EQ(info["memory"]["unstoredPages"], wide(4));
  EXPECT_EQ(info["memory"]["missingPages"], wide(0));
  EXPECT_EQ(info["pageStream"]["pages"], wide(11));
  EXPECT_EQ(info["pageStream"]["references"], wide(14));
  EXPECT_EQ(info["chunks"]["codecs"]["zstd"], wide(1));
  EXPECT_EQ(info["provenance"]["createdAt"], wide(1750000000123456789));
}

TEST_F(Inspect, SeveralFilesAreShownOneAfterTheOther) {
  const std::string good = sample();
  const std::string arm = arm_sample();
  const std::string missing = dir_.file("none.pcp");
  const CommandResult text = inspect({"info", good, missing, arm});
  EXPECT_EQ(text.code, 2);
  EXPECT_THAT(text.out, HasSubstr("==> " + good + " <=="));
  EXPECT_THAT(text.out, HasSubstr("==> " + arm + " <=="));
  EXPECT_THAT(text.err, HasSubstr("none.pcp: cannot open: No such file"));
  const CommandResult json = inspect({"info", "--json", good, missing, arm});
  EXPECT_EQ(json.code, 2);
  const Json documents = Json::parse(json.out);
  ASSERT_EQ(documents.size(), 3u);
  EXPECT_EQ(documents[1]["error"]["code"], "not-found");
  EXPECT_EQ(documents[2]["machine"]["name"], "AArch64");
}

TEST_F(Inspect, MapsLookLikeProcPidMaps) {
  const std::string out = inspect({"maps", sample()}).out;
  EXPECT_THAT(out, HasSubstr("000000400000-000000404000  r-xp  00000000  08:01   4711"));
  EXPECT_THAT(out, HasSubstr("rw-s"));
  EXPECT_THAT(out, HasSubstr("[heap] <heap>"));
  EXPECT_THAT(out, HasSubstr("/memfd:buffer (deleted) [memfd 2]"));
  EXPECT_THAT(out, HasSubstr("address space 1 (tasks: 200)"));
  const Json maps = inspect_json({"maps", dir_.file("a.pcp")});
  const Json code = maps["addressSpaces"][0]["mappings"][0];
  EXPECT_EQ(code["storedPages"], wide(1));
  EXPECT_EQ(code["filePages"], wide(3));
  const Json heap = maps["addressSpaces"][0]["mappings"][1];
  EXPECT_EQ(heap["storedPages"], wide(7));
  EXPECT_EQ(heap["zeroPages"], wide(1));
  EXPECT_EQ(heap["object"], nullptr);
  const Json guard = maps["addressSpaces"][0]["mappings"][4];
  EXPECT_EQ(guard["zeroPages"], wide(std::uint64_t{1} << 28));
}

TEST_F(Inspect, TasksShowWhereEachThreadIs) {
  const CommandResult text = inspect({"tasks", sample()});
  EXPECT_THAT(text.out, HasSubstr("work\\x1b[31m")); // no control characters
  EXPECT_THAT(text.out, HasSubstr("SIGINT SIGTERM"));
  EXPECT_THAT(text.out, HasSubstr("SIGCHLD   ignored"));
  for (const std::string& path : {dir_.file("a.pcp"), arm_sample()}) {
    const Json tasks = inspect_json({"tasks", path});
    ASSERT_EQ(tasks["tasks"].size(), 3u);
    EXPECT_EQ(tasks["tasks"][1]["tid"], 101);
    EXPECT_EQ(tasks["tasks"][1]["pid"], 100);
    EXPECT_EQ(tasks["tasks"][1]["programCounter"], wide(kSampleCode + 2));
    EXPECT_GT(std::stoull(tasks["tasks"][1]["stackPointer"].get<std::string>()), kSampleStack);
    EXPECT_EQ(tasks["tasks"][2]["pid"], 200);
    EXPECT_EQ(tasks["tasks"][0]["ticks"], path == dir_.file("a.pcp") ? Json("1000") : Json());
    EXPECT_EQ(tasks["processes"][0]["commandLine"][1], (Json{{"bytes", "636166c3a920ff"}}));
  }
}

TEST_F(Inspect, RegistersOfX8664AreDecoded) {
  const Json regs = inspect_json({"regs", "--task", "101", sample()});
  ASSERT_EQ(regs["tasks"].size(), 1u);
  const Json sets = regs["tasks"][0]["sets"];
  ASSERT_EQ(sets.size(), 4u);
  EXPECT_EQ(sets[0]["name"], "NT_PRSTATUS");
  EXPECT_EQ(sets[0]["registers"]["rax"], wide(2));
  EXPECT_EQ(sets[0]["registers"]["rip"], wide(kSampleCode + 2));
  EXPECT_EQ(sets[0]["registers"]["fs_base"], wide(0x7ffff7d80740));
  EXPECT_EQ(sets[0]["registers"].size(), 27u);
  const Json vectors = sets[2]["registers"];
  // xmm, then the upper half of ymm, then that of zmm.
  EXPECT_EQ(vectors["zmm1"],
            "12131415161718191a1b1c1d1e1f2021" + std::string(32, '1') + std::string(64, '3'));
  EXPECT_EQ(vectors["zmm31"], std::string(128, '0')); // in its initial state: bytes do not count
  EXPECT_EQ(vectors["k7"], wide(0x2222222222222222));
  EXPECT_EQ(vectors["xstate_bv"], wide(0x67));
  EXPECT_EQ(sets[3]["name"], "note 0x999");
  EXPECT_EQ(sets[3]["registers"], nullptr);
  const std::string out = inspect({"regs", "--task", "100", dir_.file("a.pcp")}).out;
  EXPECT_THAT(out, HasSubstr("rip        0x400001"));
  EXPECT_THAT(out, HasSubstr("24 wide registers not shown"));
  EXPECT_THAT(out, HasSubstr("2122232425262728")); // the set that nobody knows
  EXPECT_THAT(inspect({"regs", "--all", dir_.file("a.pcp")}).out, HasSubstr("zmm31      0x0"));
}

TEST_F(Inspect, RegistersOfAarch64AreDecoded) {
  const std::string path = arm_sample();
  const Json sets = inspect_json({"regs", path})["tasks"][0]["sets"];
  EXPECT_EQ(sets[0]["registers"]["pc"], wide(kSampleCode + 1));
  EXPECT_EQ(sets[0]["registers"]["sp"], wide(0x7ffffff01000));
  EXPECT_EQ(sets[0]["registers"]["x0"], wide(0x0807060504030201));
  EXPECT_EQ(sets[1]["registers"]["v1"], "1112131415161718191a1b1c1d1e1f20");
  EXPECT_EQ(sets[2]["registers"]["tpidr"], wide(0x0807060504030201));
  const Json one = inspect_json({"regs", "--set", "arm_tls", path});
  EXPECT_EQ(one["tasks"][2]["sets"].size(), 1u);
}

TEST_F(Inspect, WrongSelectionsOfRegistersAreRefused) {
  const std::string path = sample();
  EXPECT_EQ(inspect({"regs", "--task", "5", path}).code, 2);
  EXPECT_EQ(inspect({"regs", "--set", "nonsense", path}).code, 2);
  EXPECT_EQ(inspect({"regs", "--task", "x", path}).code, 2);
}

TEST_F(Inspect, MemoryIsShownAsHexdumpDoes) {
  // Where the zero page of the heap ends.
  const CommandResult result = inspect({"mem", "0x603fd0", "0x40", sample()});
  EXPECT_EQ(result.code, 0) << result.err;
  const auto heap = sample_heap();
  const auto byte = static_cast<unsigned>(heap[0x4000]);
  char expected[400];
  std::snprintf(expected, sizeof expected,
                "0000000000603fd0  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  "
                "|................|\n*\n0000000000604000  %02x ",
                byte);
  EXPECT_THAT(result.out, HasSubstr(expected));
  EXPECT_TRUE(result.out.ends_with("\n0000000000604010\n")) << result.out;
}

TEST_F(Inspect, MemoryComesFromEverySource) {
  const std::string path = sample();
  const auto raw = [&](std::uint64_t address, std::size_t length, const std::string& space = "0") {
    const CommandResult result = inspect(
        {"mem", "--raw", "--space", space, std::to_string(address), std::to_string(length), path});
    EXPECT_EQ(result.code, 0) << result.err;
    return result.out;
  };
  const auto text = [](const std::vector<std::byte>& bytes, std::size_t from, std::size_t length) {
    return std::string(reinterpret_cast<const char*>(bytes.data()) + from, length);
  };
  EXPECT_EQ(raw(kSampleHeap, 8 * 4096), text(sample_heap(), 0, 8 * 4096));     // stored
  EXPECT_EQ(raw(kSampleCode, 4096), text(sample_pages(4, 77), 0, 4096));       // of the file
  EXPECT_EQ(raw(kSampleCode + 4096, 4096), text(sample_pages(1, 9), 0, 4096)); // changed there
  EXPECT_EQ(raw(kSampleShared + 4000, 200), text(sample_pages(2, 5), 4000, 200));
  EXPECT_EQ(raw(kSampleShared + 4000, 200, "1"), text(sample_pages(2, 5), 4000, 200));
  EXPECT_EQ(raw(kSampleMemfd, 100), text(sample_pages(1, 6), 0, 100));
  EXPECT_EQ(raw(kSampleGuard + (std::uint64_t{1} << 39), 1000), std::string(1000, '\0'));
  const Json json = inspect_json({"mem", std::to_string(kSampleMemfd), "2", path});
  EXPECT_EQ(json["read"], wide(2));
  EXPECT_EQ(json["bytes"].get<std::string>().size(), 4u);
}

TEST_F(Inspect, PartialReadsSaySo) {
  const std::string path = sample();
  const CommandResult result = inspect({"mem", "0x607ff0", "4K", path});
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(count_lines(result.out), 2u);
  EXPECT_THAT(result.err, HasSubstr("only 16 of 4096 bytes: nothing is stored at 0x608000"));
  const CommandResult nothing = inspect({"mem", "--raw", "0x1000", "16", path});
  EXPECT_EQ(nothing.code, 1);
  EXPECT_EQ(nothing.out, "");
  EXPECT_EQ(inspect({"mem", "--raw", std::to_string(kSampleVvar), "16", path}).code, 1);
  // Up to the very end of the address space.
  EXPECT_EQ(inspect({"mem", "0xfffffffffffffff0", "0x20", path}).code, 1);
}

TEST_F(Inspect, ChangedOrMissingBackingFilesAreRefused) {
  const std::string path = sample();
  {
    std::fstream program(dir_.file("program"), std::ios::in | std::ios::out | std::ios::binary);
    program.seekp(100);
    program.put('\x7f');
  }
  const CommandResult changed = inspect({"mem", "0x400000", "16", path});
  EXPECT_EQ(changed.code, 2);
  EXPECT_THAT(changed.err, HasSubstr("program"));
  EXPECT_EQ(inspect({"mem", "0x401000", "16", path}).code, 0); // stored in the checkpoint
  ASSERT_EQ(::unlink(dir_.file("program").c_str()), 0);
  const CommandResult missing = inspect({"--json", "mem", "0x400000", "16", path});
  EXPECT_EQ(missing.code, 2);
  EXPECT_EQ(Json::parse(missing.out)["error"]["code"], "backing-file");
}

TEST_F(Inspect, FilesShowDescriptorsLocksAndMonitors) {
  const std::string out = inspect({"files", sample()}).out;
  for (const char* fact :
       {"O_RDWR|O_LARGEFILE", "posix write lock of bytes 100 to 199",
        "flock read lock of the whole file", "pipe:[5555], 6 B unread", "count 7", "1 watch",
        "memory object 2", "socket:[99]", "01:03", "anon_inode:inotify", "/tmp/\\xff\\xfe",
        "O_CLOEXEC", "stdio", "inode 4711", "working directory /home/user, root /, umask 0022"}) {
    EXPECT_THAT(out, HasSubstr(fact));
  }
  const Json files = inspect_json({"files", dir_.file("a.pcp")});
  EXPECT_EQ(files["fileTables"][0]["descriptors"].size(), 11u);
  EXPECT_EQ(files["fileTables"][0]["descriptors"][10]["closeOnExec"], true);
  EXPECT_EQ(files["fileTables"][1]["monitors"][1]["kind"], "mmapped");
}

TEST_F(Inspect, ChunksShowHowPagesAreStored) {
  SampleOptions options;
  options.writer.profile = Profile::kRaw;
  const Json chunks = inspect_json({"chunks", sample(options)});
  ASSERT_EQ(chunks["chunks"].size(), 1u);
  EXPECT_EQ(chunks["chunks"][0]["codec"], "raw");
  EXPECT_EQ(chunks["chunks"][0]["length"], 11 * 4096);
  EXPECT_THAT(inspect({"chunks", sample()}).out, HasSubstr("zstd"));
}

TEST_F(Inspect, ListShowsADirectoryByPosition) {
  write_sample(dir_.file("z.pcp"), sample_pages(1, 1), {});
  sample({}, "b.pcp");
  const std::vector<std::byte> whole = read_file(dir_.file("b.pcp"));
  write_file(dir_.file("cut.pcp"), std::span(whole).first(whole.size() - 1));
  std::vector<std::byte> damaged = whole;
  damaged[60] ^= std::byte{1};
  write_file(dir_.file("damaged.pcp"), damaged);
  const CommandResult result = inspect({"list", dir_.path()});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.out, HasSubstr("incomplete"));
  EXPECT_THAT(result.out, HasSubstr("to mark in 1007"));
  EXPECT_EQ(count_lines(result.out), 5u) << result.out;
  EXPECT_EQ(count_lines(result.err), 2u) << result.err;
  const Json list = Json::parse(inspect({"--json", "list", dir_.path()}).out)["checkpoints"];
  ASSERT_EQ(list.size(), 4u);
  std::map<std::string, Json> by_name;
  for (const Json& entry : list) {
    by_name[entry["file"].get<std::string>()] = entry;
  }
  EXPECT_EQ(by_name["b.pcp"]["tasks"], wide(3));
  EXPECT_EQ(by_name["b.pcp"]["problem"], nullptr);
  EXPECT_EQ(by_name["cut.pcp"]["problem"]["code"], "incomplete");
  EXPECT_EQ(by_name["damaged.pcp"]["problem"]["code"], "damaged");
  EXPECT_EQ(by_name["z.pcp"]["position"]["kind"], "none");
}

TEST_F(Inspect, ListRefusesWhatIsNoDirectory) {
  EXPECT_EQ(inspect({"list", dir_.file("none")}).code, 2);
  EXPECT_EQ(inspect({"list", sample()}).code, 2);
  TempDir empty;
  const CommandResult result = inspect({"list", empty.path()});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out, "");
}

// Checks that `json` has a key for every field of `schema`, all the way down.
void expect_all_fields(const Json& json, capnp::StructSchema schema, const std::string& where) {
  std::set<std::string> expected;
  for (const auto field : schema.getNonUnionFields()) {
    expected.insert(field.getProto().getName().cStr());
  }
  if (schema.getUnionFields().size() != 0) {
    expected.insert("which");
    ASSERT_TRUE(json.contains("which")) << where;
    if (json["which"].is_string()) {
      const auto arm = schema.getFieldByName(json["which"].get<std::string>());
      const bool is_void = arm.getProto().isSlot() && arm.getType().isVoid();
      if (!is_void) {
        expected.insert(json["which"].get<std::string>());
      }
    }
  }
  std::set<std::string> actual;
  for (const auto& item : json.items()) {
    actual.insert(item.key());
  }
  EXPECT_EQ(actual, expected) << where;
  for (const std::string& name : expected) {
    if (name == "which") {
      continue;
    }
    const auto field = schema.getFieldByName(name);
    const std::string place = where + "." + name;
    if (field.getType().isStruct()) { // a group, or a struct
      if (!json[name].is_null()) {
        expect_all_fields(json[name], field.getType().asStruct(), place);
      }
    } else if (field.getType().isList() && field.getType().asList().getElementType().isStruct()) {
      for (const Json& element : json[name]) {
        expect_all_fields(element, field.getType().asList().getStructElementType(), place + "[]");
      }
    }
  }
}

TEST_F(Inspect, TheDocumentHasEveryField) {
  for (const std::string& path : {sample(), arm_sample()}) {
    const CommandResult result = inspect({"--json", path});
    ASSERT_EQ(result.code, 0) << result.err;
    const Json document = Json::parse(result.out);
    EXPECT_EQ(result.out, document.dump(2) + "\n");
    EXPECT_EQ(document["document"], "org.rrpcp.checkpoint");
    EXPECT_EQ(document["contents"], nullptr);
    EXPECT_EQ(document["footer"]["checkpointId"], CheckpointReader::open(path).id().to_string());
    EXPECT_EQ(document["chunks"].size(), 1u);
    expect_all_fields(document["manifest"], capnp::Schema::from<schema::Manifest>(), "manifest");
  }
}

TEST_F(Inspect, TheDocumentHasExactValues) {
  const Json document = inspect_json({sample()});
  const Json state = document["manifest"]["state"];
  EXPECT_EQ(document["header"]["traceUuid"], "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
  EXPECT_EQ(document["header"]["event"], wide(1000));
  EXPECT_EQ(state["processes"][0]["resourceLimits"][0]["hard"], wide(UINT64_MAX));
  EXPECT_EQ(state["position"]["which"], "forwardTo");
  EXPECT_EQ(state["addressSpaces"][0]["mappings"][1]["role"], "heap");
  EXPECT_EQ(state["addressSpaces"][0]["mappings"][1]["object"], 0xffffffffu);
  EXPECT_EQ(state["memoryObjects"][1]["which"], "anonymous");
  EXPECT_EQ(state["memoryObjects"][0]["file"]["buildId"],
            "0102030405060708090a0b0c0d0e0f1011121314");
  EXPECT_EQ(state["openFiles"][2]["pipe"]["contents"], "756e72656164");
  EXPECT_EQ(state["openFiles"][9]["directory"]["path"], (Json{{"bytes", "2f746d702ffffe"}}));
  EXPECT_EQ(state["session"]["lastSignal"], nullptr);
  EXPECT_EQ(state["session"]["where"], "main at x.c:3");
}

TEST_F(Inspect, ContentDigestsDoNotDependOnHowPagesAreStored) {
  const Json small = inspect_json({"--contents", sample()})["contents"];
  SampleOptions options;
  options.writer.profile = Profile::kRaw;
  // Another cut of the same heap: the zero page stored, one run per page.
  options.change = [](schema::State::Builder state) {
    auto mapping = state.getAddressSpaces()[0].getMappings()[1];
    const auto before = mapping.asReader().getRuns();
    std::vector<PageRun> single;
    for (const auto run : before) {
      for (std::uint64_t i = 0; i < run.getPages(); ++i) {
        const bool stored = run.getKind() == schema::RunKind::STREAM;
        single.push_back({run.getKind(), 1, stored ? run.getFirst() + i : 0});
      }
    }
    set_runs(mapping.initRuns(static_cast<unsigned>(single.size())), single);
  };
  const Json raw = inspect_json({"--contents", sample(options, "b.pcp")})["contents"];
  EXPECT_EQ(small, raw);
  EXPECT_EQ(small["addressSpaces"][0]["mappings"][1]["storedPages"], wide(7));
  EXPECT_EQ(small["addressSpaces"][0]["mappings"][4]["digest"], "99aa06d3014798d86001c324468d497f");
  SampleOptions other;
  other.heap = sample_heap();
  other.heap[5] ^= std::byte{1};
  const Json changed = inspect_json({"--contents", sample(other, "c.pcp")})["contents"];
  EXPECT_NE(small["addressSpaces"][0]["mappings"][1], changed["addressSpaces"][0]["mappings"][1]);
  EXPECT_EQ(small["addressSpaces"][0]["mappings"][0], changed["addressSpaces"][0]["mappings"][0]);
}

// Puts a raw number where a union's tag is.
void set_union_tag(capnp::DynamicStruct::Builder value, std::uint16_t tag) {
  const std::size_t offset =
      value.getSchema().getProto().getStruct().getDiscriminantOffset() * sizeof tag;
  auto data = value.as<capnp::AnyStruct>().getDataSection();
  data[offset] = static_cast<kj::byte>(tag);
  data[offset + 1] = static_cast<kj::byte>(tag >> 8);
}

TEST_F(Inspect, ValuesOfANewerSchemaAreShownAsNumbers) {
  SampleOptions options;
  options.change = [](schema::State::Builder state) {
    set_union_tag(state.getOpenFiles()[3], 500);
    set_union_tag(state.getMemoryObjects()[1], 501);
    set_union_tag(state.getFileTables()[1].getRr().getMonitors()[0], 502);
    auto mapping = state.getAddressSpaces()[0].getMappings()[1];
    mapping.setRole(static_cast<schema::MappingRole>(77));
    mapping.getRuns()[0].setKind(static_cast<schema::RunKind>(78));
    state.getFileTables()[1].getRr().getMonitors()[1].setKind(
        static_cast<schema::rr::FileMonitor::Kind>(79));
  };
  const std::string path = sample(options);
  const Json state = inspect_json({path})["manifest"]["state"];
  EXPECT_EQ(state["openFiles"][3]["which"], 500);
  EXPECT_EQ(state["memoryObjects"][1]["which"], 501);
  EXPECT_EQ(state["fileTables"][1]["rr"]["monitors"][0]["which"], 502);
  EXPECT_EQ(state["addressSpaces"][0]["mappings"][1]["role"], 77);
  EXPECT_EQ(state["addressSpaces"][0]["mappings"][1]["runs"][0]["kind"], 78);
  EXPECT_THAT(inspect({"files", path}).out, HasSubstr("unknown (500)"));
  EXPECT_THAT(inspect({"maps", path}).out, HasSubstr("<unknown (77)>"));
  EXPECT_THAT(inspect({"info", path}).out, HasSubstr("unknown"));
  EXPECT_EQ(inspect({"mem", std::to_string(kSampleHeap), "16", path}).code, 2);
  for (const char* subcommand : {"tasks", "regs", "chunks"}) {
    EXPECT_EQ(inspect({subcommand, path}).code, 0);
  }
  EXPECT_EQ(inspect({"diff", path, path}).code, 0);
}

const std::vector<std::vector<std::string>> kEverything = {{"info"},
                                                           {"maps"},
                                                           {"tasks"},
                                                           {"regs", "--all"},
                                                           {"files"},
                                                           {"chunks"},
                                                           {"--json"},
                                                           {"--json", "--contents"},
                                                           {"info", "--json"},
                                                           {"maps", "--json"},
                                                           {"tasks", "--json"},
                                                           {"regs", "--json"},
                                                           {"files", "--json"},
                                                           {"mem", "0x600000", "64"}};

// Runs every subcommand on the file; expects an exit code of the documented ones and valid JSON.
void expect_no_crash(const std::string& path, const std::string& what) {
  for (const auto& arguments : kEverything) {
    std::vector<std::string> all = arguments;
    all.push_back(path);
    const CommandResult result = inspect(all);
    EXPECT_EQ(result.signal, 0) << what << ": " << arguments[0];
    EXPECT_TRUE(result.code >= 0 && result.code <= 2) << what << ": " << arguments[0];
    if (result.code == 2) {
      EXPECT_EQ(count_lines(result.err), 1u) << what << ": " << arguments[0] << ": " << result.err;
    }
    if (result.code == 0 && all[all.size() - 2] == "--json") {
      EXPECT_TRUE(Json::accept(result.out)) << what << ": " << arguments[0];
    }
  }
}

TEST_F(Inspect, AnyStateIsShownOrRefused) {
  for (unsigned seed = 0; seed < 6; ++seed) {
    SampleOptions options;
    options.machine = kAarch64; // whose sample has no position, as the header then says
    options.change = [&](schema::State::Builder state) {
      std::mt19937_64 random(seed);
      const auto geometry = state.asReader().getPageStream();
      const auto page_size = geometry.getPageSize();
      const auto chunk_pages = geometry.getChunkPages();
      const auto machine = state.getMachine();
      fill_at_random(state, random);
      state.setMachine(machine);
      auto stream = state.initPageStream();
      stream.setPageSize(page_size);
      stream.setChunkPages(chunk_pages);
      state.disownTrace();
      state.disownPosition();
    };
    expect_no_crash(sample(options), "random state " + std::to_string(seed));
  }
}

TEST_F(Inspect, AnyDamageIsRefusedInOneLine) {
  const std::vector<std::byte> whole = read_file(sample());
  const std::string path = dir_.file("bad.pcp");
  std::mt19937 random(1);
  for (unsigned i = 0; i < 8; ++i) {
    std::vector<std::byte> bad = whole;
    bad[random() % bad.size()] ^= std::byte{static_cast<unsigned char>(1u << random() % 8)};
    write_file(path, bad);
    expect_no_crash(path, "flipped " + std::to_string(i));
  }
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{255},
                                   std::size_t{256}, whole.size() / 2, whole.size() - 1}) {
    write_file(path, std::span(whole).first(length));
    expect_no_crash(path, "cut to " + std::to_string(length));
    EXPECT_EQ(inspect({"info", path}).code, 2) << length;
  }
}

TEST_F(Inspect, ClosedPipesEndItQuietly) {
  const std::string path = sample();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const ScopedFd write_end(ends[1]);
  ::close(ends[0]);
  const CommandResult result = run_command_into({RRPCP_INSPECT, "--json", path}, write_end.get());
  EXPECT_EQ(result.signal, SIGPIPE);
  EXPECT_EQ(result.err, "");
}

TEST_F(Inspect, FailedWritesAreNoticed) {
  const std::string path = sample();
  const ScopedFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  const CommandResult result = run_command_into({RRPCP_INSPECT, "info", path}, full.get());
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("standard output: No space left on device"));
}

TEST_F(Inspect, WrongUsageIsOneLineAndExitCode2) {
  const std::string path = sample();
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"info"},
      {"info", "--wrong", path},
      {"inof", path},
      {"mem", path},
      {"mem", "12x", "16", path},
      {"mem", "0", "-5", path},
      {"mem", "--space", "9", "0", "16", path},
      {"diff", path},
      {"diff", path, path, path},
      {"list"},
      {"--json"},
      {"--json", path, path},
  };
  for (const auto& arguments : wrong) {
    const CommandResult result = inspect(arguments);
    EXPECT_EQ(result.code, 2) << ::testing::PrintToString(arguments);
    EXPECT_EQ(count_lines(result.err), 1u) << ::testing::PrintToString(arguments) << result.err;
    EXPECT_THAT(result.err, ::testing::StartsWith("pcp-inspect: "));
  }
  EXPECT_THAT(inspect({"inof", path}).err, HasSubstr("did you mean 'info'?"));
}

TEST_F(Inspect, EverySubcommandHasHelp) {
  for (const char* subcommand :
       {"info", "maps", "tasks", "regs", "mem", "files", "chunks", "list", "diff"}) {
    const CommandResult result = inspect({subcommand, "--help"});
    EXPECT_EQ(result.code, 0);
    EXPECT_THAT(result.out, HasSubstr(std::string("pcp-inspect ") + subcommand));
    EXPECT_THAT(result.out, HasSubstr("Exit codes:"));
    EXPECT_THAT(inspect({"--help"}).out, HasSubstr(std::string("\n  ") + subcommand));
  }
  EXPECT_THAT(inspect({"--version"}).out,
              ::testing::MatchesRegex("pcp-inspect [0-9.]+ \\(checkpoint format 1.1\\)\n"));
}

} // namespace
} // namespace rrpcp::test
