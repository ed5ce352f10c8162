// Code of a task, made again with a count of its instructions.
//
// No counter of the processor is needed to know how many instructions a task has executed: its code
// is copied, basic block by basic block, into memory of ours in its process, where each block first
// takes its number of instructions from a counter. The program's own code is neither changed nor
// executed meanwhile, so that nothing depends on how long an instruction is or where jumps lead.
// Branches are followed to copies of their targets; returns and indirect jumps look them up in
// a table. What the copies add changes neither flags nor registers that the program sees.
#pragma once

#include "process/proc_maps.h"
#include "process/remote_memory.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace rrpcp::replay {

// Bytes whose change is looked for after each instruction that writes memory.
struct WatchedBytes {
  std::uint64_t address = 0;
  std::uint32_t length = 0; // 1, 2, 4 or 8
};

// Bytes that an instruction reads, or also writes. They are looked at in two steps: what comes near
// them leaves the copies and is examined exactly by whoever runs them.
struct AccessedBytes {
  std::uint64_t address = 0;
  std::uint32_t length = 0; // at most 64
  bool writes = false;      // these count too

  bool operator==(const AccessedBytes&) const = default;
};

// An instruction that is about to be executed with these general registers, in the order of their
// numbers in instructions.
struct MetState {
  std::uint64_t address = 0;
  std::array<std::uint64_t, 16> registers{};

  bool operator==(const MetState&) const = default;
};

// What is looked for while a task executes.
struct CountedSites {
  // About to execute the instruction at one of these.
  std::vector<std::uint64_t> addresses = {};
  std::vector<WatchedBytes> watched = {};
  std::vector<AccessedBytes> accessed = {};
  // Stops at this, in any case and before all others.
  std::optional<MetState> met = {};
  // Notes the latest finding and goes on, instead of stopping.
  bool record = false;
  // Without `record`: of the first address, stops at this arrival only.
  std::uint64_t times = 1;

  bool operator==(const CountedSites& other) const {
    return addresses == other.addresses && record == other.record && accessed == other.accessed &&
           met == other.met && watched.size() == other.watched.size() &&
           std::equal(watched.begin(), watched.end(), other.watched.begin(),
                      [](const WatchedBytes& a, const WatchedBytes& b) {
                        return a.address == b.address && a.length == b.length;
                      });
  }
};

// The memory of ours in the process: where it is, by the address at its beginning.
struct CountedLayout {
  static constexpr std::uint64_t kDataLength = 0x201000; // a page of variables, four tables
  static constexpr std::uint64_t kCodeLength = 8 << 20;
  static constexpr std::uint64_t kLength = kDataLength + kCodeLength;
  // Variables, 8 bytes each.
  static constexpr std::uint32_t kCounter = 0x00;
  static constexpr std::uint32_t kTarget = 0x08; // of an indirect jump
  static constexpr std::uint32_t kJump = 0x10;
  static constexpr std::uint32_t kLast = 0x18;   // counter at the latest finding
  static constexpr std::uint32_t kLastId = 0x20; // its number
  static constexpr std::uint32_t kFindings = 0x28;
  static constexpr std::uint32_t kTimes = 0x30;    // arrivals at the first address that are left
  static constexpr std::uint32_t kScratch = 0x40;  // registers 0 to 7
  static constexpr std::uint32_t kDistance = 0x80; // and 8 bytes that stay zero
  static constexpr std::uint32_t kOld = 0x100;     // watched bytes
  static constexpr std::uint32_t kMet = 0x300;     // registers of a state that is looked for
  static constexpr std::size_t kMostWatched = 64;
  // Tables of 65536 entries: addresses of the program by their lowest 16 bits and where their
  // copies are; the same by bits 8 to 23.
  static constexpr std::uint32_t kKeys = 0x1000;
  static constexpr std::uint32_t kValues = 0x81000;
  static constexpr std::uint32_t kMoreKeys = 0x101000;
  static constexpr std::uint32_t kMoreValues = 0x181000;
};

// Makes the code; somebody else runs it. `base` is below 2 GiB: variables are addressed absolutely.
class CountedCode {
public:
  enum class ExitKind {
    kLink,     // the copy of `pc` is not there yet
    kIndirect, // nor that of the address in kTarget
    kLimit,    // the counter has run out: fewer are left than the block at `pc` has
    kEnd,      // of a shortened block, before `pc`
    kAddress,  // about to execute `pc`, one of the sites
    kMet,      // about to execute `pc`, with the registers of the state that is looked for
    kWatched,  // bytes have changed; `pc` is next
    kSpecial,  // the instruction at `pc` is not one that can be copied
  };
  struct Exit {
    ExitKind kind = ExitKind::kLink;
    std::uint64_t pc = 0;
    // `pc` is in kTarget instead.
    bool dynamic = false;
    // Instructions that were counted and not executed.
    std::uint32_t uncounted = 0;
    std::uint32_t id = 0;    // of the watched bytes
    std::uint32_t patch = 0; // kLink: where the displacement is; 0: nowhere
  };
  // An instruction that can fault.
  struct Origin {
    std::uint64_t pc = 0;
    std::uint32_t uncounted = 0; // itself and those behind it in its block
    std::uint32_t saved = 0;     // registers whose values are in kScratch, as bits
  };

