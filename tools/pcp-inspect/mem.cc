// `pcp-inspect mem`: memory by address.

#include "common/text.h"
#include "diff/symbol_json.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/open.h"
#include "rrpcp/interop/symbols.h"
#include "rrpcp/memory_view.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace rrpcp::tools {
namespace {

constexpr std::size_t kBlock = 1u << 20;
constexpr std::uint64_t kJsonLimit = 64u << 20;

// Lines of 16 bytes, as hexdump -C writes them; a row of equal lines as "*". Where a line is the
// first of a function or variable, its name stands before it.
class HexDump {
public:
  HexDump(Console& console, std::uint64_t address, const Symbols* symbols)
      : console_(console), address_(address), symbols_(symbols) {}

  // Any number of bytes; lines begin every 16 bytes from the start address.
  void add(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const std::size_t n = std::min(bytes.size(), line_.size() - used_);
      std::memcpy(line_.data() + used_, bytes.data(), n);
      used_ += n;
      bytes = bytes.subspan(n);
      if (used_ == line_.size()) {
        end_line();
      }
    }
  }

  void finish() {
    if (used_ != 0) {
      end_line();
    }
    if (any_) {
      console_.print("%s\n", address_text().c_str());
    }
  }

private:
  std::string address_text() const {
    return format_text("%016llx", static_cast<unsigned long long>(address_));
  }

  void name_line() {
    const auto symbol = symbols_ != nullptr ? symbols_->find(address_) : std::nullopt;
    const std::string name = symbol ? symbol->name : "";
    if (symbol && name != name_) {
      console_.print("%s:\n", printable(symbol->text()).c_str());
      starred_ = false;
      any_ = false; // what follows is shown, though it be equal to the line before
    }
    name_ = name;
  }

  void end_line() {
    name_line();
    const bool repeated = any_ && used_ == line_.size() && line_ == last_;
    if (!repeated) {
      print_line();
    } else if (!starred_) {
      console_.write("*\n");
    }
    starred_ = repeated;
    any_ = true;
    last_ = line_;
    address_ += used_;
    used_ = 0;
  }

  void print_line() {
    std::string text = address_text();
    std::string characters;
    for (std::size_t i = 0; i < line_.size(); ++i) {
      text += i % 8 == 0 ? "  " : " ";
      if (i >= used_) {
        text += "  ";
        continue;
      }
      const auto byte = static_cast<unsigned char>(line_[i]);
      text += format_text("%02x", byte);
      characters += byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '.';
    }
    console_.write(text + "  |" + characters + "|\n");
  }

  Console& console_;
  std::uint64_t address_;
  std::array<std::byte, 16> line_{};
  std::array<std::byte, 16> last_{};
  std::size_t used_ = 0;
  const Symbols* symbols_;
  std::string name_;
  bool any_ = false;
  bool starred_ = false;
};

// Calls `sink` with consecutive pieces and returns how many bytes could be read.
template <typename Sink>
std::uint64_t read_memory(MemoryView& view, std::uint64_t address, std::uint64_t length,
                          Sink sink) {
  std::vector<std::byte> block(std::min<std::uint64_t>(length, kBlock));
  std::uint64_t done = 0;
  while (done < length) {
    const std::span<std::byte> part =
        std::span(block).first(std::min<std::uint64_t>(length - done, block.size()));
    const std::size_t n = view.read(address + done, part);
    sink(part.first(n));
    done += n;
    if (n != part.size()) {
      break;
    }
  }
  return done;
}

struct MemoryRequest {
  std::uint64_t address = 0;
  std::uint64_t length = 0;
  std::size_t space = 0;
  bool raw = false;
  bool names = true;
  BackingFiles files;
};

int show_memory(Console& console, const CheckpointReader& reader, const MemoryRequest& request) {
  MemoryView view(reader, request.space, request.files);
  std::optional<Symbols> symbols;
  if (request.names && !request.raw) {
    symbols.emplace(reader, request.space, request.files);
  }
  std::uint64_t done = 0;
  if (console.json) {
    std::vector<std::byte> bytes;
    done = read_memory(view, request.address, request.length, [&](std::span<const std::byte> part) {
      bytes.insert(bytes.end(), part.begin(), part.end());
    });
    console.write_json(
        {{"file", json_bytes_as_text(reader.name())},
         {"addressSpace", request.space},
         {"address", request.address},
         {"length", request.length},
         {"read", done},
         {"symbol", symbol_json(symbols ? symbols->find(request.address) : std::nullopt)},
         {"bytes", hex(bytes)}});
  } else if (request.raw) {
    done = read_memory(view, request.address, request.length, [&](std::span<const std::byte> part) {
      console.write({reinterpret_cast<const char*>(part.data()), part.size()});
    });
  } else {
    HexDump dump(console, request.address, symbols ? &*symbols : nullptr);
    done = read_memory(view, request.address, request.length,
                       [&](std::span<const std::byte> part) { dump.add(part); });
    dump.finish();
  }
  if (done == request.length) {
    return kExitOk;
  }
  console.flush();
  std::fprintf(stderr, "%s: only %llu of %llu bytes: nothing is stored at 0x%llx\n",
               console.tool_name().c_str(), static_cast<unsigned long long>(done),
               static_cast<unsigned long long>(request.length),
               static_cast<unsigned long long>(request.address + done));
  return kExitNo;
}

} // namespace

int inspect_mem(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-inspect mem", "[OPTION]... ADDR LEN FILE",
       "Shows LEN bytes of memory at address ADDR, as hexdump -C does.",
       "ADDR and LEN are decimal, or hexadecimal after 0x; LEN may end in K, M or G.\n\n"
       "Exit codes: 0 done, 1 not all of the bytes are in the checkpoint (those before "
       "are shown),\n2 the file or a backing file could not be read, or wrong usage."});
  command.add_json().add_quiet();
  command.add("r,raw", "write the bytes themselves");
  command.add("s,space", "address space, as 'pcp-inspect tasks' shows it", "N", "0");
  command.add("no-names", "do not name functions and variables");
  command.add("trace", "directory of the trace, for files that lie in it", "DIR");
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(3, 3, "ADDR, LEN and FILE are needed");
  MemoryRequest request;
  request.address = parse_number(arguments.positional()[0], "the address");
  request.length = parse_size(arguments.positional()[1], "the length");
  request.space = parse_number(arguments.get("space"), "the address space", UINT32_MAX);
  request.raw = arguments.has("raw");
  request.names = !arguments.has("no-names");
  request.files.trace_directory = arguments.get_or("trace", "");
  if (console.json && request.length > kJsonLimit) {
    throw UsageError("with --json LEN can be 64 MiB at most; --raw has no limit");
  }
  const CheckpointReader reader = open_checkpoint(arguments.positional()[2]);
  int code = kExitOk;
  with_manifest(reader, [&] { code = show_memory(console, reader, request); });
  return code;
}

} // namespace rrpcp::tools
