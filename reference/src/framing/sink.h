// Where the rules of the container report what breaks them.
#pragma once

#include "base/diagnostics.h"

#include <cstdint>
#include <string>

namespace rrpcp::framing {

// Every rule about bytes is written once and used by readers, which refuse with the first thing
// they find, and by the validator, which collects all of them.
class Sink {
public:
  virtual ~Sink() = default;
  // `offset` is the byte of the file; `message` one sentence without a final period, which names
  // what was found.
  virtual void at(DiagnosticCode code, std::uint64_t offset, std::string message) = 0;
};

// Throws the first error as an rrpcp::Error that names the file; passes over warnings and what is
// only worth knowing. Error codes: kNotACheckpoint for a missing magic, kIncomplete for a file that
// ends early, kUnsupportedFeature for what a newer release may know, kDamaged for everything else.
class ThrowingSink final : public Sink {
public:
  // Whether errors carry the code of the diagnostic: those of a trace's stream, which follow the
  // same rules, have none.
  enum class Codes { kGiven, kNone };

  explicit ThrowingSink(std::string file, Codes codes = Codes::kGiven)
      : file_(std::move(file)), codes_(codes) {}

  void at(DiagnosticCode code, std::uint64_t offset, std::string message) override;

private:
  std::string file_;
  Codes codes_;
};

} // namespace rrpcp::framing
