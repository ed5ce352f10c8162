// What the parts of the semantic validation share. One StateCheck judges one manifest; the parts
// are member functions in a file each.
#pragma once

#include "model/findings.h"
#include "model/validate_state.h"
#include "rrpcp/schema/manifest.capnp.h"

#include <capnp/list.h>
#include <cstdint>
#include <kj/exception.h>
#include <optional>
#include <string>
#include <vector>

namespace rrpcp {

// Whether `id` has the form of a reverse-DNS id: two or more parts of a-z, 0-9 and '-'.
bool is_reverse_dns(capnp::Text::Reader id);

// Which entries of a shared list were referred to, and whether in order.
class ReferenceCounter {
public:
  ReferenceCounter(const char* list, std::uint64_t size) : list_(list), used_(size) {}

  const char* list() const { return list_; }
  std::uint64_t size() const { return used_.size(); }
  // False where there is no such entry.
  bool use(std::uint64_t index);
  bool in_order() const { return in_order_; }
  const std::vector<bool>& used() const { return used_; }

private:
  const char* list_;
  std::vector<bool> used_;
  std::uint64_t next_ = 0; // first entry that was not referred to yet, while in order
  bool in_order_ = true;
};

// Half-open ranges that are collected, then joined.
class RangeSet {
public:
  void add(std::uint64_t begin, std::uint64_t end);
  // Sorts and joins. Ranges then neither overlap nor touch.
  const std::vector<std::pair<std::uint64_t, std::uint64_t>>& joined();
  bool empty() const { return ranges_.empty(); }

private:
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges_;
  std::size_t compact_at_ = 1u << 16;
};

class StateCheck {
public:
  StateCheck(schema::Manifest::Reader manifest, const StateRules& rules, Findings& findings);

  PageTails run();

private:
  template <typename T> using List = typename capnp::List<T>::Reader;

  // Runs `function`; a malformed part of the message becomes a finding.
  template <typename Function> void guarded(const Path& path, Function&& function) {
    try {
      function();
    } catch (const kj::Exception& exception) {
      findings_.in("manifest.message", path, exception.getDescription().cStr());
    }
  }
  template <typename ListReader, typename Function>
  void each(const Path& path, ListReader list, Function&& function) {
    for (unsigned i = 0; i < list.size(); ++i) {
      const Path item = path[i];
      guarded(item, [&] { function(item, list[i]); });
    }
  }
  // Calls `function(path, previous, current)` for each pair of neighbours.
  template <typename ListReader, typename Function>
  void each_pair(const Path& path, ListReader list, Function&& function) {
    for (unsigned i = 1; i < list.size(); ++i) {
      const Path item = path[i];
      guarded(item, [&] { function(item, list[i - 1], list[i]); });
    }
  }

  // Values in general (state_check.cc).
  void text(const Path& path, capnp::Text::Reader value);
  void no_nul(const Path& path, capnp::Data::Reader value);
  void not_negative(const Path& path, std::int64_t value);
  void signal_number(const Path& path, std::int64_t value, bool zero_allowed);
  void refer(ReferenceCounter& counter, const Path& path, std::uint32_t index, bool optional);
  void unknown(const Path& path, const char* what, unsigned value);
  // A bit or number that no kernel had when this version was made: what `code` says in a file that
  // is fully known, and in another one something newer.
  void beyond(DiagnosticCode code, const Path& path, std::string message);

  // ELF e_machine of the tasks of a space.
  std::uint16_t machine_of_space(std::uint32_t index) const;

