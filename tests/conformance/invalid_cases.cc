#include "conformance/invalid_cases.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "rrpcp/format.h"
#include "support/sample_state.h"

#include <algorithm>
#include <capnp/any.h>
#include <capnp/message.h>
#include <cstring>
#include <string_view>

namespace rrpcp::test {

using namespace format;

namespace {

using Bytes = std::vector<std::byte>;

capnp::Data::Reader data(std::string_view text) {
  return {reinterpret_cast<const capnp::byte*>(text.data()), text.size()};
}

// Exchanges two elements of a list of structs.
template <typename Struct, typename List> void exchange(List list, unsigned a, unsigned b) {
  capnp::MallocMessageBuilder spare;
  spare.setRoot(list[a].asReader());
  list.setWithCaveats(a, list[b].asReader());
  list.setWithCaveats(b, spare.getRoot<Struct>().asReader());
}

class Cases {
public:
  std::vector<InvalidCase> build() {
    header();
    footer();
    sections();
    chunks();
    manifest_bytes();
    values();
    state();
    position();
    processes();
    tasks();
    signals();
    spaces();
    mappings();
    runs();
    objects();
    files();
    rr();
    rest();
    return std::move(cases_);
  }

private:
  using Manifest = schema::Manifest::Builder;
  using State = schema::State::Builder;

  static Sample small(SamplePosition position) {
    Sample sample;
    sample.position = position;
    sample.plain = true;
    return sample;
  }

  static Bytes live(Profile profile = Profile::kFast) {
    return write_sample_checkpoint(small(SamplePosition::kNone),
                                   {.profile = profile, .threads = 1});
  }

  static Bytes replay(SamplePosition position = SamplePosition::kAtEvent) {
    return write_sample_checkpoint(small(position), {.profile = Profile::kFast, .threads = 1});
  }

  void add(std::string code, std::vector<std::string> more, Bytes file) {
    more.push_back(code);
    std::sort(more.begin(), more.end());
    cases_.push_back({std::move(code), std::move(more), std::move(file)});
  }

  // `edit` changes the bytes of a whole file; nothing is sealed again.
  void damaged(std::string code, const std::function<void(Bytes&)>& edit,
               Profile profile = Profile::kFast) {
    Bytes bytes = live(profile);
    edit(bytes);
    add(std::move(code), {}, std::move(bytes));
  }

  void forged(std::string code, const std::function<void(Forge&)>& edit,
              std::vector<std::string> more = {}, Profile profile = Profile::kFast) {
    Forge forge(live(profile));
    edit(forge);
    add(std::move(code), std::move(more), forge.assemble());
  }

  void in_live(std::string code, const std::function<void(State)>& edit,
               std::vector<std::string> more = {}) {
    forged(
        std::move(code),
        [&](Forge& forge) { forge.change([&](Manifest manifest) { edit(manifest.getState()); }); },
        std::move(more));
  }

  void in_replay(std::string code, const std::function<void(State)>& edit,
                 std::vector<std::string> more = {},
                 SamplePosition position = SamplePosition::kAtEvent) {
    Forge forge(replay(position));
    forge.change([&](Manifest manifest) { edit(manifest.getState()); });
    add(std::move(code), std::move(more), forge.assemble());
  }

  template <typename T> static auto set(std::size_t field, T value) {
    return [=](std::span<std::byte> bytes) { store_le<T>(bytes, field, value); };
  }

  template <typename T>
  void header_field(std::string code, std::size_t field, T value,
                    std::vector<std::string> more = {}) {
    forged(
        std::move(code), [&](Forge& forge) { forge.edit_header = set<T>(field, value); },
        std::move(more));
  }

  template <typename T>
  void footer_field(std::string code, std::size_t field, T value,
                    std::vector<std::string> more = {}) {
    forged(
        std::move(code), [&](Forge& forge) { forge.edit_footer = set<T>(field, value); },
        std::move(more));
  }

