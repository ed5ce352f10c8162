#include "rrpcp/interop/symbols.h"

#include "container/kj_errors.h"
#include "rrpcp/error.h"
#include "symbols/dwarf_registers.h"
#include "symbols/module_file.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <map>
#include <unistd.h>

namespace rrpcp {

namespace {

// A symbol without a size is taken for what lies this close behind it.
constexpr std::uint64_t kNearby = 4096;

struct DwflEnd {
  void operator()(Dwfl* dwfl) const { ::dwfl_end(dwfl); }
};
struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

int find_no_elf(Dwfl_Module*, void**, const char*, Dwarf_Addr, char**, Elf**) {
  return -1; // every module is reported with its file
}

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, Free> text(name[0] == '_' && name[1] == 'Z'
                                             ? abi::__cxa_demangle(name, nullptr, nullptr, &status)
                                             : nullptr);
  return text != nullptr ? text.get() : name;
}

} // namespace

std::string SymbolName::text() const {
  if (offset == 0) {
    return name;
  }
  std::array<char, 24> number;
  std::snprintf(number.data(), number.size(), "+0x%llx", static_cast<unsigned long long>(offset));
  return name + number.data();
}

struct Symbols::Impl {
  const CheckpointReader& reader;
  schema::State::Reader state;
  schema::AddressSpace::Reader space;
  std::size_t space_index;
  std::uint16_t machine;
  std::uint8_t elf_class;
  std::uint64_t page_size;
  mutable MemoryView memory;
  BackingFiles files;
  std::vector<std::string> problems;
  std::map<Dwfl_Module*, std::string> names;

  Dwfl_Callbacks callbacks{};
  char* debug_path = nullptr;
  Elf64_Ehdr header64{};
  Elf32_Ehdr header32{};
  std::unique_ptr<Elf, ElfEnd> machine_elf;
  std::unique_ptr<Dwfl, DwflEnd> dwfl;
  // The thread that is unwound.
  mutable schema::Task::Reader task;

  Impl(const CheckpointReader& r, std::size_t index, BackingFiles f)
      : reader(r), state(r.state()), space_index(index), memory(r, index, f), files(std::move(f)) {
    space = state.getAddressSpaces()[static_cast<unsigned>(index)];
    machine = space.getMachine() != 0 ? space.getMachine() : state.getMachine();
    elf_class = space.getElfClass() != 0 ? space.getElfClass() : state.getElfClass();
    page_size = std::max<std::uint64_t>(state.getPageStream().getPageSize(), 4096);
    callbacks.find_elf = find_no_elf;
    callbacks.find_debuginfo = dwfl_standard_find_debuginfo;
    callbacks.section_address = dwfl_offline_section_address;
    callbacks.debuginfo_path = &debug_path;
    dwfl.reset(::dwfl_begin(&callbacks));
    if (dwfl == nullptr) {
      throw Error(ErrorCode::kInternal, "libdw cannot be used");
    }
    report_modules();
    attach();
  }

  void report_modules() {
    ::dwfl_report_begin(dwfl.get());
    for (const schema::Mapping::Reader mapping : space.getMappings()) {
      const bool image = mapping.getRole() == schema::MappingRole::VDSO;
      if (image || (mapping.getObject() < state.getMemoryObjects().size() &&
                    mapping.getObjectOffset() == 0 &&
                    state.getMemoryObjects()[mapping.getObject()].isFile())) {
        report(mapping);
      }
    }
    ::dwfl_report_end(dwfl.get(), nullptr, nullptr);
  }

  void report(schema::Mapping::Reader mapping) {
    ScopedFd fd;
    const auto name_bytes = mapping.getName();
    std::string name(reinterpret_cast<const char*>(name_bytes.begin()), name_bytes.size());
    std::string path;
    std::string problem;
    if (mapping.getObject() != schema::NO_INDEX) {
      fd = open_module_file(state.getMemoryObjects()[mapping.getObject()].getFile(), files, path,
                            problem);
    }
    std::uint64_t bias = 0;
    if (!fd || !find_bias(fd.get(), space, mapping, page_size, bias)) {
      if (fd) {
        return; // mapped, but not as a program
      }
      try {
        fd = copy_image(space, mapping, memory);
      } catch (const Error&) {
        fd.reset(); // its bytes are in the file that is not there
      }
      if (!fd || !find_bias(fd.get(), space, mapping, page_size, bias)) {
        if (!problem.empty()) {
          problems.push_back(problem);
        }
        return;
      }
    }
    if (name.empty()) {
      name = path;
    }
    const std::string& shown = path.empty() ? name : path;
    Dwfl_Module* module =
        ::dwfl_report_elf(dwfl.get(), name.c_str(), shown.c_str(), fd.get(), bias, true);
    if (module != nullptr) {
      static_cast<void>(fd.release()); // libdw's now
      names[module] = name;
    }
  }

