#include "bundle/bundle_manifest.h"

#include "base/hex.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

namespace rrpcp {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kDocument = "org.rrpcp.bundle";
constexpr int kVersion = 1;
constexpr std::size_t kLongestName = 8192;

struct Kind {
  BundleKind kind;
  const char* name;
  const char* folder; // the first part of its entries' names
};
constexpr Kind kKinds[] = {
    {BundleKind::kCheckpoint, "checkpoint", "checkpoints"},
    {BundleKind::kFile, "file", "root"},
    {BundleKind::kDirectory, "directory", "root"},
    {BundleKind::kTrace, "trace", "traces"},
    {BundleKind::kDebug, "debug", "root"},
};

const Kind& row_of(BundleKind kind) {
  return *std::find_if(std::begin(kKinds), std::end(kKinds),
                       [&](const Kind& row) { return row.kind == kind; });
}

bool is_plain(unsigned char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("/._-+@,:=").find(static_cast<char>(c)) != std::string_view::npos;
}

// The bytes of an encoded name; nothing for another encoding than bundle_name() makes.
std::optional<std::string> decode(std::string_view name) {
  std::string out;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    if (is_plain(c)) {
      out += name[i];
      continue;
    }
    const std::string_view digits = name.substr(i + 1, 2);
    const std::optional<std::string> byte = c == '%' ? from_hex(digits) : std::nullopt;
    if (!byte || byte->size() != 1) {
      return std::nullopt;
    }
    const auto value = static_cast<unsigned char>(byte->front());
    if (value == 0 || is_plain(value) || hex_byte(value) != digits) {
      return std::nullopt;
    }
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

bool safe_parts(std::string_view path) {
  while (true) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) {
      return false;
    }
    if (slash == std::string_view::npos) {
      return true;
    }
    path = path.substr(slash + 1);
  }
}

std::string hex(std::span<const std::uint8_t> bytes) {
  std::string out;
  for (const std::uint8_t byte : bytes) {
    out += hex_byte(byte);
  }
  return out;
}

class ManifestReader {
public:
  ManifestReader(const std::string& file, const BundleLimits& limits)
      : file_(file), limits_(limits) {}

  BundleReport read(std::string_view text) {
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object() || !json.contains("document") || json["document"] != kDocument) {
      throw Error(ErrorCode::kNotACheckpoint, "this is an archive, but no bundle").in_file(file_);
    }
    if (!json.contains("version") || json["version"] != kVersion) {
      throw Error(ErrorCode::kUnsupportedFeature,
                  "the bundle is of a version that this program does not know")
          .in_file(file_);
    }
    const Json& entries = member(json, "entries");
    const Json& remarks = member(json, "remarks");
    if (!entries.is_array() || !remarks.is_array()) {
      throw bad("the manifest has no list of entries");
    }
    if (entries.size() > limits_.max_entries) {
      throw Error(ErrorCode::kLimit,
                  "the bundle has " + std::to_string(entries.size()) + " entries")
          .in_file(file_);
    }
    BundleReport out;
    std::set<std::string> names;
    for (const Json& entry : entries) {
      out.entries.push_back(read_entry(entry));
      const BundleEntry& last = out.entries.back();
      if (!names.insert(last.name).second) {
        throw bad("the entry " + last.name + " is there twice");
      }
      if (last.size > UINT64_MAX - out.bytes) {
        throw bad("the sizes make no sense");
      }
      out.bytes += last.size;
    }
    for (const BundleEntry& entry : out.entries) {
      if (entry.kind != BundleKind::kDirectory) {
        refuse_below(names, entry.name);
      }
    }
    for (const Json& remark : remarks) {
      out.remarks.push_back(string(remark));
    }
    return out;
  }

