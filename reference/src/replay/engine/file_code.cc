#include "replay/engine/file_code.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace rrpcp::replay {

namespace {

using trace::FileCache;

// Three lists, each with its length before it.
void append_found(FileCache::Words& words, const std::vector<FoundInstruction>& list) {
  words.push_back(list.size());
  for (const FoundInstruction& found : list) {
    words.push_back(found.offset);
    words.push_back(static_cast<std::uint64_t>(found.code.kind) |
                    std::uint64_t{found.code.length} << 16 |
                    std::uint64_t{found.code.target} << 24 | std::uint64_t{found.code.width} << 32);
  }
}

class ListReader {
public:
  explicit ListReader(std::span<const std::uint64_t> words) : rest_(words) {}

  // A list whose entries have so many numbers each; nothing where there are not so many.
  std::optional<std::span<const std::uint64_t>> list(std::size_t each) {
    if (rest_.empty() || rest_[0] > (rest_.size() - 1) / each) {
      return std::nullopt;
    }
    const std::span<const std::uint64_t> found = rest_.subspan(1, rest_[0] * each);
    rest_ = rest_.subspan(1 + found.size());
    return found;
  }

private:
  std::span<const std::uint64_t> rest_;
};

bool read_found(ListReader& reader, std::vector<FoundInstruction>& list) {
  const auto words = reader.list(2);
  for (std::size_t i = 0; words && i < words->size(); i += 2) {
    const std::uint64_t code = (*words)[i + 1];
    list.push_back({(*words)[i],
                    {static_cast<schema::TrappedInstruction>(code & 0xffff),
                     static_cast<std::uint8_t>(code >> 16), static_cast<std::uint8_t>(code >> 24),
                     static_cast<std::uint8_t>(code >> 32)}});
  }
  return words.has_value();
}

} // namespace

std::optional<FileCode> find_code(const FileCache& cache, const FileCache::Key& key) {
  const std::optional<FileCache::Words> words = cache.find(key, FileCache::Kind::kCode);
  if (!words) {
    return std::nullopt;
  }
  ListReader reader(*words);
  FileCode code;
  code.elf = true;
  if (!read_found(reader, code.found.certain) || !read_found(reader, code.found.uncertain)) {
    return std::nullopt;
  }
  const auto calls = reader.list(4);
  for (std::size_t i = 0; calls && i < calls->size(); i += 4) {
    code.calls.push_back({(*calls)[i], static_cast<std::uint8_t>((*calls)[i + 1]), (*calls)[i + 2],
                          static_cast<buffer::CallSite::To>((*calls)[i + 3])});
  }
  return calls ? std::optional(std::move(code)) : std::nullopt;
}

void keep_code(const FileCache& cache, const FileCache::Key& key, const FileCode& code) {
  if (!code.elf) {
    return;
  }
  FileCache::Words words;
  append_found(words, code.found.certain);
  append_found(words, code.found.uncertain);
  words.push_back(code.calls.size());
  for (const buffer::CallSite& call : code.calls) {
    words.insert(words.end(),
                 {call.offset, call.length, call.filling, static_cast<std::uint64_t>(call.to)});
  }
  cache.keep(key, FileCache::Kind::kCode, words);
}

} // namespace rrpcp::replay
