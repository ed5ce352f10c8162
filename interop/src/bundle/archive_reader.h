// Reading the archive of a bundle. Nothing in it is trusted.
#pragma once

#include "bundle/bundle_manifest.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

struct archive;

namespace rrpcp {

// A bundle from its start to its end, once.
class ArchiveReader {
public:
  ArchiveReader(const std::string& path, const BundleLimits& limits);
  ArchiveReader(std::span<const std::byte> bytes, const std::string& name,
                const BundleLimits& limits);
  ~ArchiveReader();

  const BundleReport& report() const { return report_; }

  using Sink = std::function<void(std::span<const std::byte>)>;
  // Goes through all entries in the order of the manifest: calls `begin`, gives the content to what
  // that returns (which may be null) piece by piece, compares the digest, and calls `end`. Throws
  // Error(kDamaged) for an archive that is not as its manifest says.
  void read(const std::function<Sink(const BundleEntry&)>& begin,
            const std::function<void(const BundleEntry&)>& end);

private:
  struct Close {
    void operator()(::archive* archive) const;
  };

  void open_manifest();
  Error failure(const std::string& what) const;
  void content(std::uint64_t size, const Sink& sink);

  std::string name_;
  BundleLimits limits_;
  std::unique_ptr<::archive, Close> archive_;
  BundleReport report_;
};

} // namespace rrpcp
