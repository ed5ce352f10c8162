// The words in which the rows of the table say what a call reads and writes.
#pragma once

#include "trace/call_row.h"

namespace rrpcp::trace::words {

constexpr std::uint8_t u8(unsigned value) {
  return static_cast<std::uint8_t>(value);
}

constexpr Extent bytes(unsigned size) {
  return {Extent::Kind::kBytes, 0, size};
}
// As many as argument `from` says, each of `size` bytes.
constexpr Extent many(unsigned from, unsigned size = 1, unsigned plus = 0) {
  return {Extent::Kind::kArgument, u8(from), size, u8(plus)};
}
// As many as the result says, where there is room for as many as argument `from` says.
constexpr Extent result(unsigned from, unsigned size = 1, unsigned plus = 0) {
  return {Extent::Kind::kResult, u8(from), size, u8(plus)};
}
constexpr Extent bits(unsigned from) {
  return {Extent::Kind::kBits, u8(from)};
}
constexpr Extent int_at(unsigned from, unsigned most = 1 << 20) {
  return {Extent::Kind::kIntAt, u8(from), most};
}
constexpr Extent word_at(unsigned from, unsigned most = 1 << 20) {
  return {Extent::Kind::kWordAt, u8(from), most};
}
constexpr Extent pages(unsigned from) {
  return {Extent::Kind::kPages, u8(from)};
}
constexpr Extent text(unsigned most = 4096) {
  return {Extent::Kind::kText, 0, most};
}
constexpr Extent texts() {
  return {Extent::Kind::kTexts};
}
constexpr Extent buffers(unsigned from) {
  return {Extent::Kind::kBuffers, u8(from)};
}
constexpr Extent message() {
  return {Extent::Kind::kMessage};
}
constexpr Extent messages(unsigned from) {
  return {Extent::Kind::kMessages, u8(from)};
}
constexpr Extent request(unsigned from) {
  return {Extent::Kind::kRequest, u8(from)};
}

constexpr Part in(unsigned argument, Extent extent) {
  return {Part::Access::kIn, Part::When::kSucceeded, u8(argument), extent};
}
constexpr Part out(unsigned argument, Extent extent) {
  return {Part::Access::kOut, Part::When::kSucceeded, u8(argument), extent};
}
constexpr Part inout(unsigned argument, Extent extent) {
  return {Part::Access::kInOut, Part::When::kSucceeded, u8(argument), extent};
}
constexpr Part payload(unsigned argument, Extent extent) {
  return {Part::Access::kPayload, Part::When::kSucceeded, u8(argument), extent};
}
constexpr Part even_failed(Part part) {
  part.when = Part::When::kEnded;
  return part;
}
constexpr Part even_begun(Part part) {
  part.when = Part::When::kBegun;
  return part;
}

// Files.
constexpr FileChange written(unsigned descriptor) {
  return {FileChange::Kind::kWritten, u8(descriptor)};
}
constexpr FileChange written_at(unsigned descriptor, unsigned argument) {
  return {FileChange::Kind::kWritten, u8(descriptor), FileChange::Place::kArgument, u8(argument)};
}
constexpr FileChange written_before(unsigned descriptor, unsigned pointer) {
  return {FileChange::Kind::kWritten, u8(descriptor), FileChange::Place::kPointer, u8(pointer)};
}
constexpr FileChange resized(unsigned descriptor) {
  return {FileChange::Kind::kSize, u8(descriptor)};
}
constexpr FileChange resized_path() {
  return {FileChange::Kind::kSizeOfPath};
}
// Of the descriptor that the call returns, where the flags in argument `flags` say so.
constexpr FileChange truncated(unsigned flags = FileChange::kAlways) {
  return {FileChange::Kind::kSizeOfResult, 0, FileChange::Place::kPosition, u8(flags)};
}
constexpr FileChange changed_anywhere(unsigned descriptor) {
  return {FileChange::Kind::kAnywhere, u8(descriptor)};
}

} // namespace rrpcp::trace::words