private:
  Error bad(const std::string& what) const {
    return Error(ErrorCode::kDamaged, what).in_file(file_);
  }

  // A file cannot have entries below it.
  void refuse_below(const std::set<std::string>& names, const std::string& name) const {
    const auto next = names.lower_bound(name + "/");
    if (next != names.end() && next->starts_with(name + "/")) {
      throw bad("the entry " + *next + " lies below a file");
    }
  }

  const Json& member(const Json& object, const char* name) const {
    if (!object.is_object() || !object.contains(name)) {
      throw bad(std::string("the manifest lacks \"") + name + "\"");
    }
    return object[name];
  }

  std::string string(const Json& value) const {
    if (!value.is_string()) {
      throw bad("the manifest has something else where a text belongs");
    }
    return value.get<std::string>();
  }

  template <typename T> T number(const Json& value) const {
    const std::string text = string(value);
    T out{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
      throw bad("the manifest has something else where a number belongs");
    }
    return out;
  }

  BundleEntry read_entry(const Json& json) const {
    BundleEntry entry;
    const std::string kind = string(member(json, "kind"));
    const auto* row = std::find_if(std::begin(kKinds), std::end(kKinds),
                                   [&](const Kind& k) { return kind == k.name; });
    if (row == std::end(kKinds)) {
      throw bad("an entry is of a kind that does not exist");
    }
    entry.kind = row->kind;
    entry.name = string(member(json, "name"));
    entry.size = number<std::uint64_t>(member(json, "size"));
    entry.mode = number<std::uint32_t>(member(json, "mode"));
    entry.modified = number<std::int64_t>(member(json, "modified"));
    const std::optional<std::string> digest = from_hex(string(member(json, "sha256")));
    if (!digest || digest->size() != entry.sha256.size()) {
      throw bad("a digest is of the wrong size, or no number");
    }
    std::copy(digest->begin(), digest->end(), entry.sha256.begin());
    const std::optional<std::string> decoded = decode(entry.name);
    const std::string folder = std::string(row->folder) + "/";
    if (entry.name.size() > kLongestName || !decoded || !decoded->starts_with(folder) ||
        !safe_parts(*decoded)) {
      throw bad("an entry has a name that leads elsewhere or that no bundle has");
    }
    const std::string_view rest = std::string_view(*decoded).substr(folder.size());
    const bool nested = rest.find('/') != std::string_view::npos;
    if ((entry.kind == BundleKind::kCheckpoint && nested) ||
        (entry.kind == BundleKind::kTrace && !nested)) {
      throw bad("an entry lies in a folder where it does not belong");
    }
    if (entry.mode > 0777 || (entry.kind == BundleKind::kDirectory && entry.size != 0)) {
      throw bad("an entry has a mode or a size that no bundle has");
    }
    return entry;
  }

  const std::string& file_;
  const BundleLimits& limits_;
};

} // namespace

std::string_view bundle_kind_name(BundleKind kind) {
  return row_of(kind).name;
}

std::string BundleEntry::path() const {
  const std::string whole = decode(name).value_or(name);
  const std::string_view folder = row_of(kind).folder;
  const bool absolute = folder == "root";
  return whole.substr(std::min(whole.size(), folder.size() + (absolute ? 0 : 1)));
}

std::string bundle_name(std::string_view folder, std::string_view path) {
  std::string out(folder);
  if (!path.starts_with('/')) {
    out += '/';
  }
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (is_plain(byte)) {
      out += c;
    } else {
      out += '%';
      out += hex_byte(byte);
    }
  }
  return out;
}

std::string write_bundle_manifest(const BundleReport& report) {
  Json json{{"document", kDocument}, {"version", kVersion}};
  json["entries"] = Json::array();
  for (const BundleEntry& entry : report.entries) {
    json["entries"].push_back(Json{{"kind", bundle_kind_name(entry.kind)},
                                   {"name", entry.name},
                                   {"size", std::to_string(entry.size)},
                                   {"mode", std::to_string(entry.mode)},
                                   {"modified", std::to_string(entry.modified)},
                                   {"sha256", hex(entry.sha256)}});
  }
  json["remarks"] = report.remarks;
  return json.dump(1, ' ', true, Json::error_handler_t::replace) + "\n";
}

BundleReport read_bundle_manifest(std::string_view text, const std::string& file,
                                  const BundleLimits& limits) {
  return ManifestReader(file, limits).read(text);
}

} // namespace rrpcp