  // validate_values.cc
  class ValueWalk;
  void check_values();
  // validate_state.cc
  void check_cpu(const Path& path, schema::Cpu::Reader cpu);
  void check_extensions(const Path& path);
  void check_clocks_and_omissions(const Path& path);
  void check_references();
  // validate_position.cc
  void check_position_and_trace(const Path& path);
  void check_mark(const Path& path, schema::Mark::Reader mark);
  void check_session(const Path& path, schema::Session::Reader session);
  // validate_tasks.cc
  void check_processes(const Path& path);
  void check_process(const Path& path, schema::Process::Reader process);
  void check_tasks(const Path& path);
  void check_task(const Path& path, schema::Task::Reader task);
  static bool has_general_registers(List<schema::RegisterSet> sets);
  void check_registers(const Path& path, List<schema::RegisterSet> sets, std::uint16_t machine);
  void check_xsave(const Path& path, capnp::Data::Reader data);
  void check_signal_handlers(const Path& path);
  void check_signal_mask(const Path& path, std::uint64_t mask);
  void check_signal_info(const Path& path, schema::SignalInfo::Reader info);
  // validate_attributes.cc
  void check_process_attributes(const Path& path, schema::Process::Reader process);
  void check_credentials(const Path& path, schema::Credentials::Reader credentials);
  void check_task_attributes(const Path& path, schema::TaskAttributes::Reader attributes);
  void check_space_attributes(const Path& path, schema::SpaceAttributes::Reader attributes);
  // Returns what is wrong with it; empty: nothing.
  static const char* fault_of(schema::MemoryPolicy::Reader policy);
  void check_namespace_sets(const Path& path);
  // validate_memory.cc
  void check_address_spaces(const Path& path);
  void check_address_space(const Path& path, schema::AddressSpace::Reader space);
  void check_mapping(const Path& path, schema::Mapping::Reader mapping, std::uint16_t machine);
  void check_role(const Path& path, schema::Mapping::Reader mapping, bool is_private);
  void check_runs(const Path& path, List<schema::PageRun> runs, std::uint64_t pages,
                  bool has_backing, std::uint64_t backing_offset, RangeSet* backing, bool guards);
  void check_memory_objects(const Path& path);
  void check_memory_object(const Path& path, schema::MemoryObject::Reader object,
                           std::uint64_t index);
  void check_file_identity(const Path& path, schema::FileIdentity::Reader file);
  // validate_bases.cc
  void check_bases(const Path& path);
  void check_unused_bases(const Path& path);
  void check_base_run(const Path& path, schema::PageRun::Reader run, bool wraps, std::uint64_t end);
  // Pages of the stream that a run refers to; nothing for a run of another kind or base.
  std::optional<std::uint64_t> pages_of_stream(schema::PageRun::Reader run) const;
  // validate_files.cc
  void check_open_files(const Path& path);
  void check_open_file(const Path& path, schema::OpenFile::Reader file);
  void check_socket_end(const Path& path, schema::SocketEnd::Reader socket);
  void check_file_tables(const Path& path);
  void check_file_system_contexts(const Path& path);
  // validate_rr.cc
  void check_rr_session(const Path& path, schema::rr::SessionState::Reader session);
  void check_rr_space(const Path& path, schema::rr::SpaceState::Reader space);
  void check_rr_mapping(const Path& path, schema::Mapping::Reader mapping);
  void check_rr_file_table(const Path& path, schema::rr::FileTableState::Reader table);
  void check_rr_monitor(const Path& path, schema::rr::FileMonitor::Reader monitor);

  schema::Manifest::Reader manifest_;
  schema::State::Reader state_;
  StateRules rules_;
  Findings& findings_;
  std::uint16_t machine_ = 0;
  std::uint64_t xsave_features_ = 0;
  List<schema::XsaveComponent> xsave_layout_;
  bool has_cpu_ = false;
  bool cpu_missing_reported_ = false;

  ReferenceCounter processes_;
  ReferenceCounter spaces_;
  ReferenceCounter objects_;
  ReferenceCounter open_files_;
  ReferenceCounter file_tables_;
  ReferenceCounter contexts_;
  ReferenceCounter handlers_;
  ReferenceCounter namespaces_;
  // Pages of the stream that a run refers to.
  RangeSet stream_;
  // Bytes of each memory object that a backing run of a mapping takes from it.
  std::vector<RangeSet> backing_;
  std::vector<bool> bases_used_;
  PageTails tails_;
};

} // namespace rrpcp
