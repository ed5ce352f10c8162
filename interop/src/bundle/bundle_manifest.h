// The list of a bundle's entries.
#pragma once

#include "rrpcp/interop/bundle.h"

#include <cstdint>
#include <string>
#include <vector>

namespace rrpcp {

// Times are in nanoseconds.
inline constexpr std::int64_t kSecond = 1'000'000'000;

inline constexpr const char* kBundleManifestName = "manifest.json";

// Percent-encodes what is not a letter, digit or one of "/._-+@,:=" of a path.
std::string bundle_name(std::string_view folder, std::string_view path);

std::string write_bundle_manifest(const BundleReport& report);

// Throws Error(kDamaged) for anything that create_bundle() would not write, kLimit for too many
// entries, kUnsupportedFeature for a newer version. Sets entries, bytes and remarks.
BundleReport read_bundle_manifest(std::string_view text, const std::string& file,
                                  const BundleLimits& limits);

} // namespace rrpcp