  void header() {
    damaged("header.truncated", [](Bytes& bytes) { bytes.resize(100); });
    damaged("header.magic", [](Bytes& bytes) {
      std::memcpy(bytes.data(),
                  "\x7f"
                  "ELF\2\1\1\0",
                  8);
      bytes.resize(4096);
      bytes[300] = std::byte{1};
      bytes[20] = std::byte{9};
    });
    damaged("header.checksum", [](Bytes& bytes) { bytes[kHeaderEvent] ^= std::byte{1}; });
    header_field<std::uint16_t>("header.version", kHeaderMajor, 2);
    header_field<std::uint16_t>("header.newer-minor", kHeaderMinor, 1);
    header_field<std::uint64_t>("header.incompatible-feature", kHeaderIncompatible, 3);
    header_field<std::uint64_t>("header.read-only-feature", kHeaderReadOnlyCompat, 1);
    header_field<std::uint64_t>("header.compatible-feature", kHeaderCompatible, 1);
    header_field<std::uint32_t>("header.length", kHeaderLength, 512);
    header_field<std::uint32_t>("header.page-size", kHeaderPageSize, 12288);
    header_field<std::uint32_t>("header.chunk-pages", kHeaderChunkPages, 0);
    header_field<std::uint16_t>("header.position-kind", kHeaderPositionKind, 4,
                                {"header.manifest-mismatch"});
    header_field<std::uint16_t>("header.digest-algorithm", kHeaderDigestAlgorithm, 0);
    header_field<std::int64_t>("header.event", kHeaderMarkEvent, -1, {"header.manifest-mismatch"});
    forged("header.machine",
           [](Forge& forge) {
             forge.change([](Manifest manifest) { manifest.getState().setMachine(0); });
           },
           {"task.thread-area"});
    header_field<std::uint8_t>("header.reserved", kHeaderReserved + 127, 1);
    header_field<std::int64_t>("header.manifest-mismatch", kHeaderTicks, 5);
    header_field<std::uint64_t>("header.feature-unset", kHeaderIncompatible, 0);
  }

  void footer() {
    damaged("footer.missing", [](Bytes& bytes) { bytes.resize(bytes.size() - 1000); });
    damaged("footer.magic", [](Bytes& bytes) { bytes.back() = std::byte{'\r'}; });
    damaged("footer.checksum",
            [](Bytes& bytes) { bytes[bytes.size() - kFooterSize] ^= std::byte{0x80}; });
    footer_field<std::uint16_t>("footer.version", kFooterSize - kFooterEndSize + kFooterEndVersion,
                                2);
    forged("footer.length", [](Forge& forge) { forge.longer_footer = Bytes(8); });
    forged("footer.file-length", [](Forge& forge) {
      forge.edit_footer = [](std::span<std::byte> foot) {
        store_le<std::uint64_t>(foot, kFooterFileLength,
                                load_le<std::uint64_t>(foot, kFooterFileLength) + 4096);
      };
    });
    footer_field<std::uint64_t>("footer.header-checksum", kFooterHeaderChecksum, 1);
    footer_field<std::uint32_t>("footer.chunk-entry-size", kFooterChunkEntrySize, 48);
    footer_field<std::uint32_t>("footer.section-entry-size", kFooterSectionEntrySize, 72);
    footer_field<std::uint64_t>("footer.directory", kFooterDirectoryOffset, 4096);
    footer_field<std::uint64_t>("footer.page-count", kFooterPageCount, std::uint64_t{1} << 52);
    footer_field<std::uint64_t>("footer.chunk-count", kFooterChunkCount, 2);
    footer_field<std::uint8_t>("footer.reserved", kFooterReserved, 1);
    footer_field<std::uint8_t>("footer.checkpoint-id", kFooterCheckpointId, 1);
  }

  // A value in the directory's entry of the section at `index`.
  template <typename T>
  void section_field(std::string code, std::size_t index, std::size_t field, T value) {
    forged(std::move(code), [&](Forge& forge) {
      forge.edit_directory = set<T>(index * kSectionEntrySize + field, value);
    });
  }

