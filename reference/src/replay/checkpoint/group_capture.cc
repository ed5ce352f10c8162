#include "base/clock.h"
#include "process/capture/state_collector.h"
#include "replay/checkpoint/process_group.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <chrono>
#include <sys/ptrace.h>
#include <sys/utsname.h>
#include <time.h>
#include <utility>

namespace rrpcp::replay {

namespace {

// Brings a stopped thread into an event stop. A signal that it was about to be given is not its
// own: a replay has none.
void settle(process::Tracee& tracee) {
  if (tracee.last_stop().event_stop()) {
    return;
  }
  tracee.interrupt();
  tracee.resume(PTRACE_CONT);
  tracee.await_event_stop(std::chrono::seconds(10));
}

} // namespace

GroupCapture::GroupCapture(std::vector<GroupProcess> processes, const GroupCaptureOptions& options)
    : options_(options), processes_(std::move(processes)),
      message_(std::make_unique<capnp::MallocMessageBuilder>()), frozen_at_(wall_clock()) {
  process::capture::CollectorOptions collected;
  collected.supervised = true;
  collected.trace_directory = options_.trace_directory;
  collected.base = options_.base;
  collector_ = std::make_unique<process::capture::StateCollector>(collected);
  std::sort(processes_.begin(), processes_.end(), [](const GroupProcess& a, const GroupProcess& b) {
    return a.logical_pid < b.logical_pid;
  });
  std::vector<process::capture::StoppedProcess> stopped;
  for (GroupProcess& process : processes_) {
    std::sort(process.threads.begin(), process.threads.end(),
              [&](const GroupThread& a, const GroupThread& b) {
                return std::pair(a.logical_tid != process.logical_pid, a.logical_tid) <
                       std::pair(b.logical_tid != process.logical_pid, b.logical_tid);
              });
    process::capture::StoppedProcess& out = stopped.emplace_back();
    out.pid = process.pid;
    out.logical_pid = process.logical_pid;
    for (const GroupThread& thread : process.threads) {
      settle(*thread.tracee);
      out.threads.push_back(thread.tracee);
      out.logical_tids.push_back(thread.logical_tid);
    }
  }
  schema::State::Builder state = message_->initRoot<schema::Manifest>().initState();
  collector_->collect_frozen(stopped, state);
  for (std::uint32_t i = 0; i < collector_->process_count(); ++i) {
    // A thread of the process itself: its dispositions are not those of whom it shares memory with.
    collector_->ask(i, *processes_[i].threads.front().tracee, state);
  }
  for (std::uint32_t i = 0; i < collector_->space_count(); ++i) {
    collector_->close(i);
  }
  collector_->examine();
  collector_->refusals().throw_if_any(processes_.empty() ? 0 : processes_.front().logical_pid);
}

GroupCapture::~GroupCapture() = default;

schema::State::Builder GroupCapture::state() {
  return message_->getRoot<schema::Manifest>().getState();
}

schema::Provenance::Builder GroupCapture::provenance() {
  return message_->getRoot<schema::Manifest>().getProvenance();
}

std::uint32_t GroupCapture::space_of(std::uint32_t process) const {
  return static_cast<std::uint32_t>(collector_->space_of(process));
}

std::uint32_t GroupCapture::space_count() const {
  return static_cast<std::uint32_t>(collector_->space_count());
}

CheckpointId GroupCapture::write(Output& output) {
  HeaderFields fields = header_fields(state().asReader());
  fields.base_runs = options_.base != nullptr;
  CheckpointWriter writer(output, fields, options_.writer);
  collector_->write_pages(writer, [](std::uint64_t) {});
  collector_->build(frozen_at_, state());
  if (complete_) {
    complete_(state());
  }
  schema::Provenance::Builder made = provenance();
  made.setCreator("rrpcp " RRPCP_VERSION);
  made.setCreatedAt(frozen_at_);
  utsname machine;
  if (::uname(&machine) == 0) {
    made.setHostName(machine.nodename);
    made.setKernelRelease(machine.release);
  }
  return writer.finish(state(), made.asReader());
}

std::string GroupCapture::publish(const Store& store) {
  const HeaderFields fields = header_fields(state().asReader());
  // What lies at the same place says the same, though other pages of it may be taken over. Between
  // two events a place has no name.
  std::function<std::optional<std::string>()> instead;
  if (fields.position_kind == format::kPositionAtEvent) {
    instead = [&] { return find_same_place(store.directory(), fields); };
  }
  return publish_checkpoint(
             store.directory(), fields.event, [&](Output& output) { return write(output); }, {},
             instead)
      .path;
}

} // namespace rrpcp::replay
