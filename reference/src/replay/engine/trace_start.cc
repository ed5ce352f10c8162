#include "replay/engine/trace_start.h"

#include "base/clock.h"
#include "process/capture/cpu_state.h"
#include "process/proc_auxv.h"
#include "rrpcp/schema/state.capnp.h"

#include <capnp/message.h>
#include <climits>
#include <cstdlib>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

kj::ArrayPtr<const kj::byte> to_kj(std::string_view text) {
  return {reinterpret_cast<const kj::byte*>(text.data()), text.size()};
}

} // namespace

void describe_start(const std::vector<std::string>& command, schema::TraceStart::Builder out) {
  out.setRecorder("rrpcp " RRPCP_VERSION);
  out.setStartedAt(wall_clock());
  utsname machine;
  if (::uname(&machine) == 0) {
    out.setHostName(machine.nodename);
    out.setKernelRelease(machine.release);
  }
  auto arguments = out.initCommandLine(static_cast<unsigned>(command.size()));
  for (unsigned i = 0; i < arguments.size(); ++i) {
    arguments.set(i, to_kj(command[i]));
  }
  unsigned variables = 0;
  while (::environ[variables] != nullptr) {
    ++variables;
  }
  auto environment = out.initEnvironment(variables);
  for (unsigned i = 0; i < variables; ++i) {
    environment.set(i, to_kj(::environ[i]));
  }
  if (char* directory = ::getcwd(nullptr, 0)) {
    out.setWorkingDirectory(to_kj(directory));
    std::free(directory);
  }
  out.setPageSize(static_cast<std::uint32_t>(::sysconf(_SC_PAGESIZE)));
  capnp::MallocMessageBuilder empty;
  process::capture::collect_cpu(empty.initRoot<schema::State>().asReader(),
                                process::read_auxv(::getpid()), out.initCpu());
}

} // namespace rrpcp::replay
