#include "process/mapping_words.h"

#include "process/kernel_types.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::process {

namespace {

// What the program writes of each mapping.
struct Record {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t flags;
  std::uint64_t policy;
  std::uint64_t get_policy; // of what is mapped
};

// linux/bpf.h, which older system headers have without it: the iterator goes through one thread.
struct IteratorOfThread {
  std::uint32_t thread;
  std::uint32_t process;
  std::uint32_t process_descriptor;
};

// The iterator's context: pointers to what iterators have in common, a task and a mapping.
constexpr std::int16_t kCommon = 0;
constexpr std::int16_t kMapping = 16;

long bpf(bpf_cmd command, bpf_attr& attributes) {
  return ::syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

bpf_insn instruction(int code, int to, int from, int offset, std::int32_t value = 0) {
  bpf_insn made{};
  made.code = static_cast<std::uint8_t>(code);
  made.dst_reg = static_cast<std::uint8_t>(to) & 15;
  made.src_reg = static_cast<std::uint8_t>(from) & 15;
  made.off = static_cast<std::int16_t>(offset);
  made.imm = value;
  return made;
}

bpf_insn load(int to, int from, std::uint32_t offset) {
  return instruction(BPF_LDX | BPF_MEM | BPF_DW, to, from, static_cast<int>(offset));
}

// Nothing: the kernel has not what it needs.
std::optional<std::vector<bpf_insn>> compile(const KernelTypes& types) {
  const auto sequence = types.offset("bpf_iter_meta", "seq");
  const auto start = types.offset("vm_area_struct", "vm_start");
  const auto end = types.offset("vm_area_struct", "vm_end");
  const auto flags = types.offset("vm_area_struct", "vm_flags");
  const auto operations = types.offset("vm_area_struct", "vm_ops");
  if (!sequence || !start || !end || !flags || !operations) {
    return std::nullopt;
  }
  // Only where there are several memory nodes to choose from (CONFIG_NUMA).
  const auto policy = types.offset("vm_area_struct", "vm_policy");
  const auto get_policy = types.offset("vm_operations_struct", "get_policy");
  constexpr int kRecord = -static_cast<int>(sizeof(Record)); // from the end of the stack
  const auto store = [](std::size_t member, int from) {
    return instruction(BPF_STX | BPF_MEM | BPF_DW, BPF_REG_10, from,
                       kRecord + static_cast<int>(member));
  };
  std::vector<bpf_insn> program = {
      load(BPF_REG_6, BPF_REG_1, kCommon),
      load(BPF_REG_7, BPF_REG_1, kMapping),
      instruction(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_7, 0, 0), // to the end, which is not known yet
      load(BPF_REG_6, BPF_REG_6, *sequence),
      load(BPF_REG_2, BPF_REG_7, *start),
      store(offsetof(Record, start), BPF_REG_2),
      load(BPF_REG_2, BPF_REG_7, *end),
      store(offsetof(Record, end), BPF_REG_2),
      load(BPF_REG_2, BPF_REG_7, *flags),
      store(offsetof(Record, flags), BPF_REG_2),
      instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_2, 0, 0, 0),
      store(offsetof(Record, policy), BPF_REG_2),
      store(offsetof(Record, get_policy), BPF_REG_2),
  };
  constexpr std::size_t kJump = 2;
  if (policy) {
    program.push_back(load(BPF_REG_2, BPF_REG_7, *policy));
    program.push_back(store(offsetof(Record, policy), BPF_REG_2));
  }
  if (get_policy) {
    program.push_back(load(BPF_REG_2, BPF_REG_7, *operations));
    program.push_back(instruction(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_2, 0, 2));
    program.push_back(load(BPF_REG_2, BPF_REG_2, *get_policy));
    program.push_back(store(offsetof(Record, get_policy), BPF_REG_2));
  }
  program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_6, 0));
  program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0));
  program.push_back(instruction(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, kRecord));
  program.push_back(
      instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, static_cast<int>(sizeof(Record))));
  program.push_back(instruction(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_seq_write));
  program[kJump].off = static_cast<std::int16_t>(program.size() - kJump - 1);
  program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0));
  program.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0));
  return program;
}

} // namespace

std::optional<MappingWords> MappingWords::open() {
  const std::optional<KernelTypes> types = KernelTypes::read();
  const std::optional<std::uint32_t> iterator =
      types ? types->function("bpf_iter_task_vma") : std::nullopt;
  const std::optional<std::vector<bpf_insn>> program = iterator ? compile(*types) : std::nullopt;
  if (!program) {
    return std::nullopt;
  }
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_TRACING;
  attributes.expected_attach_type = BPF_TRACE_ITER;
  attributes.attach_btf_id = *iterator;
  attributes.insns = reinterpret_cast<std::uintptr_t>(program->data());
  attributes.insn_cnt = static_cast<std::uint32_t>(program->size());
  // What writes to the reader is there for programs under the kernel's license only.
  attributes.license = reinterpret_cast<std::uintptr_t>("Dual MIT/GPL");
  std::strcpy(attributes.prog_name, "rrpcp_mappings");
  ScopedFd loaded(static_cast<int>(bpf(BPF_PROG_LOAD, attributes)));
  return loaded ? std::optional(MappingWords(std::move(loaded))) : std::nullopt;
}

std::optional<std::vector<MappingWord>> MappingWords::read(pid_t pid) const {
  IteratorOfThread of{};
  of.thread = static_cast<std::uint32_t>(pid);
  bpf_attr attributes{};
  attributes.link_create.prog_fd = static_cast<std::uint32_t>(program_.get());
  attributes.link_create.attach_type = BPF_TRACE_ITER;
  attributes.link_create.iter_info = reinterpret_cast<std::uintptr_t>(&of);
  attributes.link_create.iter_info_len = sizeof of;
  const ScopedFd link(static_cast<int>(bpf(BPF_LINK_CREATE, attributes)));
  if (!link) {
    return std::nullopt;
  }
  attributes = {};
  attributes.iter_create.link_fd = static_cast<std::uint32_t>(link.get());
  const ScopedFd words(static_cast<int>(bpf(BPF_ITER_CREATE, attributes)));
  if (!words) {
    return std::nullopt;
  }
  std::vector<MappingWord> mappings;
  std::array<Record, 512> records;
  std::size_t filled = 0; // bytes
  for (;;) {
    auto* const bytes = reinterpret_cast<std::byte*>(records.data());
    const ssize_t n = ::read(words.get(), bytes + filled, sizeof records - filled);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
      continue;
    }
    if (n < 0 || (n == 0 && filled != 0)) {
      return std::nullopt;
    }
    if (n == 0) {
      return mappings;
    }
    filled += static_cast<std::size_t>(n);
    const std::size_t whole = filled / sizeof(Record);
    for (std::size_t i = 0; i < whole; ++i) {
      const Record& record = records[i];
      mappings.push_back(
          {record.start, record.end, record.flags, record.policy != 0 || record.get_policy != 0});
    }
    filled -= whole * sizeof(Record);
    std::memmove(bytes, &records[whole < records.size() ? whole : 0], filled);
  }
}

} // namespace rrpcp::process
