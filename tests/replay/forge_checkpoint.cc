// forge_checkpoint FILE WHAT: changes one thing in a checkpoint and seals it again, so that every
// checksum and the id are right for it: what only a replay can tell. Prints what it changed. The
// chunks must be raw.
//
//   memory      one byte, in the middle of the page stream
//   first-page, last-page   one byte of that page of the stream
//   general     r12 of the first task
//   extended    a byte of xmm7 of the first task
//   mask        a signal in the mask of the first task
//   calls       how many system calls the replayer has behind it
//   action      the mask of a signal's disposition

#include "support/checkpoint_bytes.h"
#include "support/forge.h"

#include <cstddef>
#include <cstdio>
#include <elf.h>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <sys/user.h>

namespace rrpcp::test {
namespace {

using State = schema::State::Builder;

void flip_register(State state, std::uint32_t type, std::size_t offset) {
  for (auto set : state.getTasks()[0].getRegisters()) {
    if (set.getNoteType() == type) {
      set.getData()[offset] ^= 0x10;
      return;
    }
  }
  throw std::runtime_error("the task has no such registers");
}

void flip_page(Forge& forge, const std::function<std::size_t(std::size_t pages)>& choose) {
  forge.change_pages([&](std::span<std::byte> stream) {
    const std::size_t page = choose(stream.size() / 4096);
    stream[page * 4096 + 1234] ^= std::byte{0x04};
    std::printf("page %zu of %zu\n", page, stream.size() / 4096);
  });
}

const std::map<std::string, std::function<void(Forge&)>> kChanges = {
    {"memory", [](Forge& forge) { flip_page(forge, [](std::size_t pages) { return pages / 2; }); }},
    {"first-page", [](Forge& forge) { flip_page(forge, [](std::size_t) { return 0; }); }},
    {"last-page",
     [](Forge& forge) { flip_page(forge, [](std::size_t pages) { return pages - 1; }); }},
    {"general",
     [](Forge& forge) {
       forge.change([](schema::Manifest::Builder manifest) {
         flip_register(manifest.getState(), NT_PRSTATUS, offsetof(user_regs_struct, r12));
       });
     }},
    {"extended",
     [](Forge& forge) {
       forge.change([](schema::Manifest::Builder manifest) {
         // Of the legacy region of an XSAVE area (Intel SDM volume 1, section 13.4.1).
         flip_register(manifest.getState(), NT_X86_XSTATE, 160 + 7 * 16 + 5);
       });
     }},
    {"mask",
     [](Forge& forge) {
       forge.change([](schema::Manifest::Builder manifest) {
         auto task = manifest.getState().getTasks()[0];
         task.setSignalMask(task.getSignalMask() ^ (1u << 11)); // SIGUSR2
       });
     }},
    {"calls",
     [](Forge& forge) {
       forge.change([](schema::Manifest::Builder manifest) {
         auto statistics = manifest.getState().getSession().getStatistics();
         statistics.setSystemCallsPerformed(statistics.getSystemCallsPerformed() + 1);
       });
     }},
    {"action",
     [](Forge& forge) {
       forge.change([](schema::Manifest::Builder manifest) {
         for (auto table : manifest.getState().getSignalHandlerTables()) {
           for (auto action : table.getActions()) {
             action.setMask(action.getMask() ^ 2);
             return;
           }
         }
         throw std::runtime_error("no signal has a disposition of its own");
       });
     }},
};

int run(const std::string& path, const std::string& what) {
  Forge forge(read_file(path));
  kChanges.at(what)(forge);
  write_file(path, forge.assemble());
  return 0;
}

} // namespace
} // namespace rrpcp::test

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: forge_checkpoint FILE WHAT\n");
    return 2;
  }
  try {
    return rrpcp::test::run(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "forge_checkpoint: %s\n", error.what());
    return 2;
  }
}