  void sections() {
    damaged("directory.digest",
            [](Bytes& bytes) { bytes[bytes.size() - kFooterSize - 1] ^= std::byte{1}; });
    const auto with_section = [this](std::string code, std::uint32_t kind, std::uint32_t flags,
                                     std::vector<std::string> more = {}) {
      forged(
          std::move(code),
          [&](Forge& forge) {
            forge.sections.push_back({kind, flags, Bytes(11, std::byte{7})});
          },
          std::move(more));
    };
    with_section("section.kind", 0, 0);
    with_section("section.flags", 77, 4, {"section.unknown"});
    with_section("section.must-understand", 77, kSectionMustUnderstand);
    with_section("section.unknown", 77, kSectionSafeToCopy);
    section_field<std::uint8_t>("section.reserved", 0, kSectionReserved + 7, 1);
    section_field<std::uint64_t>("section.offset", 1, kSectionOffset, 4096);
    forged("section.duplicate", [](Forge& forge) {
      forge.sections.push_back({kSectionManifest, kSectionMustUnderstand, forge.manifest});
    });
    forged("section.missing",
           [](Forge& forge) {
             // The chunk table becomes a section that nobody knows.
             forge.edit_directory = [](std::span<std::byte> directory) {
               store_le<std::uint32_t>(directory, kSectionKind, 77);
               store_le<std::uint32_t>(directory, kSectionFlags, 0);
             };
           },
           {"section.unknown"});
    forged("section.length", [](Forge& forge) {
      // One entry more than there are chunks: 40 bytes that were the manifest's first.
      forge.manifest.insert(forge.manifest.begin(), kChunkEntrySize, std::byte{0});
      forge.edit_directory = [](std::span<std::byte> directory) {
        for (const auto& [field, sign] :
             {std::pair(kSectionLength, 1), std::pair(kSectionEntrySize + kSectionOffset, 1),
              std::pair(kSectionEntrySize + kSectionLength, -1)}) {
          store_le<std::uint64_t>(
              directory, field,
              load_le<std::uint64_t>(directory, field) +
                  static_cast<std::uint64_t>(sign * std::int64_t{kChunkEntrySize}));
        }
      };
    });
    {
      Forge forge(live());
      forge.sections.push_back({77, 0, Bytes(11, std::byte{7})});
      Bytes bytes = forge.assemble();
      bytes[bytes.size() - kFooterSize - 3 * kSectionEntrySize - 16] ^= std::byte{1};
      add("section.digest", {"section.unknown"}, std::move(bytes));
    }
    const auto sealed = [this](std::string code, const std::function<void(Bytes&)>& edit) {
      Forge forge(write_sample_checkpoint(small(SamplePosition::kNone),
                                          {.profile = Profile::kFast, .threads = 1, .seal = true}));
      edit(forge.sections[0].bytes);
      add(std::move(code), {}, forge.assemble());
    };
    sealed("seal.algorithm", [](Bytes& seal) { seal[kSealAlgorithm] = std::byte{9}; });
    sealed("seal.form", [](Bytes& seal) { seal.resize(seal.size() - 32); });
    sealed("seal.state", [](Bytes& seal) { seal[kSealState] ^= std::byte{1}; });
    sealed("seal.chunk", [](Bytes& seal) { seal[kSealChunks + 31] ^= std::byte{1}; });
  }

  // The place of the section of a kind.
  static std::uint64_t section_at(const Bytes& bytes, std::uint32_t kind) {
    const auto directory =
        load_le<std::uint64_t>(bytes, bytes.size() - kFooterSize + kFooterDirectoryOffset);
    // Chunk table and manifest are the first ones, in this order.
    return load_le<std::uint64_t>(bytes,
                                  directory + (kind - 1) * kSectionEntrySize + kSectionOffset);
  }

