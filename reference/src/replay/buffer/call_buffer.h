// The area in a recorded program's memory whose code makes calls without a stop.
#pragma once

#include "process/remote_memory.h"
#include "replay/buffer/buffer_abi.h"
#include "replay/buffer/call_sites.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <sys/types.h>
#include <sys/user.h>
#include <utility>
#include <vector>

namespace rrpcp::replay::buffer {

// Of the area's code: address behind the `syscall` by which it makes calls, and behind the one at
// which the recorder stops it.
std::uint64_t address_of_made_call();
std::uint64_t address_of_leaving();
// Of the instruction at which the recorder has to carry out XSAVEC or CPUID, and of the area's own
// XSAVEC, which may fault.
std::uint64_t address_of_refusal();
std::uint64_t address_of_saving();

// A call that was made without a stop.
struct BufferedCall {
  const CallEntry* entry = nullptr;
  struct Piece {
    std::uint64_t address = 0;
    bool written = false;
    std::span<const std::byte> bytes;
  };
  std::vector<Piece> pieces;
  const FileFacts* file = nullptr; // of what it has opened or mapped, where that was looked at
};

// What the recorder knows of one address space's area; copied when the address space is. One thread
// at a time, while no task of the program runs but for disable(). Everything that takes a memory
// throws Error.
class CallBuffer {
public:
  using Mapping = std::pair<std::uint64_t, std::uint64_t>; // [first, second)

  // There is an area, and the program is led to it.
  bool active() const { return active_; }
  // The process whose tasks may use it: one that shares the memory may have other descriptors.
  pid_t owner() const { return owner_; }
  void set_owner(pid_t process) { owner_ = process; }

  // The area of XSAVE's components, as the processor lays them out: for fill().
  struct StateLayout {
    std::uint64_t size = 0; // of all that are enabled, compacted
    std::array<StateComponent, kComponents> components{};
  };

  // The mapping at kArea exists, and may be written to: fills it. `maps`: also files are mapped
  // without a stop.
  void fill(process::RemoteMemory& memory, pid_t owner, const StateLayout& layout, bool maps);
  // Has the program jump to the area at these sites of a file, of whose mapping [start, end) the
  // byte at `start` has the offset `offset`. `more` makes an executable mapping of so many bytes
  // near an address, or says that it cannot (0). Those that are led already are left alone.
  void lead(process::RemoteMemory& memory, std::uint64_t start, std::uint64_t end,
            std::uint64_t offset, const std::vector<CallSite>& sites,
            const std::function<std::uint64_t(std::uint64_t near, std::uint64_t size)>& more);
  // The same for an XSAVEC at `address` whose bytes are `code`, where it can be led.
  void
  lead_saving(process::RemoteMemory& memory, std::uint64_t address, std::span<const std::byte> code,
              const std::function<std::uint64_t(std::uint64_t near, std::uint64_t size)>& more);
  // The same for a `cpuid` of two bytes behind `code`, which is at `address`: plain instructions
  // (plain_instruction.h).
  void lead_cpuid(process::RemoteMemory& memory, std::uint64_t address,
                  std::span<const std::byte> code,
                  const std::function<std::uint64_t(std::uint64_t near, std::uint64_t size)>& more);
  // The XSAVEC or CPUID that was led behind which the program goes on at `behind`. Throws
  // Error(kInternal) where there is none.
  std::uint64_t instead_before(std::uint64_t behind) const;
  // The XSAVEC that is led from `address`, where there is one: its bytes in memory or, with
  // `led` true, those that lead.
  void show_saving(process::RemoteMemory& memory, std::uint64_t address, bool led);
  // Puts the program's own bytes back in [start, end).
  void put_back(process::RemoteMemory& memory, std::uint64_t start, std::uint64_t end);
  // What was mapped there is not any more.
  void forget(std::uint64_t start, std::uint64_t end);
  bool leads_from(std::uint64_t start, std::uint64_t end) const;
  // For good: the program is as it was built. The area stays, unused.
  void abandon(process::RemoteMemory& memory);