  CountedCode(std::uint64_t base, process::RemoteMemory& memory,
              std::vector<process::ProcMapping> mappings, CountedSites sites);

  std::uint64_t base() const { return base_; }
  const CountedSites& sites() const { return sites_; }
  // Where the copy of `pc` begins; makes it, and what it leads to, where it is not there yet.
  std::uint64_t entry(std::uint64_t pc);
  // A copy of its own of at most `most` instructions from `pc`, without what is looked for at its
  // first address.
  std::uint64_t single(std::uint64_t pc, std::uint32_t most);
  // The same with what is looked for at its first address.
  std::uint64_t shortened(std::uint64_t pc, std::uint32_t most);
  // What the `int3` before `address` means.
  const Exit* exit_at(std::uint64_t address) const;
  const Origin* origin_of(std::uint64_t address) const;
  // Leads the jump of a kLink exit to the copy of its target.
  std::uint64_t link(const Exit& exit);
  // As entry(), for a target of an indirect jump: later ones find it.
  std::uint64_t indirect_entry(std::uint64_t pc);
  // Whether half of the room is used up: begin anew then.
  bool is_full() const { return code_.size() > CountedLayout::kCodeLength - (256 << 10); }
  // Writes what is new into the process.
  void flush();
  // Goes on in the memory of another thread of the process.
  void set_memory(process::RemoteMemory& memory) { memory_ = &memory; }
  // Whether code that was copied lies there.
  bool touches(std::uint64_t address, std::uint64_t length) const;
  static constexpr std::uint32_t kLongestBlock = 64;

private:
  struct Fixup {
    std::uint32_t patch = 0;
    std::uint64_t pc = 0;
  };
  struct Decoded;

  void bytes(std::initializer_list<unsigned> list);
  void value32(std::uint32_t value);
  void value64(std::uint64_t value);
  void patch32(std::uint32_t at, std::uint32_t value);
  std::uint32_t here() const { return static_cast<std::uint32_t>(code_.size()); }
  std::uint64_t address_of(std::uint32_t offset) const;
  std::uint32_t variable(std::uint32_t offset) const;
  // mov [variable], register and back.
  void store(unsigned reg, std::uint32_t offset);
  void load(unsigned reg, std::uint32_t offset);
  void jump_to(std::uint64_t pc);
  void exit(const Exit& what);
  void emit_lookup();
  void count(std::uint32_t instructions, std::uint64_t pc);
  void note_finding(std::uint32_t uncounted, std::uint32_t id);
  bool is_site(std::uint64_t pc) const;
  void look_at_address(std::uint64_t pc, std::uint32_t count);
  void look_at_registers(std::uint64_t pc, std::uint32_t count);
  void look_at_watched(std::uint32_t uncounted, std::uint64_t next, bool saved);
  bool look_at_accessed(const Decoded& decoded, std::uint32_t uncounted);
  void push_return_address(std::uint64_t value);
  enum class Make { kBlock, kFirst, kShort };
  std::uint32_t make_block(std::uint64_t pc, std::uint32_t most, Make make);
  void make_pending();
  bool copy(const Decoded& decoded);
  void end_block(const Decoded& decoded);
  void add_to_table(std::uint64_t pc, std::uint64_t target);
  std::size_t read_code(std::uint64_t pc, std::span<std::byte> out);
  bool can_be_copied(std::uint64_t pc) const;
  std::optional<Decoded> decode(std::uint64_t pc);

  const std::uint64_t base_;
  process::RemoteMemory* memory_;
  const std::vector<process::ProcMapping> mappings_;
  const CountedSites sites_;
  std::vector<std::uint8_t> code_;
  std::size_t flushed_ = 0;
  std::unordered_map<std::uint64_t, std::uint32_t> blocks_; // offsets in code_ by address
  std::map<std::uint32_t, Exit> exits_;                     // by the offset behind the int3
  std::map<std::uint32_t, Origin> origins_;                 // by offset
  std::vector<Fixup> fixups_;
  std::vector<std::uint32_t> patched_; // places before flushed_ that changed
  std::vector<std::pair<std::uint32_t, std::uint64_t>> table_entries_; // offset, value
  std::unordered_map<std::uint32_t, std::uint64_t> keys_;              // in the process's tables
  std::size_t tables_flushed_ = 0;
  std::map<std::uint64_t, std::vector<std::byte>> pages_; // of the program's code
  std::uint32_t lookup_ = 0;
};

} // namespace rrpcp::replay