  // A value in an entry of the chunk table.
  template <typename T>
  void entry_field(std::string code, std::size_t field, T value, Profile profile = Profile::kFast,
                   std::vector<std::string> more = {}) {
    forged(
        std::move(code), [&](Forge& forge) { forge.edit_table = set<T>(field, value); },
        std::move(more), profile);
  }

  void chunks() {
    damaged("chunk-table.digest",
            [](Bytes& bytes) { bytes[section_at(bytes, kSectionChunkTable)] ^= std::byte{1}; });
    entry_field<std::uint16_t>("chunk.codec", kChunkCodec, 7);
    entry_field<std::uint32_t>("chunk.length", kChunkLength, 4096);
    entry_field<std::uint64_t>("chunk.stored-length", kChunkStoredChecksum, 1, Profile::kRaw);
    forged("chunk.offset", [](Forge& forge) {
      // A gap between two chunks.
      forge.chunks[1].padding = Bytes(24);
    });
    entry_field<std::uint8_t>("chunk.reserved", kChunkReserved + 5, 1);
    damaged(
        "page-data.padding", [](Bytes& bytes) { bytes[300] = std::byte{1}; }, Profile::kRaw);
    damaged("chunk.stored-checksum", [](Bytes& bytes) { bytes[kHeaderSize + 17] ^= std::byte{4}; });
    forged("chunk.decode", [](Forge& forge) {
      Forge::Chunk& chunk = forge.chunks[0];
      std::fill(chunk.stored.begin(), chunk.stored.end(), std::byte{0xaa});
      chunk.entry.stored_checksum = xxh3_64(chunk.stored);
    });
    forged("chunk.checksum", [](Forge& forge) { forge.chunks[0].entry.checksum ^= 1; });
  }

  void manifest_bytes() {
    damaged("manifest.digest", [](Bytes& bytes) {
      bytes[section_at(bytes, kSectionManifest) + 100] ^= std::byte{0x10};
    });
    forged("manifest.layout", [](Forge& forge) {
      forge.edit_manifest = [](std::span<std::byte> message) {
        store_le<std::uint32_t>(message, 0, 1);
      };
    });
    // A word of zeros behind the fields of the root struct, which canonical form leaves out: the
    // struct then claims three pointers, the last of them null.
    forged("manifest.canonical", [](Forge& forge) {
      Bytes& message = forge.manifest;
      message.insert(message.begin() + 32, 8, std::byte{0});
      store_le<std::uint32_t>(std::span(message), 4,
                              static_cast<std::uint32_t>(message.size() / 8 - 1));
      store_le<std::uint16_t>(std::span(message), 14, 3);
      // The pointers before the new word lie one word further from their objects.
      for (std::size_t at : {16u, 24u}) {
        store_le<std::uint32_t>(std::span(message), at, load_le<std::uint32_t>(message, at) + 4);
      }
    });
    // The producer's text loses the NUL byte at its end.
    forged("manifest.message", [](Forge& forge) {
      std::string_view producer = "org.rrpcp.process";
      auto found = std::search(forge.manifest.begin(), forge.manifest.end(), producer.begin(),
                               producer.end(), [](std::byte a, char b) { return char(a) == b; });
      *(found + static_cast<std::ptrdiff_t>(producer.size())) = std::byte{'x'};
    });
  }

