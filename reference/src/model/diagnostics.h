// The table of everything that the validator can say. spec/validation.md shows it to people; a test
// compares the two. A code that was released keeps its meaning for ever and is never reused.
#pragma once

#include "rrpcp/validate.h"

#include <array>
#include <cstddef>

namespace rrpcp {

namespace detail {

inline constexpr Severity E = Severity::kError;
inline constexpr Severity W = Severity::kWarning;
inline constexpr Severity I = Severity::kInfo;
inline constexpr ValidationLevel S = ValidationLevel::kStructure;
inline constexpr ValidationLevel C = ValidationLevel::kChecksums;
inline constexpr ValidationLevel M = ValidationLevel::kSemantics;

} // namespace detail

inline constexpr auto kDiagnostics = [] {
  using namespace detail;
  constexpr std::string_view kCopyAgain =
      "Copy the file again from an intact original, or make the checkpoint again.";
  constexpr std::string_view kWriter = "The program that wrote the file is at fault: report it "
                                       "there, and make the checkpoint again.";
  constexpr std::string_view kNewer = "Use a newer release of this program.";
  constexpr std::string_view kNothing = "Nothing needs to be done.";
  return std::to_array<Diagnostic>({
      // Header
      {"header.truncated", E, S, "The file ends inside the header.",
       "The writer was interrupted or the file was cut: make the checkpoint again."},
      {"header.magic", E, S, "The file does not begin with the magic of a checkpoint.",
       "This is another kind of file, or a transfer in text mode changed it: copy the original "
       "again "
       "in binary mode."},
      {"header.checksum", E, S, "The header's checksum does not match its bytes.", kCopyAgain},
      {"header.version", E, S, "The file has a major version that this program does not know.",
       kNewer},
      {"header.newer-minor", I, S,
       "The file has a newer minor version than this program; what it adds is not judged.", kNewer},
      {"header.incompatible-feature", E, S,
       "The file needs a feature that this program does not know, so nothing more is judged.",
       kNewer},
      {"header.read-only-feature", W, S,
       "The file uses a feature that this program does not know: it may be read but not rewritten.",
       kNewer},
      {"header.compatible-feature", I, S,
       "The file uses a feature that this program does not know and may ignore.", kNothing},
      {"header.length", E, S, "The header's length field is not 256.", kWriter},
      {"header.page-size", E, S, "The page size is not 4096, 16384 or 65536.", kWriter},
      {"header.chunk-pages", E, S,
       "The number of pages of a chunk is 0, above 4096, or makes a chunk larger than 16 MiB.",
       kWriter},
      {"header.position-kind", E, S, "The kind of position is not defined.", kWriter},
      {"header.event", E, S,
       "An event number is negative, or the mark's event lies before the stored state's.", kWriter},
      {"header.machine", E, S, "The header names no machine.", kWriter},
      {"header.reserved", E, S,
       "Reserved bytes of the header are not zero, and no unknown feature bit announces them.",
       kWriter},
      {"header.manifest-mismatch", E, S, "The header says something else than the manifest.",
       kWriter},
      // Footer
      {"footer.missing", E, S, "The file does not end with a footer: it is incomplete.",
       "The writer was interrupted or the file was cut: make the checkpoint again."},
      {"footer.magic", E, S,
       "The closing magic is damaged, while the rest of the footer is intact.", kCopyAgain},
      {"footer.checksum", E, S, "The footer's checksum does not match its bytes.", kCopyAgain},
      {"footer.file-length", E, S, "The file has not the length with which it was written.",
       kCopyAgain},
      {"footer.header-checksum", E, S, "Header and footer belong to different files.", kCopyAgain},
      {"footer.chunk-entry-size", E, S,
       "The size of a chunk-table entry is below 40, above 4096, not a multiple of 8, or not the "
       "one "
       "of the file's version.",
       kWriter},
      {"footer.page-count", E, S,
       "The number of pages is above 2^51 or another than the manifest's pageStream.pageCount.",
       kWriter},
      {"footer.chunk-count", E, S, "The number of chunks does not fit the number of pages.",
       kWriter},
      {"footer.table-offset", E, S, "The chunk table lies outside of the file or is not aligned.",
       kWriter},
      {"footer.manifest-offset", E, S, "The manifest does not follow the chunk table.", kWriter},
      {"footer.manifest-length", E, S,
       "The manifest does not reach to the footer, or has no possible length.", kWriter},
      {"footer.reserved", E, S,
       "Reserved bytes of the footer are not zero, and no unknown feature bit announces them.",
       kWriter},
      // Chunk table and padding
      {"chunk-table.digest", E, S, "The chunk table's digest does not match its bytes.",
       kCopyAgain},
      {"chunk.codec", E, S, "A chunk has a codec that is not defined.", kNewer},
      {"header.feature-unset", E, S,
       "A chunk is compressed, but the feature bit of its codec is not set in the header.",
       kWriter},
      {"chunk.length", E, S, "A chunk's decoded length is not that of its pages.", kWriter},
      {"chunk.stored-length", E, S,
       "A raw chunk's stored length or checksum differs from the decoded one, or a compressed "
       "chunk "
       "is empty or not smaller than its pages.",
       kWriter},
      {"chunk.offset", E, S,
       "A chunk does not lie where the layout puts it: directly after the one before, a raw one at "
       "the next page boundary.",
       kWriter},
      {"chunk.reserved", E, S,
       "Reserved bytes of a chunk-table entry are not zero, and no unknown feature bit announces "
       "them.",
       kWriter},
      {"page-data.padding", E, S, "Bytes between two parts of the file are not zero.", kCopyAgain},
      // Manifest as a message
      {"manifest.digest", E, S, "The manifest's digest does not match its bytes.", kCopyAgain},
      {"manifest.layout", E, S,
       "The manifest is not one segment of objects in canonical order, each inside the message and "
       "none used twice.",
       kWriter},
      {"manifest.canonical", E, S,
       "The manifest is readable but not in canonical form, so that its bytes are not the only "
       "ones "
       "for its content.",
       kWriter},
      {"manifest.message", E, S,
       "A part of the manifest has not the form that the schema gives it.", kWriter},
      // Page data
      {"chunk.stored-checksum", E, C, "A chunk's bytes are not the ones that were stored.",
       kCopyAgain},
      {"chunk.decode", E, C,
       "A chunk is not exactly one frame of its codec that makes the chunk's length.", kWriter},
      {"chunk.checksum", E, C, "A chunk decodes to other bytes than were stored.", kWriter},
      {"footer.checkpoint-id", E, C, "The checkpoint id is not that of the content.", kWriter},
      // Values in general
      {"value.unknown", E, M,
       "An enumerant or a union arm is not defined in the file's version of the format.", kWriter},
      {"value.newer", I, M,
       "An enumerant or a union arm of a newer minor version is not known to this program.",
       kNewer},
      {"value.text", E, M, "A text is not UTF-8, or has a NUL byte.", kWriter},
      {"value.nul", E, M, "A path or name has a NUL byte.", kWriter},
      {"value.negative", E, M, "A number that counts or identifies is negative.", kWriter},
      // State
      {"state.machine", I, M,
       "The machine is not one whose register sets this program knows; their sizes are not judged.",
       kNothing},
      {"state.producer", E, M, "The producer is missing or not a reverse-DNS id.", kWriter},
      {"state.clocks", E, M, "The id of the machine's start has not 16 bytes.", kWriter},
      {"state.omission", E, M,
       "What was left out is not ordered by name, listed twice, or has no name.", kWriter},
      {"state.reference", E, M, "An index refers to an entry that does not exist.", kWriter},
      {"state.unreferenced", W, M, "Nothing refers to an entry of a shared list.",
       "The entry costs space and has no effect; the writer should leave it out."},
      {"state.reference-order", W, M,
       "A shared list is not in the order in which its entries are first referred to, so that "
       "equal "
       "states can have different ids.",
       "The writer should number entries as it first meets them."},
      {"stream.unreferenced", W, M, "Nothing refers to some pages of the page stream.",
       "The pages cost space and have no effect; rewriting the checkpoint leaves them out."},
      // Position and trace
      {"position.missing", E, M, "The state is bound to a trace but has no position in it.",
       kWriter},
      {"position.unbound", W, M, "The state has a position but is not bound to a trace.",
       "Such a checkpoint cannot be restored into a replay; bind it by converting it again beside "
       "its "
       "trace."},
      {"position.event", E, M, "An event number is negative.", kWriter},
      {"position.ticks", E, M,
       "Ticks are negative, or lower than at the start of the event they lie in.", kWriter},
      {"position.mark", E, M, "The mark to go forward to lies before the stored state.", kWriter},
      {"trace.uuid", E, M, "The trace's uuid has not 16 bytes, or is all zero.", kWriter},
      {"trace.format", E, M, "The trace format is missing or not a reverse-DNS id.", kWriter},
      {"trace.cursor", E, M,
       "The streams of the cursor are not ordered by name, one is named twice, or a name is empty "
       "or "
       "a path.",
       kWriter},
      // Processes and tasks
      {"process.pid", E, M, "A process id is not above 0.", kWriter},
      {"process.order", E, M, "The processes are not ordered by pid, or two have the same.",
       kWriter},
      {"process.empty", E, M, "A process has no task.", kWriter},
      {"process.timer", E, M,
       "Interval timers, POSIX timers: out of order, twice the same, or with an impossible value.",
       kWriter},
      {"process.attributes", E, M,
       "A process was stopped by a signal that stops none, has an impossible out-of-memory "
       "adjustment, or its semaphore adjustments are out of order.",
       kWriter},
      {"process.resource-limit", E, M,
       "Resource limits are out of order, or a soft limit is above its hard one.", kWriter},
      {"task.tid", E, M, "A thread id is not above 0, or two tasks have the same.", kWriter},
      {"task.order", E, M, "The tasks are not ordered by process, leader first, then tid.",
       kWriter},
      {"task.name", E, M, "A task's name has more than 15 bytes.", kWriter},
      {"task.attributes", E, M,
       "A thread's attributes have an impossible value, or one of their lists is out of order.",
       kWriter},
      {"credentials.capabilities", E, M,
       "Capabilities are effective or ambient that are not permitted, or bits are not defined.",
       kWriter},
      {"namespace.ids", E, M, "A range of mapped ids is empty or ends above 2^32-1.", kWriter},
      {"task.registers", E, M, "A task has no general registers (NT_PRSTATUS).", kWriter},
      {"task.alternate-stack", E, M,
       "An alternate signal stack has an impossible address or flags.", kWriter},
      {"task.rseq", E, M, "A restartable-sequence registration has no address.", kWriter},
      {"task.thread-area", E, M,
       "Thread areas are out of order, on a machine without them, or have an impossible value.",
       kWriter},
      {"registers.order", E, M,
       "Register sets are not ordered by note type, or a type occurs twice.", kWriter},
      {"registers.size", E, M,
       "A register set has not the size of its type on the state's machine.", kWriter},
      {"registers.xsave", E, M,
       "An XSAVE area is compacted, or shorter than the components it has in use.", kWriter},
      {"registers.xsave-features", E, M,
       "An XSAVE area uses a component that cpu.xsaveFeatures does not name.", kWriter},
      // Signals
      {"signal.number", E, M, "A signal number is not 1 to 64.", kWriter},
      {"signal.mask", W, M, "A signal mask blocks SIGKILL or SIGSTOP, which no kernel does.",
       kNothing},
      {"signal.raw", E, M,
       "The raw form of a siginfo has not 128 bytes or another signal number than the fields.",
       kWriter},
      {"signal-action.order", E, M,
       "Signal actions are not ordered by signal, or a signal occurs twice.", kWriter},
      {"signal-action.default", E, M, "An action that equals the default is listed.", kWriter},
      {"signal-action.fixed", E, M, "SIGKILL or SIGSTOP has an action.", kWriter},
      {"signal-action.restorer", E, M, "A restorer is given though SA_RESTORER is not set.",
       kWriter},
      // Address spaces
      {"space.layout", E, M, "An area of the memory layout ends before it begins.", kWriter},
      {"space.auxv", E, M, "The auxiliary vector has a closing entry (AT_NULL).", kWriter},
      {"space.executable", E, M, "The executable is not a file.", kWriter},
      {"space.saved-memory", E, M,
       "Saved memory is empty, out of order, overlaps or reaches beyond the address space.",
       kWriter},
      {"space.attributes", E, M, "An address space's attributes contradict each other.", kWriter},
      {"space.stack", E, M, "An address space has two initial stacks.", kWriter},
      {"mapping.range", E, M,
       "A mapping is empty, ends before it begins, or is not aligned to the page size.", kWriter},
      {"mapping.order", E, M, "The mappings are not ordered by address.", kWriter},
      {"mapping.overlap", E, M, "Two mappings overlap.", kWriter},
      {"mapping.protection", E, M, "A mapping has protection bits that its machine has not.",
       kWriter},
      {"mapping.flags", E, M,
       "A mapping is not exactly one of shared and private, or has flags that do not describe a "
       "mapping.",
       kWriter},
      {"mapping.advice", E, M, "A mapping has advice bits that are not defined or contradict.",
       kWriter},
      {"mapping.attributes", E, M,
       "A mapping is locked on fault but not locked, droppable but not private anonymous memory, "
       "or "
       "has user-fault modes or nodes that are not possible.",
       kWriter},
      {"mapping.pkey", E, M, "A memory protection key is above 15.", kWriter},
      {"mapping.object", E, M,
       "A shared mapping has no object, or a private anonymous mapping has one.", kWriter},
      {"mapping.object-offset", E, M,
       "A mapping's offset is not a multiple of the page size, overflows, or has no object.",
       kWriter},
      {"mapping.shared", E, M, "A shared mapping has runs of its own.", kWriter},
      {"mapping.role", E, M,
       "A guard is accessible or has contents, or a page that the kernel provides has contents.",
       kWriter},
      {"run.empty", E, M, "A run has no pages.", kWriter},
      {"run.fields", E, M, "A run has a value in a field that its kind does not use.", kWriter},
      {"run.stream", E, M, "A run reaches beyond the end of the page stream.", kWriter},
      {"run.backing", E, M, "A run says \"backing\" where there is nothing behind.", kWriter},
      {"run.join", E, M, "Two neighbouring runs could be one.", kWriter},
      {"run.cover", E, M, "The runs do not cover their mapping or object exactly.", kWriter},
      // Memory objects and files
      {"object.length", E, M, "A memory object has no length, or a file's length is not its size.",
       kWriter},
      {"object.runs", E, M, "A memory object without a file has no runs.", kWriter},
      {"object.duplicate", W, M, "Two memory objects have the same device and inode.",
       "The writer should describe an object once and refer to it from every mapping."},
      {"object.tail", E, M, "Bytes of a memory object's last page beyond its length are not zero.",
       kWriter},
      {"object.seals", E, M, "A memfd has seals that are not defined.", kWriter},
      {"file.path", E, M,
       "A path is empty, has a NUL byte, is not absolute where it must be, or could leave the "
       "trace.",
       kWriter},
      {"file.digest", E, M,
       "Digests of a file are empty, out of order, overlap or reach beyond its end.", kWriter},
      {"file.digest-missing", W, M,
       "Pages are taken from a file for whose range no digest is stored, so that a change of its "
       "content cannot be noticed.",
       "Capture with embedded files where that matters."},
      {"context.path", E, M, "A working or root directory is not an absolute path.", kWriter},
      {"context.umask", E, M, "A umask is above 0777.", kWriter},
      // Descriptors
      {"descriptor.order", E, M, "Descriptors are not ordered by number, or one occurs twice.",
       kWriter},
      {"monitor.order", E, M, "Monitors are not ordered by descriptor, or one occurs twice.",
       kWriter},
      {"monitor.kind", E, M, "A monitor's kind and its details do not belong together.", kWriter},
      {"open-file.offset", E, M, "A file position is above 2^63-1.", kWriter},
      {"open-file.lock", E, M, "A file lock ends before it begins or above 2^63-1.", kWriter},
      {"open-file.object", E, M, "A memfd descriptor does not refer to a memfd.", kWriter},
      {"open-file.owner", E, M, "The owner of an open file is said to be a thread and is none.",
       kWriter},
      {"open-file.contents", E, M,
       "The contents of an open file are not an embedded file, or the open file is not regular.",
       kWriter},
      {"open-file.inotify", E, M, "Inotify watches are not ordered by their descriptor.", kWriter},
      {"open-file.socket", E, M, "Socket options are not ordered by level and name.", kWriter},
      {"open-file.pipe", E, M, "A pipe holds more than its capacity.", kWriter},
      {"open-file.epoll", E, M, "Epoll watches are not ordered by descriptor.", kWriter},
      // Processor, session, extensions
      {"cpu.missing", W, M, "A task has an XSAVE area, but the processor is not described.",
       "The checkpoint cannot be restored as a process; a replayer may know the processor from its "
       "trace."},
      {"cpu.xsave-layout", E, M,
       "The XSAVE layout is out of order, has an impossible component, or misses one that is in "
       "use.",
       kWriter},
      {"cpu.cpuid", E, M, "CPUID leaves are out of order, or one occurs twice.", kWriter},
      {"session.next-serial", W, M, "The next serial was given to a task already.",
       "A replay from this checkpoint may confuse tasks; make the checkpoint again."},
      {"session.mapped-files", E, M,
       "The mapped-file table is not ordered by device and inode, or a file occurs twice.",
       kWriter},
      {"session.step", E, M, "A replay step has an impossible value.", kWriter},
      {"extension.id", E, M, "An extension's id is not a reverse-DNS id.", kWriter},
      {"extension.order", E, M, "Extensions are not ordered by id, or an id occurs twice.",
       kWriter},
      {"extension.unknown", I, M, "The file has an extension that this program does not know.",
       kNothing},
      {"extension.critical", W, M,
       "The file has a critical extension that this program does not know: it must not be restored "
       "or "
       "replayed from by this release.",
       kNewer},
  });
}();

// A diagnostic's code, checked when the program is compiled.
class DiagnosticCode {
public:
  consteval DiagnosticCode(const char* code) : index_(find(code)) {} // NOLINT: implicit on purpose

  constexpr const Diagnostic& diagnostic() const { return kDiagnostics[index_]; }
  constexpr std::size_t index() const { return index_; }

private:
  static consteval std::size_t find(std::string_view code) {
    for (std::size_t i = 0; i < kDiagnostics.size(); ++i) {
      if (kDiagnostics[i].code == code) {
        return i;
      }
    }
    throw "this diagnostic is not in the table";
  }

  std::size_t index_;
};

} // namespace rrpcp
