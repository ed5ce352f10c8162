// How much memory writer and readers need.

#include "bench.h"
#include "common/text.h"
#include "rrpcp/error.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/process/restore.h"
#include "rrpcp/reader.h"
#include "rrpcp/validate.h"
#include "subject_process.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits.h>
#include <memory>

namespace rrpcp::bench {

namespace {

constexpr std::uint64_t kBound = 64u << 20; // beside the manifest

// VmHWM of /proc/self/status, in KiB: since this program was started, unlike ru_maxrss of
// getrusage(2), which begins with what the program before it in this process had.
std::uint64_t peak_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) {
      return std::stoull(line.substr(6));
    }
  }
  throw Error(ErrorCode::kSystem, "/proc/self/status has no VmHWM");
}

std::uint64_t probe(const std::vector<std::string>& arguments) {
  std::string command = "'" + std::filesystem::read_symlink("/proc/self/exe").string() + "' probe";
  for (const std::string& argument : arguments) {
    command += " '" + argument + "'";
  }
  const std::unique_ptr<FILE, int (*)(FILE*)> output(::popen(command.c_str(), "re"), &::pclose);
  unsigned long long kib = 0;
  if (output == nullptr || std::fscanf(output.get(), "%llu", &kib) != 1) {
    throw Error(ErrorCode::kSystem, "the measurement failed: " + command);
  }
  return kib << 10;
}

} // namespace

int memory_probe(const std::vector<std::string>& arguments) {
  const std::string& job = arguments.at(0);
  if (job == "capture") {
    capture_process(static_cast<pid_t>(std::stol(arguments.at(1))), arguments.at(2),
                    {.profile = parse_profile(arguments.at(3))});
  } else if (job == "validate") {
    validate_file(arguments.at(1));
  } else if (job == "read") {
    const CheckpointReader reader = CheckpointReader::open(arguments.at(1));
    std::uint64_t bytes = 0;
    reader.read_stream(0, reader.footer().page_count,
                       [&](std::span<const std::byte> pages) { bytes += pages.size(); });
    if (bytes != reader.footer().page_count * reader.header().page_size) {
      return 1;
    }
  } else if (job == "restore") {
    const CheckpointReader reader = CheckpointReader::open(arguments.at(1));
    restore_process(reader, {.allow = {"new-ids"}});
  } else {
    return 2;
  }
  std::printf("%llu\n", static_cast<unsigned long long>(peak_kib()));
  return 0;
}

void memory_rows(Bench& bench, const SavedFiles& files) {
  if (!bench.wants("memory")) {
    return;
  }
  const std::string size = tools::human_size(files.process_bytes);
  bench.note("measuring the memory needed for " + size);
  const std::uint64_t bound =
      kBound + CheckpointReader::open(files.raw).find_section(format::kSectionManifest)->length;
  auto add = [&](const std::string& what, const std::vector<std::string>& arguments) {
    bench.report.add({.what = "memory to " + what,
                      .size = size,
                      .unit = Unit::kBytes,
                      .figure = probe(arguments),
                      .baseline_name = "64 MiB + manifest",
                      .baseline = bound,
                      .most = bound});
  };
  {
    const SubjectProcess subject(files.process_bytes, bench.directory);
    const std::string path = bench.file("probe.pcp");
    for (const char* profile : {"raw", "default"}) {
      add(std::string("save, ") + profile,
          {"capture", std::to_string(subject.pid()), path, profile});
    }
    std::filesystem::remove(path);
  }
  add("read, default", {"read", files.compressed});
  add("validate, default", {"validate", files.compressed});
  add("restore, default", {"restore", files.compressed});
}

} // namespace rrpcp::bench