  void values() {
    in_live("value.unknown", [](State state) {
      state.getAddressSpaces()[0].getMappings()[3].setRole(static_cast<schema::MappingRole>(77));
    });
    forged("value.newer",
           [](Forge& forge) {
             forge.change([](Manifest manifest) {
               auto space = manifest.getState().getAddressSpaces()[0];
               space.getMappings()[3].setRole(static_cast<schema::MappingRole>(77));
               // Bits and numbers that are errors in a file that is fully known.
               auto mapping = space.getMappings()[0];
               mapping.setFlags(mapping.getFlags() | 1u << 23);
               mapping.setAdvice(mapping.getAdvice() | 1u << 20);
               mapping.setPkey(77);
               mapping.setUserFaults(1u << 9);
               auto process = manifest.getState().getProcesses()[0];
               process.setStopSignal(63);
               for (auto task : manifest.getState().getTasks()) {
                 for (auto set : task.getRegisters()) {
                   if (set.getNoteType() == 1) { // NT_PRSTATUS
                     set.initData(1024);
                   }
                 }
               }
             });
             forge.edit_header = set<std::uint16_t>(kHeaderMinor, 9);
           },
           {"header.newer-minor"});
    forged("value.text", [](Forge& forge) {
      forge.change([](Manifest manifest) { manifest.getProvenance().setComment("\xff\xfe"); });
    });
    in_live("value.nul",
            [](State state) { state.getTasks()[0].setName(data(std::string_view("a\0b", 3))); });
    in_live("value.negative", [](State state) { state.getProcesses()[0].setParentPid(-1); });
    in_replay("value.missing", [](State state) { state.getPosition().disownClone(); });
    in_live("value.undefined", [](State state) {
      auto action = state.getSignalHandlerTables()[0].getActions()[0];
      capnp::toAny(action).getDataSection()[1] = 1; // behind the signal's number
    });
  }

  void state() {
    forged("state.machine",
           [](Forge& forge) {
             forge.change([](Manifest manifest) { manifest.getState().setMachine(243); });
           },
           {"task.thread-area"});
    in_live("state.elf-class", [](State state) { state.setElfClass(3); });
    in_live("state.producer", [](State state) { state.setProducer("rr"); });
    in_live("state.clocks", [](State state) { state.getClocks().setBootId(data("short")); });
    in_live("state.omission", [](State state) { state.getOmissions()[0].setName(""); });
    in_live("state.reference", [](State state) { state.getTasks()[2].setFileTable(9); },
            {"state.unreferenced"});
    in_live("state.unreferenced",
            [](State state) { state.getTasks()[2].setSignalHandlers(schema::NO_INDEX); });
    in_live("state.reference-order", [](State state) {
      exchange<schema::FileSystemContext>(state.getFileSystemContexts(), 0, 1);
      for (auto task : state.getTasks()) {
        task.setFileSystemContext(1 - task.getFileSystemContext());
      }
    });
    in_live("stream.unreferenced", [](State state) {
      auto heap = state.getAddressSpaces()[0].getMappings()[3];
      heap.disownRuns();
      state.getAddressSpaces()[1].getMappings()[1].disownRuns();
    });
  }

  void position() {
    in_replay("position.missing", [](State state) { state.disownPosition(); });
    in_replay("position.unbound", [](State state) { state.disownTrace(); });
    in_replay("position.event", [](State state) { state.getPosition().getClone().setEvent(-7); },
              {"header.event"});
    in_replay("position.ticks",
              [](State state) { state.getPosition().getClone().setTicksAtEventStart(1 << 30); });
    in_replay(
        "position.mark", [](State state) { state.getPosition().getForwardTo().setEvent(999); },
        {"header.event"}, SamplePosition::kForwardTo);
    in_replay("position.registers", [](State state) {
      state.getPosition().getClone().getRegisters()[0].setNoteType(0x7000);
    });
    in_replay("trace.uuid", [](State state) { state.getTrace().setUuid(data("short")); });
    in_replay("trace.format", [](State state) { state.getTrace().setFormat(""); });
    in_replay("trace.cursor",
              [](State state) { state.getTrace().getCursor()[1].setStream("../events"); });
  }

  void processes() {
    in_live("process.pid", [](State state) { state.getProcesses()[0].setPid(0); });
    in_live("process.order", [](State state) { state.getProcesses()[1].setPid(100); });
    in_live("process.empty", [](State state) { state.getTasks()[2].setProcess(0); },
            {"task.order"});
    in_live("process.timer",
            [](State state) { state.getProcesses()[0].getIntervalTimers()[0].setTimer(2); });
    in_live("process.attributes", [](State state) { state.getProcesses()[0].setStopSignal(9); });
    in_live("credentials.capabilities", [](State state) {
      state.getProcesses()[0].getCredentials().setEffectiveCapabilities(1);
    });
    in_live("process.resource-limit",
            [](State state) { state.getProcesses()[0].getResourceLimits()[1].setSoft(5000); });
  }

