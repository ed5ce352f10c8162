#include "pcp-upgrade/work.h"

#include <algorithm>
#include <filesystem>

namespace rrpcp::tools {

namespace {

namespace fs = std::filesystem;

std::vector<std::string> checkpoint_files(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".pcp") {
      files.push_back(entry->path().string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') {
    path.pop_back();
  }
  return path;
}

// The directory that holds `path`.
std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

} // namespace

void Work::add(const std::string& argument) {
  const std::string path = without_slashes(argument);
  try {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found) {
      throw Error(ErrorCode::kNotFound, "there is no such file or directory").in_file(path);
    }
    if (error) {
      throw system_error(error.value(), "cannot examine").in_file(path);
    }
    if (fs::is_directory(status)) {
      add_directory(path);
    } else {
      add_file(path);
    }
  } catch (const Error& error) {
    problems_.push_back({path, error});
  }
}

void Work::add_file(const std::string& path) {
  const std::string name = fs::path(path).filename().string();
  if (name == "metadata") {
    const std::string directory = parent_of(path);
    const std::string real = fs::absolute(directory).lexically_normal().string();
    add_named(parent_of(without_slashes(real)), fs::path(without_slashes(real)).filename().string(),
              path);
  } else if (name == "checkpoints" && is_trace_directory(parent_of(path))) {
    const LegacyTrace& trace = open_trace(parent_of(path));
    for (const LegacyEntry& entry : trace.entries()) {
      if (entry.generation != Generation::kRr2025) {
        add_entry(trace, entry);
      }
    }
  } else if (name.starts_with("checkpoint-") && is_trace_directory(parent_of(path))) {
    add_named(parent_of(path), name, path);
  } else {
    add_current(path);
  }
}

void Work::add_directory(const std::string& path) {
  if (is_trace_directory(path)) {
    add_trace(path);
    return;
  }
  const fs::path real = fs::absolute(path).lexically_normal();
  if (real.filename().string().starts_with("checkpoint-")) {
    if (!is_trace_directory(real.parent_path().string())) {
      throw Error(ErrorCode::kUnsupportedState,
                  "a checkpoint of rr's can be read only inside its trace")
          .in_file(path)
          .with_hint("put the directory back into the trace it was made from");
    }
    add_named(real.parent_path().string(), real.filename().string(), path);
    return;
  }
  const std::vector<std::string> files = checkpoint_files(path);
  if (files.empty()) {
    throw Error(ErrorCode::kNotFound, "there is no checkpoint of any version here").in_file(path);
  }
  for (const std::string& file : files) {
    add_current(file);
  }
}

void Work::add_trace(const std::string& path) {
  const LegacyTrace& trace = open_trace(path);
  for (const LegacyEntry& entry : trace.entries()) {
    add_entry(trace, entry);
  }
  for (const std::string& file :
       checkpoint_files((fs::path(path) / std::string(kTraceStoreName)).string())) {
    add_current(file);
  }
}

void Work::add_current(const std::string& path) {
  const bool known = std::any_of(items_.begin(), items_.end(),
                                 [&](const WorkItem& item) { return item.path == path; });
  if (!known) {
    items_.push_back({path, nullptr, nullptr});
  }
}

void Work::add_named(const std::string& trace_path, const std::string& name,
                     const std::string& path) {
  const LegacyTrace& trace = open_trace(trace_path);
  for (const LegacyEntry& entry : trace.entries()) {
    if (entry.name == name || fs::path(entry.page_directory).filename() == name) {
      add_entry(trace, entry);
      return;
    }
  }
  throw Error(ErrorCode::kNotFound, "no checkpoint of the trace has this name").in_file(path);
}

void Work::add_entry(const LegacyTrace& trace, const LegacyEntry& entry) {
  const bool known = std::any_of(items_.begin(), items_.end(),
                                 [&](const WorkItem& item) { return item.entry == &entry; });
  if (!known) {
    const bool directory = entry.generation == Generation::kRr2025;
    items_.push_back({directory ? entry.page_directory : entry.path, &trace, &entry});
  }
}

const LegacyTrace& Work::open_trace(const std::string& path) {
  std::error_code error;
  const std::string real = fs::canonical(path, error).string();
  const auto known = by_path_.find(real);
  if (known != by_path_.end()) {
    return *known->second;
  }
  traces_.push_back(LegacyTrace::open(path));
  const LegacyTrace& trace = traces_.back();
  by_path_.emplace(real, &trace);
  for (const Finding& finding : trace.findings()) {
    if (finding.severity == Severity::kError) {
      problems_.push_back({finding.file, Error(ErrorCode::kDamaged, finding.message)
                                             .in_file(finding.file)
                                             .with_diagnostic(finding.code)
                                             .with_hint(std::string(finding.hint))});
    }
  }
  return trace;
}

} // namespace rrpcp::tools