  // Without a module libdw would not know the machine.
  void attach() {
    static const Dwfl_Thread_Callbacks kThreads = {next_thread,   get_thread, read_word,
                                                   set_registers, nullptr,    nullptr};
    ::elf_version(EV_CURRENT);
    const auto fill = [&](auto& header) {
      std::memcpy(header.e_ident, ELFMAG, SELFMAG);
      header.e_ident[EI_CLASS] = elf_class;
      header.e_ident[EI_DATA] = ELFDATA2LSB;
      header.e_ident[EI_VERSION] = EV_CURRENT;
      header.e_type = ET_CORE;
      header.e_machine = machine;
      header.e_version = EV_CURRENT;
      header.e_ehsize = sizeof header;
      machine_elf.reset(::elf_memory(reinterpret_cast<char*>(&header), sizeof header));
    };
    elf_class == ELFCLASS64 ? fill(header64) : fill(header32);
    ::dwfl_attach_state(dwfl.get(), machine_elf.get(), 1, &kThreads, this);
  }

  // Callbacks of libdw: there is one thread, the one that is unwound.
  static pid_t next_thread(Dwfl*, void* self, void** argument) {
    if (*argument != nullptr) {
      return 0;
    }
    *argument = self;
    return static_cast<Impl*>(self)->task.getTid();
  }

  static bool get_thread(Dwfl*, pid_t tid, void* self, void** argument) {
    *argument = self;
    return static_cast<Impl*>(self)->task.getTid() == tid;
  }

  static bool read_word(Dwfl*, Dwarf_Addr address, Dwarf_Word* result, void* self) {
    const Impl& impl = *static_cast<const Impl*>(self);
    const std::size_t size = impl.elf_class == ELFCLASS64 ? 8 : 4;
    std::array<std::byte, 8> bytes{};
    try {
      if (impl.memory.read(address, std::span(bytes).first(size)) != size) {
        return false;
      }
    } catch (const std::exception&) {
      return false; // damage, or a file that is not there: the chain ends here
    }
    std::memcpy(result, bytes.data(), sizeof *result);
    return true;
  }

  static bool set_registers(Dwfl_Thread* thread, void* self) {
    const Impl& impl = *static_cast<const Impl*>(self);
    for (const schema::RegisterSet::Reader set : impl.task.getRegisters()) {
      if (set.getNoteType() != NT_PRSTATUS) {
        continue;
      }
      const auto data = set.getData();
      const auto registers =
          dwarf_registers(impl.machine, std::as_bytes(std::span(data.begin(), data.size())));
      if (!registers) {
        return false;
      }
      ::dwfl_thread_state_register_pc(thread, registers->pc);
      return ::dwfl_thread_state_registers(
          thread, 0, static_cast<unsigned>(registers->values.size()), registers->values.data());
    }
    return false;
  }

  std::optional<SymbolName> find(std::uint64_t address) const {
    Dwfl_Module* module = ::dwfl_addrmodule(dwfl.get(), address);
    if (module == nullptr) {
      return std::nullopt;
    }
    GElf_Off offset = 0;
    GElf_Sym symbol;
    GElf_Word section = 0;
    const char* name =
        ::dwfl_module_addrinfo(module, address, &offset, &symbol, &section, nullptr, nullptr);
    if (name == nullptr || name[0] == '\0' ||
        (symbol.st_size != 0 ? offset >= symbol.st_size : offset >= kNearby)) {
      return std::nullopt;
    }
    SymbolName out;
    // Without the version, which some symbol tables have behind the name.
    const std::string_view whole(name);
    out.name = demangled(std::string(whole.substr(0, whole.find('@', 1))).c_str());
    out.offset = offset;
    out.size = symbol.st_size;
    const auto known = names.find(module);
    out.module = known != names.end() ? known->second : std::string();
    out.function =
        GELF_ST_TYPE(symbol.st_info) == STT_FUNC || GELF_ST_TYPE(symbol.st_info) == STT_GNU_IFUNC;
    return out;
  }

  void add_source(SymbolName& symbol, std::uint64_t address) const {
    Dwfl_Line* line = ::dwfl_getsrc(dwfl.get(), address);
    if (line == nullptr) {
      return;
    }
    const char* file = ::dwfl_lineinfo(line, nullptr, &symbol.line, nullptr, nullptr, nullptr);
    symbol.source = file != nullptr ? file : "";
    symbol.line = file != nullptr ? symbol.line : 0;
  }

