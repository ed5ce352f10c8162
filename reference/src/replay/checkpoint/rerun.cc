#include "rrpcp/replay/rerun.h"

#include "replay/checkpoint/instruction_steps.h"
#include "replay/checkpoint/register_fields.h"
#include "replay/checkpoint/start_session.h"
#include "rrpcp/error.h"

#include <algorithm>

namespace rrpcp {

namespace {

class Rerun {
public:
  Rerun(replay::ReplaySession& session, const RerunOptions& options,
        const std::function<void(std::string_view)>& output)
      : session_(session), options_(options), output_(output) {}

  void run() {
    const bool counts = std::any_of(options_.event_fields.begin(), options_.event_fields.end(),
                                    [](const RegisterField& field) {
                                      return field.kind == RegisterField::Kind::kInstructions;
                                    });
    while (!session_.at_end() && (options_.end == 0 || session_.event() < options_.end)) {
      const trace::EventData& event = session_.current();
      registers_.event = session_.event();
      registers_.instructions = 0;
      registers_.tid = event.task;
      const bool ends = event.kind == trace::EventKind::kExit;
      if (counts || !options_.step_fields.empty()) {
        replay::step_instructions(session_, [&] {
          ++registers_.instructions;
          if (!options_.step_fields.empty()) {
            show(options_.step_fields);
          }
        });
      }
      if (ends) {
        read(options_.event_fields);
      }
      session_.step();
      if (!ends) {
        read(options_.event_fields);
      }
      write(options_.event_fields);
    }
  }

private:
  void read(const std::vector<RegisterField>& fields) {
    const pid_t tid = registers_.tid;
    if (const replay::TaskState* task = session_.state().find_task(tid)) {
      registers_.ticks = task->ticks;
      replay::read_registers(session_.tracee(tid), fields, registers_);
    }
  }

  void write(const std::vector<RegisterField>& fields) {
    if (fields.empty()) {
      return;
    }
    line_.clear();
    replay::append_line(fields, registers_, options_.raw, line_);
    output_(line_);
  }

  void show(const std::vector<RegisterField>& fields) {
    read(fields);
    write(fields);
  }

  replay::ReplaySession& session_;
  const RerunOptions& options_;
  const std::function<void(std::string_view)>& output_;
  replay::TaskRegisters registers_;
  std::string line_;
};

} // namespace

void rerun(const std::string& trace_directory, const RerunOptions& options,
           const std::function<void(std::string_view line)>& output) {
  replay::StartOptions start;
  start.target = std::max<std::int64_t>(options.start, 1);
  start.ignore_checkpoints = options.ignore_checkpoints;
  start.warn = options.warn;
  const replay::StartedSession started =
      replay::start_session(trace_directory, {.output = {}, .warn = options.warn}, start);
  started.session->run_to(start.target);
  Rerun(*started.session, options, output).run();
}

} // namespace rrpcp
