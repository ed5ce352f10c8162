#include "rrpcp/process/capture.h"

#include "base/clock.h"
#include "process/capture/snapshot.h"
#include "process/capture/state_collector.h"
#include "process/capture/write_watch.h"
#include "process/proc_file.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "process/proc_tasks.h"
#include "process/thread_group.h"
#include "rrpcp/error.h"
#include "rrpcp/process/memory_watch.h"
#include "rrpcp/store.h"
#include "store/held_base.h"

#include <algorithm>
#include <capnp/message.h>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <thread>
#include <time.h>
#include <unistd.h>
#include <utility>

namespace rrpcp {

namespace process::capture {
namespace {

using Clock = std::chrono::steady_clock;

// Copies that may turn out to be of no use before the process is read while it stands still.
constexpr int kMaxUselessCopies = 3;

// Bytes of memory that are set aside while a process stands still, rather than having it copied.
constexpr std::uint64_t kMostSetAside = std::uint64_t{64} << 20;
// More than was written before it stood still.
constexpr std::uint64_t kSpareAside = std::uint64_t{1} << 20;

std::uint64_t since(Clock::time_point start) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count());
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

// One capture, in the thread that traces.
class Capture {
public:
  // `watch` may be null.
  Capture(pid_t pid, const std::string& path, const CaptureOptions& options, WriteWatch* watch)
      : pid_(pid), path_(path), options_(options), watch_(watch) {}
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  ~Capture() { clean_up(); }

  CaptureResult run();

private:
  // Looks at the process before it is disturbed. Throws what makes a capture impossible.
  void look();
  // What was written since the base was made, as far as that can be done before.
  void look_at_written();
  // Refuses child processes, and finds what killed captures have left among them.
  void look_at_surroundings(Refusals& refusals);
  void refuse_group(Refusals& refusals) const;
  // With a watch: has noted what is written from now on. Where the watch knows the base, what was
  // written since that was made is found, and read, in another thread.
  void watch_memory();
  // In that thread, which says in `found` when it has found all.
  void find_written(bool reads, std::promise<void> found);
  // What was said of the mappings before the process stood still is to be what they are now.
  void renew_report();
  // Opens the base, where there is to be one.
  void open_base();
  // Stops the process and has it collected, from a copy where that can be.
  void collect();
  // Stops all threads and collects what has to be collected then.
  void freeze();
  // Lets the process go on.
  void thaw();
  // Makes a copy, lets the process go on and collects the copy. False where no copy can be made
  // (the process still stands still then), or where the copy was of no use.
  bool collect_copy();
  // Where it is known what was written since the base was made, and that is little: sets it aside
  // and lets the process go on. False where that cannot be: nothing was done then.
  bool collect_written();
  void collect_standing();
  CheckpointId write(Output& output);
  // Kills and reaps the copy, if there is one.
  void drop_copy();
  // Throws where the caller has asked to give up.
  void check_cancelled() const;
  // Leaves the process as it was, whatever happened.
  void clean_up() noexcept;

  schema::Manifest::Builder manifest() { return message_->getRoot<schema::Manifest>(); }