  // Functions whose code the compiler put into another one at `address`, innermost first.
  std::vector<std::string> inlined_at(std::uint64_t address) const {
    std::vector<std::string> out;
    Dwarf_Addr bias = 0;
    Dwarf_Die* unit = ::dwfl_addrdie(dwfl.get(), address, &bias);
    Dwarf_Die* found = nullptr;
    const int count = unit != nullptr ? ::dwarf_getscopes(unit, address - bias, &found) : 0;
    const std::unique_ptr<Dwarf_Die, Free> scopes(count > 0 ? found : nullptr);
    for (int i = 0; i < count; ++i) {
      if (::dwarf_tag(&scopes.get()[i]) == DW_TAG_subprogram) {
        break;
      }
      if (::dwarf_tag(&scopes.get()[i]) != DW_TAG_inlined_subroutine) {
        continue;
      }
      // Its parents as they lie in the code, not as they were written.
      Dwarf_Die* parents_found = nullptr;
      const int parents = ::dwarf_getscopes_die(&scopes.get()[i], &parents_found);
      const std::unique_ptr<Dwarf_Die, Free> chain(parents > 0 ? parents_found : nullptr);
      for (int j = 0; j < parents; ++j) {
        Dwarf_Die* die = &chain.get()[j];
        if (::dwarf_tag(die) == DW_TAG_subprogram) {
          break;
        }
        if (::dwarf_tag(die) == DW_TAG_inlined_subroutine) {
          out.push_back(name_of(die));
        }
      }
      break;
    }
    return out;
  }

  static std::string name_of(Dwarf_Die* die) {
    Dwarf_Attribute attribute;
    for (const unsigned name : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name}) {
      const char* text = ::dwarf_formstring(::dwarf_attr_integrate(die, name, &attribute));
      if (text != nullptr) {
        return demangled(text);
      }
    }
    const char* text = ::dwarf_diename(die);
    return text != nullptr ? text : "??";
  }

  std::string mapping_name(std::uint64_t address, std::uint64_t& start) const {
    const auto found = mapping_at(space, address);
    if (!found) {
      return {};
    }
    const schema::Mapping::Reader mapping = *found;
    start = mapping.getStart();
    const auto name = mapping.getName();
    return name.size() != 0 ? std::string(reinterpret_cast<const char*>(name.begin()), name.size())
                            : "[anonymous]";
  }

  struct Walk {
    const Impl& impl;
    ThreadStack& stack;
    std::size_t most;
  };

  static int take_frame(Dwfl_Frame* frame, void* argument) {
    Walk& walk = *static_cast<Walk*>(argument);
    Dwarf_Addr pc = 0;
    bool exact = false;
    if (!::dwfl_frame_pc(frame, &pc, &exact)) {
      return DWARF_CB_ABORT;
    }
    if (walk.stack.frames.size() >= walk.most) {
      walk.stack.problem = "there are more frames than were asked for";
      return DWARF_CB_ABORT;
    }
    StackFrame out;
    out.pc = pc;
    out.exact = exact;
    const std::uint64_t at = exact || pc == 0 ? pc : pc - 1;
    out.symbol = walk.impl.find(at);
    if (out.symbol) {
      out.symbol->offset += pc - at;
      walk.impl.add_source(*out.symbol, at);
    }
    out.inlined = walk.impl.inlined_at(at);
    std::uint64_t start = 0;
    out.mapping = walk.impl.mapping_name(at, start);
    walk.stack.frames.push_back(std::move(out));
    return DWARF_CB_OK;
  }
};

Symbols::Symbols(const CheckpointReader& reader, std::size_t space, BackingFiles files) {
  with_kj_errors(reader.name(), [&] {
    if (space >= reader.state().getAddressSpaces().size()) {
      throw Error(ErrorCode::kInvalidArgument, "there is no address space " + std::to_string(space))
          .in_file(reader.name());
    }
    impl_ = std::make_unique<Impl>(reader, space, std::move(files));
  });
}

Symbols::~Symbols() = default;
Symbols::Symbols(Symbols&&) noexcept = default;

std::optional<SymbolName> Symbols::find(std::uint64_t address) const {
  return impl_->find(address);
}

std::string Symbols::describe(std::uint64_t address) const {
  if (const auto symbol = impl_->find(address)) {
    return symbol->text();
  }
  SymbolName place;
  std::uint64_t start = 0;
  place.name = impl_->mapping_name(address, start);
  place.offset = address - start;
  return place.name.empty() ? std::string() : place.text();
}

const std::vector<std::string>& Symbols::problems() const {
  return impl_->problems;
}

ThreadStack Symbols::unwind(std::int32_t tid, std::size_t most_frames) const {
  return with_kj_errors(impl_->reader.name(), [&] {
    ThreadStack stack;
    stack.tid = tid;
    bool found = false;
    for (const schema::Task::Reader task : impl_->state.getTasks()) {
      if (task.getTid() == tid && task.getAddressSpace() == impl_->space_index && !found) {
        impl_->task = task;
        found = true;
      }
    }
    if (!found) {
      throw Error(ErrorCode::kInvalidArgument,
                  "there is no thread " + std::to_string(tid) + " in the address space")
          .in_file(impl_->reader.name());
    }
    Impl::Walk walk{*impl_, stack, most_frames};
    const int result = ::dwfl_getthread_frames(impl_->dwfl.get(), tid, Impl::take_frame, &walk);
    if (result != 0 && stack.problem.empty()) {
      const char* message = ::dwfl_errmsg(-1);
      stack.problem = message != nullptr ? message : "the chain of calls breaks here";
    }
    return stack;
  });
}

} // namespace rrpcp