  // Whether [start, end) meets the area or a mapping that belongs to it.
  bool meets(std::uint64_t start, std::uint64_t end) const;
  // Whether a task that stands there is in its code.
  bool executes(std::uint64_t rip) const;
  // Of one that has executed no more on its way there than instructions of the program's own, or
  // that does not get any further than the first jump (EFLAGS.TF): where it would be in the
  // program; at the jump, where the program's own instruction has to be done yet. 0: of no other.
  std::uint64_t led_from(std::uint64_t rip) const;
  // Whether a `syscall` that the area's code may go on to is there.
  bool goes_on_to(std::uint64_t rip) const;

  // Whether calls are made without a stop. Remembered, so that asking for what is costs nothing.
  void enable(process::RemoteMemory& memory, bool on);
  // The same of XSAVEC and CPUID.
  void enable_saving(process::RemoteMemory& memory, bool on);

  // Calls `sink` with the calls made since the last time, in order. `inside`: the task stands in
  // the area's code.
  void drain(process::RemoteMemory& memory, bool inside,
             const std::function<void(const BufferedCall&)>& sink);

  // Has the code come to the `syscall` before address_of_leaving().
  void want_leaving(process::RemoteMemory& memory, bool on);
  // Whether a task that stands at `rip` is on its way back to the program, or at that `syscall`.
  static bool returns(std::uint64_t rip);
  // Of one that is, or that stands at address_of_saving(): the registers with which the program
  // goes on, `registers` being those that it has now; `made`: what it came for is done.
  user_regs_struct program_registers(process::RemoteMemory& memory,
                                     const user_regs_struct& registers, bool& made) const;
  // rcx as it was before the code went on to a `syscall` of the program's.
  static std::uint64_t former_rcx(process::RemoteMemory& memory);

  // What is known of descriptors (kRegular …), here and in the area.
  std::uint8_t descriptor(std::uint64_t fd) const {
    return fd < kDescriptors ? descriptors_[fd] : kOther;
  }
  void set_descriptor(process::RemoteMemory& memory, std::uint64_t fd, std::uint8_t bits,
                      std::uint64_t device, std::uint64_t inode);
  void clear_descriptors(process::RemoteMemory& memory);
  // Nothing will be known of any: several tasks have their own.
  void give_up_descriptors(process::RemoteMemory& memory);
  // Mappings may be others than those that calls without a stop have made.
  void forget_mappings(process::RemoteMemory& memory);
  // Somebody has mapped the file.
  void forbid_writing(process::RemoteMemory& memory, std::uint64_t device, std::uint64_t inode);

private:
  struct Lead {
    std::vector<std::byte> original; // the program's bytes at the key
    std::vector<std::byte> written;
    std::uint64_t call = 0;        // address of the `syscall`; 0: of filling
    std::vector<std::byte> saving; // XSAVEC: its own bytes (`original` may begin with `ud2`)
    bool cpuid = false;
    std::uint64_t bridge = 0;

    bool fills() const { return call == 0 && saving.empty() && !cpuid; }
  };
  struct Bridges {
    std::uint64_t start = 0;
    std::uint64_t size = 0;
    std::uint64_t used = 0;
  };

  void note_call(process::RemoteMemory& memory, const BufferedCall& call);
  Bridges* bridges_near(std::uint64_t address,
                        const std::function<std::uint64_t(std::uint64_t, std::uint64_t)>& more);

  bool active_ = false;
  bool enabled_ = false;
  bool saves_ = false;
  bool keeps_descriptors_ = true;
  pid_t owner_ = 0;
  std::uint64_t read_from_ = 0; // of the entries, where a task stood in the code at the last time
  std::map<std::uint64_t, Lead> leads_;
  // Of each XSAVEC or CPUID that was led: address by the place behind it. Kept when the program's
  // own bytes are put back: the buffer may still tell of it.
  std::map<std::uint64_t, std::uint64_t> instead_;
  std::vector<Bridges> bridges_;
  std::array<std::uint8_t, kDescriptors> descriptors_{};
  std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> writable_; // fd: device, inode
};

} // namespace rrpcp::replay::buffer