  const pid_t pid_;
  const std::string& path_;
  const CaptureOptions& options_;
  WriteWatch* const watch_;
  CaptureResult result_;
  std::uintptr_t trace_options_ = PTRACE_O_TRACESYSGOOD;
  std::optional<process::ReturnCode> return_code_;
  std::vector<process::ProcMemoryArea>
      areas_;                       // before the process was stopped, where it has locked memory
  std::vector<pid_t> left_behind_;  // copies whose makers were killed, as the process knows them
  std::vector<AddressRange> wiped_; // ranges that a copy did not have
  std::optional<process::ThreadGroup> group_; // while the process stands still
  std::unique_ptr<capnp::MallocMessageBuilder> message_;
  std::unique_ptr<StateCollector> collector_;
  std::optional<Snapshot> copy_;
  std::optional<HeldBase> base_;
  std::optional<MemoryReport> report_;  // before the process was stopped, for collect_written()
  std::optional<WrittenBefore> before_; // where the watch knows the base
  std::future<void> found_;             // what was written, while the process stands still
  std::future<void> read_;
  Clock::time_point frozen_at_;
  std::int64_t frozen_at_wall_clock_ = 0;
};

void Capture::look() {
  if (pid_ <= 0) {
    throw Error(ErrorCode::kInvalidArgument, std::to_string(pid_) + " is no process id");
  }
  std::optional<process::ProcStatus> status = process::ProcStatus::try_read(pid_, pid_);
  if (!status) {
    throw Error(ErrorCode::kNotFound, "there is no process " + std::to_string(pid_));
  }
  if (status->process != pid_) {
    throw Error(ErrorCode::kNotFound, std::to_string(pid_) +
                                          " is no process, but a thread of process " +
                                          std::to_string(status->process));
  }
  if (options_.inspect_only && options_.after == AfterCapture::kKill) {
    throw Error(ErrorCode::kInvalidArgument,
                "a process whose checkpoint is only for looking at is not killed");
  }
  if (pid_ == ::getpid()) {
    throw Error(ErrorCode::kInvalidArgument, "a process cannot capture itself");
  }
  for (pid_t tid : process::read_thread_ids(pid_)) {
    std::optional<process::ProcStatus> thread = process::ProcStatus::try_read(pid_, tid);
    if (thread && thread->seccomp != 0) {
      trace_options_ |= PTRACE_O_SUSPEND_SECCOMP;
    }
  }
  await_left_behind(process::read_children(pid_));
  return_code_ = process::ReturnCode::find(pid_, process::read_mappings(pid_));
  if (watch_ != nullptr && base_ && watch_->knows(pid_, base_->checkpoint())) {
    report_ = watch_->reporter().read(pid_);
    areas_ = report_->areas;
    if (options_.after != AfterCapture::kKill) {
      look_at_written();
    }
  } else if (status->locked != 0) {
    areas_ = process::read_memory_areas(pid_);
  }
}

void Capture::look_at_written() {
  const std::optional<std::uint32_t> space = base_->memory().space_of_process(pid_);
  if (!space) {
    return;
  }
  before_.emplace();
  for (const auto& [start, end] : base_->memory().known(*space)) {
    before_->known.push_back({start, end});
  }
  std::vector<process::ProcMapping> mappings;
  for (const process::ProcMemoryArea& area : areas_) {
    mappings.push_back(area.mapping);
  }
  before_->written = watch_->take_early(pid_, mappings);
  std::uint64_t bytes = kSpareAside;
  for (const AddressRange& range : before_->written) {
    bytes += (range.end - range.start) / 4 * 5;
  }
  if (bytes <= kMostSetAside) {
    watch_->aside().reserve(bytes, true);
  }
}

void Capture::look_at_surroundings(Refusals& refusals) {
  std::string children;
  left_behind_.clear();
  for (pid_t child : process::read_children(pid_)) {
    if (!is_snapshot(child)) {
      children += (children.empty() ? "" : ", ") + std::to_string(child);
    } else if (is_left_behind(child)) {
      if (const std::optional<process::ProcStatus> left =
              process::ProcStatus::try_read(child, child)) {
        left_behind_.push_back(left->thread_in_namespace);
      }
    }
  }
  if (!children.empty()) {
    refusals.refuse_unless("children", "child processes (" + children + ")", "they are left out");
  }
  if (options_.after == AfterCapture::kKill) {
    refuse_group(refusals);
  }
}

// An id is in use as long as a group or session is called so.
void Capture::refuse_group(Refusals& refusals) const {
  const process::ProcStat own = process::ProcStat::read(pid_);
  if (own.process_group != pid_ && own.session != pid_) {
    return;
  }
  const std::vector<pid_t> children = process::read_children(pid_);
  std::string members;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const pid_t pid = static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
    if (pid <= 0 || pid == pid_ ||
        std::find(children.begin(), children.end(), pid) != children.end()) {
      continue;
    }
    const std::optional<std::string> text = process::try_read_file(process::proc_path(pid, "stat"));
    const process::ProcStat stat =
        text && !text->empty() ? process::ProcStat::parse(*text) : process::ProcStat();
    // What has ended (a copy that an earlier capture made, say) only has to be waited for by its
    // parent, as the process itself will have to be.
    const bool ours = pid == ::getpid() || stat.parent == ::getpid() || stat.state == 'Z';
    if ((stat.process_group == pid_ || stat.session == pid_) && !ours && !is_snapshot(pid)) {
      members += (members.empty() ? "" : ", ") + std::to_string(pid);
    }
  }
  if (!members.empty()) {
    refusals.refuse_unless("children",
                           "other processes of its group or session (" + members +
                               "), as long as which live its id is in use",
                           "they are left out, and until they end a restore needs other ids");
  }
}

void Capture::open_base() {
  if (options_.base.empty()) {
    return;
  }
  struct stat base, directory, own;
  const std::string place = directory_of(path_);
  if (::stat(options_.base.c_str(), &base) == 0 &&
      ::stat(directory_of(options_.base).c_str(), &directory) == 0 &&
      (::stat(place.c_str(), &own) != 0 || directory.st_dev != own.st_dev ||
       directory.st_ino != own.st_ino)) {
    throw Error(ErrorCode::kInvalidArgument,
                "the base lies in another directory than the new checkpoint, where no reader would "
                "find it")
        .in_file(options_.base)
        .with_hint("write the checkpoint beside its base, or copy the base there first");
  }
  if (::stat(path_.c_str(), &own) == 0 && base.st_dev == own.st_dev && base.st_ino == own.st_ino) {
    throw Error(ErrorCode::kInvalidArgument, "the new checkpoint would replace its own base")
        .in_file(path_);
  }
  base_.emplace(options_.base);
  const CheckpointReader& checkpoint = base_->checkpoint();
  const schema::State::Reader state = checkpoint.state();
  if (state.hasTrace() || state.getProcesses().size() != 1 ||
      state.getProcesses()[0].getPid() != pid_) {
    throw Error(ErrorCode::kInvalidArgument,
                "the base is no checkpoint of process " + std::to_string(pid_))
        .in_file(options_.base);
  }
  if (checkpoint.base_count() + 1 > std::min(options_.max_bases, format::kMaxBases)) {
    result_.warnings.push_back("all memory is stored: the base takes over pages of " +
                               std::to_string(checkpoint.base_count()) + " checkpoints already");
    base_.reset();
  }
}

void Capture::check_cancelled() const {
  if (options_.cancelled && options_.cancelled()) {
    throw Error(ErrorCode::kSystem,
                "interrupted; process " + std::to_string(pid_) + " goes on and no file was written")
        .with_errno(ECANCELED);
  }
}

void Capture::freeze() {
  check_cancelled();
  message_ = std::make_unique<capnp::MallocMessageBuilder>();
  collector_ = std::make_unique<StateCollector>(
      CollectorOptions{.allow = options_.allow,
                       .inspect_only = options_.inspect_only,
                       .max_unlinked_bytes = options_.max_unlinked_bytes,
                       .embed_files = options_.embed_files,
                       .spool_directory = directory_of(path_),
                       .return_code = return_code_,
                       .base = base_ ? &base_->memory() : nullptr,
                       .at_mappings = [this] {
                         renew_report();
                         if (before_) {
                           watch_memory();
                         }
                       }});
  if (const std::optional<process::ProcStatus> status = process::ProcStatus::try_read(pid_, pid_)) {
    collector_->expect_user(status->uids[0], status->gids[0]);
  }
  frozen_at_ = Clock::now();
  frozen_at_wall_clock_ = wall_clock();
  group_.emplace(pid_, [this] { check_cancelled(); });
  group_->stop(trace_options_);
  StoppedProcess process{pid_, {}};
  for (process::Tracee& thread : group_->threads()) {
    process.threads.push_back(&thread);
  }
  result_.tasks = process.threads.size();
  look_at_surroundings(collector_->refusals());
  collector_->collect_frozen({process}, message_->initRoot<schema::Manifest>().initState());
  collector_->space(0).note_locked(areas_);
  collector_->refusals().throw_if_any(pid_);
  check_cancelled();
  if (!before_) {
    watch_memory();
  }
  if (found_.valid()) {
    found_.get();
  }
}

void Capture::watch_memory() {
  if (watch_ == nullptr || options_.after == AfterCapture::kKill) {
    return;
  }
  AddressSpaceCollector& space = collector_->space(0);
  watch_->enroll(pid_, collector_->caller(0), collector_->site(0), space.mappings());
  space.note_enrolled(watch_->enrolled());
  watch_->protect(pid_, !before_);
  if (before_) {
    before_->watched = watch_->watched();
    // Other gates write where nobody knows that it was they.
    const bool reads = report_ && collector_->site(0).way_back != nullptr;
    space.lend_aside(watch_->aside());
    std::promise<void> found;
    found_ = found.get_future();
    read_ = std::async(std::launch::async, &Capture::find_written, this, reads, std::move(found));
  }
}

void Capture::renew_report() {
  if (report_ && !watch_->reporter().renew(pid_, collector_->space(0).mappings(), *report_)) {
    report_.reset();
  }
  if (report_) {
    areas_ = report_->areas;
  }
}

void Capture::find_written(bool reads, std::promise<void> found) {
  AddressSpaceCollector& space = collector_->space(0);
  try {
    space.note_unwritten(*before_);
    if (space.written_bytes() <= kMostSetAside) {
      space.plan_aside();
    } else {
      reads = false;
    }
  } catch (...) {
    found.set_exception(std::current_exception());
    return;
  }
  found.set_value();
  if (reads) {
    space.read_aside();
  }
}

bool Capture::collect_written() {
  if (!report_ || !before_ || collector_->space(0).written_bytes() > kMostSetAside ||
      !collector_->examine_before(*report_)) {
    if (read_.valid()) {
      read_.get();
    }
    return false;
  }
  collector_->ask(0, collector_->caller(0), manifest().getState());
  collector_->close_and_set_aside([this] { read_.get(); });
  thaw();
  return true;
}

void Capture::thaw() {
  if (group_) {
    group_.reset();
    result_.frozen_nanoseconds += since(frozen_at_);
  }
}

bool Capture::collect_copy() {
  int reason = 0;
  const schema::Process::Reader process = manifest().asReader().getState().getProcesses()[0];
  const bool adopts_orphans = process.getChildSubreaper() || process.getPid() == 1;
  copy_ = Snapshot::make(collector_->caller(0), collector_->site(0), trace_options_, adopts_orphans,
                         std::exchange(left_behind_, {}), reason);
  if (!copy_) {
    result_.warnings.push_back(std::string("the process stood still all the time, because no copy "
                                           "of it could be made (") +
                               std::strerror(reason) + ")");
    return false;
  }
  collector_->use_copy(0, copy_->pid());
  collector_->set_aside(0, wiped_);
  collector_->close(0);
  thaw();
  collector_->ask(0, copy_->thread(), manifest().getState());
  collector_->close_copy(0, copy_->thread());
  std::vector<AddressRange> wiped = collector_->examine().front();
  if (wiped.empty()) {
    return true;
  }
  wiped_.insert(wiped_.end(), wiped.begin(), wiped.end());
  collector_.reset();
  drop_copy();
  return false;
}

void Capture::collect_standing() {
  collector_->ask(0, collector_->caller(0), manifest().getState());
  collector_->close(0);
  collector_->examine();
}

void Capture::collect() {
  const bool wants_copy = options_.after == AfterCapture::kContinue;
  int useless_copies = 0;
  for (;;) {
    freeze();
    if (wants_copy && collect_written()) {
      return;
    }
    if (wants_copy && useless_copies < kMaxUselessCopies) {
      if (collect_copy()) {
        return;
      }
      if (!group_) {
        ++useless_copies;
        before_.reset(); // what was written was asked already
        continue;
      }
    }
    collect_standing();
    return;
  }
}

CheckpointId Capture::write(Output& output) {
  const std::uint64_t total = collector_->touched_bytes();
  if (options_.profile == Profile::kRaw && !base_) { // of which most is not stored, mostly
    output.reserve(total);
  }
  schema::State::Builder state = manifest().getState();
  HeaderFields fields = header_fields(state.asReader());
  fields.base_runs = base_.has_value();
  CheckpointWriter writer(
      output, fields,
      {.profile = options_.profile, .threads = options_.threads, .seal = options_.seal});
  result_.memory_bytes = collector_->write_pages(writer, [&](std::uint64_t done) {
    check_cancelled();
    if (options_.progress) {
      options_.progress(done, std::max(done, total));
    }
  });
  collector_->build(frozen_at_wall_clock_, state);
  state.setInspectOnly(options_.inspect_only);
  check_cancelled();
  result_.bases = state.getBases().size();
  result_.mappings = collector_->mapping_count();
  const std::vector<std::string>& warnings = collector_->refusals().warnings();
  result_.warnings.insert(result_.warnings.end(), warnings.begin(), warnings.end());
  // What the whole state shows that its parts did not: before anything is published or killed.
  collector_->refusals().throw_if_any(pid_);
  drop_copy();
  if (options_.after == AfterCapture::kContinue) {
    collector_.reset();
    thaw();
  }
  schema::Provenance::Builder provenance = manifest().initProvenance();
  provenance.setCreator("rrpcp " RRPCP_VERSION);
  provenance.setCreatedAt(frozen_at_wall_clock_);
  // A process that is to be killed still stands still.
  provenance.setFrozenNanoseconds(result_.frozen_nanoseconds + (group_ ? since(frozen_at_) : 0));
  utsname machine;
  if (::uname(&machine) == 0) {
    provenance.setHostName(machine.nodename);
    provenance.setKernelRelease(machine.release);
  }
  provenance.setComment(options_.comment);
  return writer.finish(manifest());
}

void Capture::drop_copy() {
  if (!copy_) {
    return;
  }
  const pid_t child = copy_->child();
  copy_.reset();
  if (child != 0 && !reap_snapshot(pid_, child, trace_options_, result_.frozen_nanoseconds)) {
    result_.warnings.push_back("process " + std::to_string(child) +
                               ", a copy that was read, stays as a zombie until process " +
                               std::to_string(pid_) + " ends");
  }
}

void Capture::clean_up() noexcept {
  try {
    if (read_.valid()) {
      read_.wait();
    }
    // In this order: the process is rid of our code while it still stands still, goes on, and is
    // stopped for a moment to be rid of the copy.
    collector_.reset();
    thaw();
    drop_copy();
  } catch (const std::exception&) {
    // What is left is undone by the kernel when this thread ends.
  }
}

CaptureResult Capture::run() {
  const Clock::time_point start = Clock::now();
  open_base();
  look();
  write_file_atomically(path_, true, [&](Output& output) {
    collect();
    collector_->refusals().throw_if_any(pid_);
    result_.id = write(output);
    result_.file_bytes = output.offset();
    result_.written_nanoseconds = since(start);
  });
  if (watch_ != nullptr) {
    watch_->captured(result_.id, path_);
  }
  if (options_.after == AfterCapture::kKill) {
    ::kill(pid_, SIGKILL);
  }
  clean_up();
  result_.path = path_;
  result_.total_nanoseconds = since(start);
  return std::move(result_);
}

// The same failure, said of the process that was asked for and not of one of its threads.
Error name_process(pid_t pid, const Error& error) {
  const std::string process = "process " + std::to_string(pid);
  if (error.message().starts_with(process)) {
    return error;
  }
  std::optional<process::ProcStatus> status = process::ProcStatus::try_read(pid, pid);
  if (!status || status->state == 'Z' || status->state == 'X') {
    return Error(ErrorCode::kProcessGone, process + " ended meanwhile");
  }
  return Error(ErrorCode::kProcessGone, process + ": " + error.message());
}

} // namespace
} // namespace process::capture

namespace {

CaptureResult capture_in_thread(pid_t pid, const std::string& path, const CaptureOptions& options,
                                process::capture::WriteWatch* watch) {
  // In a thread of its own: whatever happens, when it ends the kernel lets go of every thread that
  // it still traces.
  CaptureResult result;
  std::exception_ptr failure;
  std::thread tracer([&] {
    try {
      result = process::capture::Capture(pid, path, options, watch).run();
    } catch (const Error& error) {
      failure = error.code() == ErrorCode::kProcessGone
                    ? std::make_exception_ptr(process::capture::name_process(pid, error))
                    : std::current_exception();
    } catch (...) {
      failure = std::current_exception();
    }
  });
  tracer.join();
  if (failure) {
    std::rethrow_exception(failure);
  }
  return result;
}

} // namespace

CaptureResult capture_process(pid_t pid, const std::string& path, const CaptureOptions& options) {
  return capture_in_thread(pid, path, options, nullptr);
}

CaptureResult capture_process(pid_t pid, const std::string& path, const CaptureOptions& options,
                              MemoryWatch& watch) {
  return capture_in_thread(pid, path, options, &watch.watch());
}

} // namespace rrpcp
