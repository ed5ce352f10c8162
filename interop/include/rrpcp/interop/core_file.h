// ELF core files: what debuggers read (core(5), elf(5)). spec/core-files.md says what becomes of
// what.
#pragma once

#include "rrpcp/memory_view.h"
#include "rrpcp/output.h"
#include "rrpcp/reader.h"
#include "rrpcp/writer.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace rrpcp {

// Which pages of mapped files that the process did not write to go into a core file.
enum class CorePages {
  kNone,    // none: whoever reads the core takes them from the files
  kHeaders, // the first page of each ELF image, by which its build id is found
  kAll,     // all: the core needs no file
};

struct CoreOptions {
  BackingFiles files = {};
  CorePages file_pages = CorePages::kHeaders;
  // Only this process; every one where it is not set.
  std::optional<std::int32_t> process = std::nullopt;
  // Called now and then with bytes written and to be written in all.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};
};

struct CoreResult {
  std::string path;
  std::int32_t pid = 0;
  // Length of the file, holes included, and what it takes on the disk.
  std::uint64_t bytes = 0;
  std::uint64_t stored_bytes = 0;
  // Segments of type PT_LOAD, and threads.
  std::uint64_t segments = 0;
  std::uint64_t threads = 0;
  // What the core lacks and why; one sentence each.
  std::vector<std::string> remarks;
};

// Writes a core file for each process of `checkpoint`: `path` where it is one, else `path` with a
// dot and the pid. A file of that name is replaced; each appears whole or not at all. Throws Error:
// kUnsupportedState for a machine without core layout here or threads without general registers,
// kInvalidArgument for an unknown process, kBackingFile where pages of files were asked for and a
// file is missing or another one, and what reading and writing throw.
std::vector<CoreResult> write_cores(const CheckpointReader& checkpoint, const std::string& path,
                                    const CoreOptions& options = {});

struct CoreImportOptions {
  WriterOptions writer = {};
  // Name and time of this machine are left out of the provenance, for reproducible files.
  bool reproducible = false;
  // Look for the files that the core names. Off: the core alone is read.
  bool look_for_files = true;
};

struct CoreImportResult {
  CheckpointId id;
  std::int32_t pid = 0;
  std::uint64_t threads = 0;
  std::uint64_t mappings = 0;
  // Pages that the core has, and those that neither it nor a file has.
  std::uint64_t pages = 0;
  std::uint64_t unknown_pages = 0;
  std::vector<std::string> remarks;
};

// Writes the core file `path` (of the kernel, gdb's gcore, write_cores()) as a checkpoint that is
// for looking at only: State.inspectOnly is set. Pages that the core leaves out and that belong to
// an ELF file whose build id is the one in the core refer to that file; others are `unknown`.
// Nothing in the file is trusted; memory stays bounded by the notes and headers it really has.
// Throws Error: kNotACheckpoint for anything but an ELF core, kUnsupportedState for a machine or
// byte order that is not known, kDamaged, kLimit, and from the output.
CoreImportResult import_core(const std::string& path, Output& output,
                             const CoreImportOptions& options = {});
// The same for bytes in memory; `name` is what errors call them.
CoreImportResult import_core(std::span<const std::byte> bytes, const std::string& name,
                             Output& output, const CoreImportOptions& options = {});

// Whether the file begins as an ELF core does. False where it cannot be read.
bool is_core_file(const std::string& path);

} // namespace rrpcp
