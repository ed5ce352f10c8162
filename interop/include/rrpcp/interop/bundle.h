// Bundles: checkpoints with everything that a machine without their files needs, in one archive.
// spec/bundle.md says what is in one.
#pragma once

#include "rrpcp/error.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rrpcp {

enum class BundleKind { kCheckpoint, kFile, kDirectory, kTrace, kDebug };

// "checkpoint", "file", "directory", "trace", "debug".
std::string_view bundle_kind_name(BundleKind kind);

struct BundleEntry {
  BundleKind kind = BundleKind::kFile;
  // In the archive: ASCII, relative, without "." and ".." parts.
  std::string name;
  std::uint64_t size = 0;
  std::array<std::uint8_t, 32> sha256{};
  // Permission bits, and st_mtim in nanoseconds since 1970.
  std::uint32_t mode = 0;
  std::int64_t modified = 0;

  // Where the entry belongs: for files, directories and debug files the absolute path, for others
  // the part of the name behind its folder.
  std::string path() const;
};

// What a reader of a bundle is willing to spend.
struct BundleLimits {
  // Bytes of all entries together. 0: 16 GiB and 256 times the length of the archive.
  std::uint64_t max_bytes = 0;
  std::uint64_t max_entries = 1'000'000;
  std::uint64_t max_manifest_bytes = std::uint64_t{64} << 20;
};

struct BundleCreateOptions {
  // Directory of the trace that the checkpoints belong to; all of it goes into the bundle but for
  // checkpoints. Empty: no trace.
  std::string trace_directory;
  // Debug files that are found by build id go into the bundle.
  bool debug_files = false;
  // Leave out what is missing or changed, and say so. Off: refuse.
  bool allow_missing = false;
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};
};

struct BundleReport {
  std::vector<BundleEntry> entries;
  std::uint64_t archive_bytes = 0;
  std::uint64_t bytes = 0; // of all entries
  // What is not in the bundle and a restore may miss; one sentence each.
  std::vector<std::string> remarks;
  // check_bundle(): the checkpoints that pcp-validate would not call valid, one sentence each.
  std::vector<std::string> invalid;
};

// Writes a bundle of `checkpoints` to the file `output`, which appears whole or not at all. Throws
// Error: kBackingFile for a file that is missing or another one than it was, and what reading and
// writing throw.
BundleReport create_bundle(const std::vector<std::string>& checkpoints, const std::string& output,
                           const BundleCreateOptions& options = {});

// Reads all of a bundle, compares every digest, and validates the checkpoints in it. Throws Error:
// kNotACheckpoint for what is no bundle, kDamaged for one that breaks a rule, kLimit.
BundleReport check_bundle(const std::string& path, const BundleLimits& limits = {});
// The same for bytes in memory; checkpoints are not validated.
BundleReport check_bundle(std::span<const std::byte> bytes, const std::string& name,
                          const BundleLimits& limits = {});

struct BundleExtractOptions {
  BundleLimits limits;
  // Where files and directories get their own paths, as "/" or the root of a container; empty: they
  // go below `directory` too. Nothing is written outside of it, whatever symbolic links are there.
  std::string root;
};

struct BundleExtractResult {
  std::vector<std::string> checkpoints; // paths of the extracted ones
  std::uint64_t written = 0;            // files
  std::uint64_t kept = 0;               // files that were there already, with the same content
  std::vector<std::string> remarks;
};

// Checks the whole bundle and whether anything is in the way, and only then writes: checkpoints to
// `directory`/checkpoints, traces to `directory`/traces, files to `directory`/root or to
// options.root. What is there already is never overwritten: throws Error(kExists) where it has
// another content. Links, devices and set-id bits are never made.
BundleExtractResult extract_bundle(const std::string& path, const std::string& directory,
                                   const BundleExtractOptions& options = {});

} // namespace rrpcp