  void tasks() {
    in_live("task.tid", [](State state) { state.getTasks()[1].setTid(101); });
    in_live("task.order", [](State state) {
      state.getTasks()[0].setTid(102);
      state.getTasks()[1].setTid(100);
    });
    in_live("task.name",
            [](State state) { state.getTasks()[0].setName(data("sixteen-bytes-xx")); });
    in_live("task.registers", [](State state) { state.getTasks()[2].disownRegisters(); });
    in_live("task.attributes",
            [](State state) { state.getTasks()[1].getAttributes().setMachineCheckPolicy(3); });
    in_live("namespace.ids",
            [](State state) { state.getNamespaceSets()[1].getUidMap()[0].setCount(0); });
    in_live("task.alternate-stack",
            [](State state) { state.getTasks()[1].getAlternateStack().setSize(0); });
    in_live("task.rseq", [](State state) { state.getTasks()[0].getRseq().setAddress(0); });
    in_live("task.thread-area",
            [](State state) { state.getTasks()[0].getThreadAreas()[0].setContents(4); });
    in_live("registers.order", [](State state) {
      exchange<schema::RegisterSet>(state.getTasks()[0].getRegisters(), 0, 1);
    });
    in_live("registers.size",
            [](State state) { state.getTasks()[0].getRegisters()[1].setData(data("short")); });
    in_live("registers.xsave", [](State state) {
      // XCOMP_BV with bit 63: compacted.
      state.getTasks()[0].getRegisters()[2].getData()[527] = 0x80;
    });
    in_live("registers.xsave-features", [](State state) { state.getCpu().setXsaveFeatures(7); });
  }

  void signals() {
    in_live("signal.number",
            [](State state) { state.getTasks()[1].getPendingSignals()[0].setSignal(65); });
    in_live("signal.mask", [](State state) { state.getTasks()[0].setSignalMask(0x100); });
    in_live("signal.raw",
            [](State state) { state.getTasks()[1].getPendingSignals()[1].setRaw(data("short")); });
    auto actions = [](State state) { return state.getSignalHandlerTables()[0].getActions(); };
    in_live("signal-action.order",
            [&](State state) { exchange<schema::SignalAction>(actions(state), 0, 1); });
    in_live("signal-action.default", [&](State state) { actions(state)[1].setHandler(0); });
    in_live("signal-action.fixed", [&](State state) { actions(state)[1].setSignal(9); });
    in_live("signal-action.restorer", [&](State state) { actions(state)[1].setRestorer(4096); });
  }

  void spaces() {
    auto space = [](State state) { return state.getAddressSpaces()[0]; };
    in_live("space.layout", [&](State state) { space(state).getLayout().setBrk(0); });
    in_live("space.auxv", [&](State state) { space(state).getAuxv()[2].setType(0); });
    in_live("space.executable", [&](State state) { state.getAddressSpaces()[1].setExecutable(2); });
    in_live("space.attributes",
            [&](State state) { space(state).getAttributes().setLockFuture(false); });
    in_live("space.stack", [&](State state) {
      space(state).getMappings()[3].setRole(schema::MappingRole::STACK);
    });
  }

