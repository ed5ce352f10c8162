#include "process/sketch.h"

#include <elf.h>
#include <fcntl.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp::test {

namespace {

constexpr std::uint64_t kStackPages = 2;

// mov edi, 42; mov eax, 231 (exit_group); syscall
constexpr unsigned char kExit42[] = {0xbf, 0x2a, 0, 0, 0, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05};

capnp::Data::Reader bytes_of(const void* data, std::size_t size) {
  return {static_cast<const capnp::byte*>(data), size};
}

void set_mapping(schema::Mapping::Builder mapping, std::uint64_t start, std::uint64_t bytes,
                 std::uint32_t protection, const std::vector<PageRun>& runs) {
  mapping.setStart(start);
  mapping.setEnd(start + bytes);
  mapping.setProtection(protection);
  mapping.setFlags(MAP_PRIVATE | MAP_ANONYMOUS);
  if (runs.size() != 1 || runs[0].kind != schema::RunKind::ZERO) { // else no runs say the same
    set_runs(mapping.initRuns(static_cast<unsigned>(runs.size())), runs);
  }
}

} // namespace

pid_t unused_id() {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::_exit(0);
  }
  if (pid < 0 || ::waitpid(pid, nullptr, 0) != pid) {
    throw std::runtime_error("cannot make a process");
  }
  return pid;
}

Sketch::Sketch() : pid(unused_id()) {
  const auto* bytes = reinterpret_cast<const std::byte*>(kExit42);
  code.assign(bytes, bytes + sizeof kExit42);
}

capnp::MallocMessageBuilder& Sketch::build(capnp::MallocMessageBuilder& message,
                                           const std::vector<PageRun>& code_runs,
                                           const std::vector<PageRun>& data_runs) const {
  auto state = message.initRoot<schema::State>();
  state.setMachine(EM_X86_64);
  state.setElfClass(2);
  state.setDataEncoding(1);
  state.setProducer("org.rrpcp.process");
  state.initPageStream().setPageSize(page_size);
  state.getPageStream().setChunkPages(64);
  auto process = state.initProcesses(1)[0];
  process.setPid(pid);
  auto task = state.initTasks(1)[0];
  task.setTid(pid);
  task.setName(bytes_of("sketch", 6));
  user_regs_struct registers{};
  registers.rip = kCode;
  registers.rsp = kStackTop - 256;
  registers.eflags = 0x202;
  registers.cs = 0x33;
  registers.ss = 0x2b;
  registers.orig_rax = ~0ull;
  auto set = task.initRegisters(1)[0];
  set.setNoteType(NT_PRSTATUS);
  set.setData(bytes_of(&registers, sizeof registers));
  auto space = state.initAddressSpaces(1)[0];
  auto mappings = space.initMappings(3);
  set_mapping(mappings[0], kCode, page_size, PROT_READ | PROT_EXEC, code_runs);
  set_mapping(mappings[1], kData, page_size, PROT_READ | PROT_WRITE, data_runs);
  set_mapping(mappings[2], kStackTop - kStackPages * page_size, kStackPages * page_size,
              PROT_READ | PROT_WRITE, {});
  mappings[2].setFlags(MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN);
  mappings[2].setRole(schema::MappingRole::STACK);
  state.initCpu().setXsaveFeatures(0);
  if (edit) {
    edit(state);
  }
  return message;
}

void Sketch::write(const std::string& path, Profile profile) const {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    throw std::runtime_error("cannot open " + path);
  }
  {
    Output output(fd, path);
    // The header repeats what the state says, so the state is made twice.
    capnp::MallocMessageBuilder draft;
    const HeaderFields fields =
        header_fields(build(draft, {}, {}).getRoot<schema::State>().asReader());
    CheckpointWriter writer(output, fields, {.profile = profile});
    auto append = [&](std::vector<std::byte> page) {
      page.resize(page_size);
      std::vector<PageRun> runs;
      writer.append(page, runs);
      return runs;
    };
    const std::vector<PageRun> code_runs = append(code);
    const std::vector<PageRun> data_runs = append(data);
    capnp::MallocMessageBuilder message;
    capnp::MallocMessageBuilder provenance;
    writer.finish(build(message, code_runs, data_runs).getRoot<schema::State>(),
                  provenance.initRoot<schema::Provenance>().asReader());
  }
  ::close(fd);
}

} // namespace rrpcp::test
