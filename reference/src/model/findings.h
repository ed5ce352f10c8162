// Collecting what a validation finds.
#pragma once

#include "framing/sink.h"
#include "rrpcp/validate.h"

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace rrpcp {

// A place in the manifest, as a chain of names and indices that lives on the stack; it becomes text
// only where something is found.
class Path {
public:
  // NOLINTNEXTLINE: implicit on purpose
  Path(const char* name) : name_(name) {}

  // A field of this place. The result must not outlive *this.
  Path operator/(const char* name) const { return Path(this, name, kNoIndex); }
  // An element of this list. The result must not outlive *this.
  Path operator[](std::uint64_t index) const { return Path(this, nullptr, index); }

  std::string str() const;

private:
  static constexpr std::uint64_t kNoIndex = UINT64_MAX;

  Path(const Path* parent, const char* name, std::uint64_t index)
      : parent_(parent), name_(name), index_(index) {}

  const Path* parent_ = nullptr;
  const char* name_ = nullptr;
  std::uint64_t index_ = kNoIndex;
};

// Takes findings from any thread; keeps at most a given number of each code.
class Findings final : public framing::Sink {
public:
  Findings(std::string file, std::size_t cap) : file_(std::move(file)), cap_(cap) {}

  // About bytes of the file.
  void at(DiagnosticCode code, std::uint64_t offset, std::string message) override;
  // About a place in the manifest.
  void in(DiagnosticCode code, const Path& path, std::string message);
  // Whether a finding of the code would still be listed: lets a caller spare itself the message.
  bool has_room(DiagnosticCode code) const;

  bool any_errors() const;
  // Moves everything into `report`, in order.
  void finish(ValidationReport& report);

private:
  void add(DiagnosticCode code, std::optional<std::uint64_t> offset, std::string path,
           std::string message);

  mutable std::mutex mutex_;
  std::string file_;
  std::size_t cap_;
  struct Entry {
    Finding finding;
    ValidationLevel level;
  };
  std::vector<Entry> entries_;
  std::array<std::uint64_t, kDiagnostics.size()> counts_{};
};

} // namespace rrpcp
