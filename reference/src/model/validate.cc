#include "rrpcp/validate.h"

#include "base/bytes.h"
#include "container/manifest_bytes.h"
#include "container/seal.h"
#include "model/byte_source.h"
#include "model/findings.h"
#include "model/validate_bases.h"
#include "model/validate_chunks.h"
#include "model/validate_container.h"
#include "model/validate_state.h"
#include "rrpcp/error.h"

#include <kj/exception.h>

namespace rrpcp {

namespace {

// `directory`: where the file lies, and its bases are to lie; nothing for bytes in memory.
ValidationReport validate(const ByteSource& source, const std::optional<std::string>& directory,
                          const ValidateOptions& options) {
  ValidationReport report;
  Findings findings(source.name(), options.max_findings_per_code);
  ContainerFacts facts = validate_container(source, options.limits, findings);
  if (facts.footer) {
    report.id = facts.footer->id;
    report.chunks = facts.footer->chunk_count;
  }
  bool manifest_usable = false;
  std::optional<schema::State::Reader> state;
  if (facts.message) {
    try {
      auto manifest = facts.message->getRoot<schema::Manifest>();
      if (manifest.hasState()) {
        state = manifest.getState();
        validate_agreement(facts, *state, findings);
      }
      manifest_usable = true;
    } catch (const kj::Exception& exception) {
      findings.in("manifest.message", "state", exception.getDescription().cStr());
    }
  }
  PageTails tails;
  const std::vector<Sha256Digest> no_seal;
  if (options.level >= ValidationLevel::kSemantics && manifest_usable) {
    tails = validate_state(facts.message->getRoot<schema::Manifest>(),
                           state_rules(*facts.header, *facts.footer), findings);
  }
  if (options.level >= ValidationLevel::kChecksums && facts.chunks) {
    limit_work(source, options.limits,
               facts.footer->page_count * std::uint64_t{facts.header->page_size});
    report.checked_bytes =
        validate_chunks(source, *facts.header, *facts.chunks, tails.own,
                        facts.seal ? facts.seal->chunks : no_seal, options, findings);
    if (state && manifest_usable) {
      try {
        if (checkpoint_id(*state, *facts.chunks) != facts.footer->id) {
          findings.at("footer.checkpoint-id",
                      source.size() - facts.footer->length + format::kFooterCheckpointId,
                      "the id is not that of the state and the chunks' checksums");
        }
        if (facts.seal && state_sha256(*state) != facts.seal->state) {
          findings.at("seal.state", facts.sections->seal->offset + format::kSealState,
                      "the seal's digest of the state is not that of the manifest's");
        }
        report.sealed = facts.seal.has_value();
      } catch (const kj::Exception& exception) {
        findings.in("manifest.message", "state", exception.getDescription().cStr());
      }
    }
    report.reached = manifest_usable ? options.level : ValidationLevel::kChecksums;
  }
  if (options.level >= ValidationLevel::kChecksums && state && manifest_usable && directory) {
    validate_bases(*facts.header, facts.footer->id, *state, tails, {source.name(), *directory},
                   options.limits, findings);
  }
  findings.finish(report);
  return report;
}

} // namespace

std::uint64_t ValidationReport::count(Severity severity) const {
  std::uint64_t count = 0;
  for (const Finding& finding : findings) {
    count += finding.severity == severity ? 1 : 0;
  }
  for (const auto& [code, more] : suppressed) {
    count += find_diagnostic(code)->severity == severity ? more : 0;
  }
  return count;
}

ValidationReport validate_file(const std::string& path, const ValidateOptions& options) {
  const ByteSource source = ByteSource::open(path);
  return validate(source, source.directory(), options);
}

ValidationReport validate_fd(int fd, const std::string& name, const ValidateOptions& options) {
  const ByteSource source = ByteSource::duplicate(fd, name);
  return validate(source, source.directory(), options);
}

void require_valid(int fd, const std::string& name) {
  for (const Finding& finding : validate_fd(fd, name).findings) {
    if (finding.severity == Severity::kError) {
      throw Error(ErrorCode::kUnsupportedState,
                  "what was to be written would not be valid: " +
                      (finding.path.empty() ? std::string() : finding.path + ": ") +
                      finding.message)
          .in_file(name)
          .with_diagnostic(finding.code);
    }
  }
}

ValidationReport validate_bytes(std::span<const std::byte> bytes, const std::string& name,
                                const ValidateOptions& options) {
  return validate(ByteSource(bytes, name), std::nullopt, options);
}

} // namespace rrpcp