  void mappings() {
    auto mapping = [](State state, unsigned i) {
      return state.getAddressSpaces()[0].getMappings()[i];
    };
    in_live("mapping.range",
            [&](State state) { mapping(state, 9).setEnd(mapping(state, 9).getStart() + 5); });
    in_live("mapping.order", [&](State state) {
      exchange<schema::Mapping>(state.getAddressSpaces()[0].getMappings(), 2, 3);
    });
    in_live("mapping.overlap", [&](State state) { mapping(state, 2).setEnd(0x12002000); });
    in_live("mapping.protection", [&](State state) { mapping(state, 3).setProtection(0x13); });
    in_live("mapping.flags", [&](State state) { mapping(state, 3).setFlags(0x32); });
    in_live("mapping.advice", [&](State state) { mapping(state, 5).setAdvice(0x18); });
    in_live("mapping.attributes", [&](State state) { mapping(state, 5).setUserFaults(8); });
    in_live("mapping.pkey", [&](State state) { mapping(state, 5).setPkey(16); });
    in_live("mapping.object", [&](State state) { mapping(state, 0).setFlags(0x22); });
    in_live("mapping.object-offset", [&](State state) { mapping(state, 7).setObjectOffset(100); });
    in_live("mapping.shared", [&](State state) { mapping(state, 6).initRuns(1)[0].setPages(4); });
    in_live("mapping.role", [&](State state) { mapping(state, 2).setProtection(1); });
  }

  void runs() {
    auto runs = [](State state) { return state.getAddressSpaces()[0].getMappings()[3].getRuns(); };
    in_live("run.empty", [&](State state) {
      runs(state)[1].setPages(0);
      runs(state)[2].setPages(3);
    });
    in_live("run.fields", [&](State state) { runs(state)[1].setFirst(3); });
    in_live("run.stream", [&](State state) { runs(state)[2].setFirst(1000); });
    in_live("run.backing", [&](State state) { runs(state)[1].setKind(schema::RunKind::BACKING); });
    in_live("run.join", [&](State state) {
      // 3 stream pages, 2 zero pages, 1 stream page: the zero pages in two runs.
      auto list = state.getAddressSpaces()[0].getMappings()[3].initRuns(3);
      list[0].setPages(1);
      list[1].setPages(2);
      list[2].setKind(schema::RunKind::STREAM);
      list[2].setPages(3);
      list[2].setFirst(state.getAddressSpaces()[1].getMappings()[1].getRuns()[0].getFirst());
    });
    in_live("run.cover", [&](State state) { runs(state)[1].setPages(1); });
    in_live("run.guard", [](State state) {
      state.getMemoryObjects()[2].getRuns()[0].setKind(schema::RunKind::GUARD);
    });
    in_live("run.default", [](State state) {
      state.getAddressSpaces()[0].getMappings()[5].initRuns(1)[0].setPages(4);
    });
  }

  void objects() {
    auto object = [](State state, unsigned i) { return state.getMemoryObjects()[i]; };
    in_live("object.length", [&](State state) { object(state, 1).setLength(2 * 4096 + 1001); });
    in_live("object.runs", [&](State state) { object(state, 4).disownRuns(); });
    in_live("object.duplicate", [&](State state) { object(state, 3).setInode(99); });
    forged(
        "object.tail",
        [&](Forge& forge) {
          // The library's last page is page 2 of the stream, used up to byte 1000.
          forge.change_pages(
              [](std::span<std::byte> stream) { stream[2 * 4096 + 1000] = std::byte{1}; });
        },
        {}, Profile::kRaw);
    in_live("object.seals", [&](State state) { object(state, 3).getMemfd().setSeals(0x100); });
    in_live("file.path", [&](State state) {
      object(state, 0).getFile().setPathBase(schema::PathBase::TRACE);
      object(state, 0).getFile().setPath(data("../../etc/passwd"));
    });
    in_live("file.digest",
            [&](State state) { object(state, 0).getFile().getDigests()[1].setLength(4197); });
    in_live("file.digest-missing",
            [&](State state) { object(state, 0).getFile().getDigests()[0].setLength(4096); });
  }

  void files() {
    in_live("context.path", [](State state) {
      state.getFileSystemContexts()[0].setWorkingDirectory(data("home"));
    });
    in_live("context.umask", [](State state) { state.getFileSystemContexts()[0].setUmask(01000); });
    in_live("descriptor.order",
            [](State state) { state.getFileTables()[0].getDescriptors()[1].setFd(0); });
    in_live("descriptor.unknown",
            [](State state) { state.getFileTables()[0].setContentsUnknown(true); });
    auto file = [](State state, unsigned i) { return state.getOpenFiles()[i]; };
    in_live("open-file.offset", [&](State state) { file(state, 1).setOffset(UINT64_MAX); });
    in_live("open-file.lock", [&](State state) { file(state, 1).getLocks()[1].setStart(11); });
    in_live("open-file.object", [&](State state) { file(state, 8).getMemfd().setObject(2); },
            {"state.unreferenced"});
    in_live("open-file.owner", [&](State state) { file(state, 16).setOwner(-5); });
    in_live("open-file.contents", [&](State state) { file(state, 16).setContentsObject(0); });
    in_live("open-file.inotify",
            [&](State state) { file(state, 13).getInotify().getWatches()[1].setDescriptor(1); });
    in_live("open-file.socket",
            [&](State state) { file(state, 15).getSocketEnd().getOptions()[1].setName(7); });
    in_live("open-file.pipe", [&](State state) { file(state, 4).getPipe().setCapacity(5); });
    in_live("open-file.epoll",
            [&](State state) { file(state, 7).getEpoll().getWatches()[1].setFd(3); });
  }

  void rr() {
    in_replay("rr.saved-memory", [](State state) {
      exchange<schema::rr::SavedMemory>(state.getAddressSpaces()[0].getRr().getSavedMemory(), 0, 1);
    });
    in_replay("rr.mapping-use", [](State state) {
      state.getAddressSpaces()[0].getMappings()[3].initRr().setUse(
          schema::rr::MappingUse::PATCH_STUBS);
    });
    auto table = [](State state, unsigned i) { return state.getFileTables()[i].getRr(); };
    in_replay("rr.monitor-order", [&](State state) { table(state, 0).getMonitors()[1].setFd(0); });
    in_replay("rr.monitor-kind", [&](State state) {
      table(state, 0).getMonitors()[0].setKind(schema::rr::FileMonitor::Kind::BPF_MAP);
    });
    in_replay("rr.monitors-unknown",
              [&](State state) { table(state, 0).setMonitorsUnknown(true); });
    auto session = [](State state) { return state.getSession().getRr(); };
    in_replay("rr.mapped-files",
              [&](State state) { session(state).getMappedFiles()[1].setInode(4711); });
    in_replay("rr.step", [&](State state) { session(state).getCurrentStep().setSystemCall(-2); });
  }

  void rest() {
    in_live("cpu.missing", [](State state) { state.disownCpu(); });
    in_live("cpu.xsave-layout",
            [](State state) { state.getCpu().getXsaveLayout()[0].setNumber(5); });
    in_live("cpu.cpuid", [](State state) { state.getCpu().getCpuid()[1].setLeaf(1); });
    in_replay("session.next-serial", [](State state) { state.getSession().setNextTaskSerial(2); });
    auto extension = [](State state, std::initializer_list<const char*> ids) {
      auto list = state.initExtensions(static_cast<unsigned>(ids.size()));
      unsigned i = 0;
      for (const char* id : ids) {
        list[i++].setId(id);
      }
      return list;
    };
    in_live("extension.id", [&](State state) { extension(state, {"Example"}); });
    in_live("extension.order",
            [&](State state) {
              extension(state, {"com.example.b", "com.example.a"});
            },
            {"extension.unknown"});
    in_live("extension.unknown", [&](State state) { extension(state, {"com.example.a"}); });
    in_live("extension.critical",
            [&](State state) { extension(state, {"com.example.a"})[0].setCritical(true); });
  }

  std::vector<InvalidCase> cases_;
};

} // namespace

std::vector<InvalidCase> invalid_cases() {
  return Cases().build();
}

} // namespace rrpcp::test
