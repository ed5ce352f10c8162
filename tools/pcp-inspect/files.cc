// `pcp-inspect files`: descriptors, open files, locks, monitors, working directories.

#include "common/names.h"
#include "common/table.h"
#include "common/text.h"
#include "pcp-inspect/data_text.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/open.h"
#include "rrpcp/message_json.h"

#include <optional>

namespace rrpcp::tools {
namespace {

// Name of the union's arm, or its number where this program does not know it.
std::string kind_of(capnp::DynamicStruct::Reader value) {
  KJ_IF_MAYBE (arm, value.which()) {
    return arm->getProto().getName().cStr();
  }
  return unknown_name(unknown_union_tag(value).value_or(0));
}

std::string identity_text(schema::FileIdentity::Reader identity) {
  return text_of(identity.getPath()) + (identity.getDeleted() ? " (deleted)" : "");
}

std::string what_is_open(schema::OpenFile::Reader file) {
  switch (file.which()) {
  case schema::OpenFile::REGULAR:
    return identity_text(file.getRegular());
  case schema::OpenFile::DIRECTORY:
    return identity_text(file.getDirectory());
  case schema::OpenFile::FIFO:
    return identity_text(file.getFifo());
  case schema::OpenFile::PATH:
    return identity_text(file.getPath());
  case schema::OpenFile::DEVICE:
    return text_of(file.getDevice().getPath()) + " " + device_name(file.getDevice().getNumber());
  case schema::OpenFile::TERMINAL:
    return text_of(file.getTerminal().getPath());
  case schema::OpenFile::PIPE:
    return format_text("pipe:[%llu], %s unread%s",
                       static_cast<unsigned long long>(file.getPipe().getId()),
                       human_size(file.getPipe().getContents().size()).c_str(),
                       file.getPipe().getExternal() ? ", other end outside" : "");
  case schema::OpenFile::SOCKET:
    return text_of(file.getSocket().getDescription());
  case schema::OpenFile::EVENTFD:
    return format_text("count %llu%s",
                       static_cast<unsigned long long>(file.getEventfd().getCount()),
                       file.getEventfd().getSemaphore() ? ", semaphore" : "");
  case schema::OpenFile::EPOLL:
    return human_count(file.getEpoll().getWatches().size(), "watch", "watches");
  case schema::OpenFile::MEMFD:
    return "memory object " + std::to_string(file.getMemfd().getObject());
  case schema::OpenFile::TIMERFD:
    return format_text("%llu ns left, %llu not read",
                       static_cast<unsigned long long>(file.getTimerfd().getRemaining()),
                       static_cast<unsigned long long>(file.getTimerfd().getTicks()));
  case schema::OpenFile::SIGNALFD:
    return signal_set(file.getSignalfd().getMask());
  case schema::OpenFile::INOTIFY:
    return human_count(file.getInotify().getWatches().size(), "watch", "watches");
  case schema::OpenFile::PIDFD:
    return "process " + std::to_string(file.getPidfd().getPid());
  case schema::OpenFile::SOCKET_END:
    return format_text(
        "socket:[%llu], %s", static_cast<unsigned long long>(file.getSocketEnd().getId()),
        human_count(file.getSocketEnd().getReceived().size(), "message", "messages").c_str());
  case schema::OpenFile::OTHER:
    return text_of(file.getOther().getDescription());
  }
  return "";
}

std::string lock_text(schema::FileLock::Reader lock) {
  const bool to_end = lock.getEnd() == INT64_MAX;
  return enum_name_of(lock.getKind()) + (lock.getExclusive() ? " write" : " read") + " lock of " +
         (lock.getStart() == 0 && to_end ? "the whole file"
          : to_end                       ? "bytes from " + std::to_string(lock.getStart())
                                         : "bytes " + std::to_string(lock.getStart()) + " to " +
                         std::to_string(lock.getEnd()));
}

std::optional<schema::OpenFile::Reader> open_file(schema::State::Reader state,
                                                  schema::FileDescriptor::Reader descriptor) {
  const auto files = state.getOpenFiles();
  if (descriptor.getOpenFile() < files.size()) {
    return files[descriptor.getOpenFile()];
  }
  return std::nullopt;
}

std::string tasks_with_table(schema::State::Reader state, unsigned table) {
  std::string text;
  for (const auto task : state.getTasks()) {
    if (task.getFileTable() == table) {
      text += (text.empty() ? "" : " ") + std::to_string(task.getTid());
    }
  }
  return text.empty() ? "none" : text;
}

std::string monitor_details(schema::rr::FileMonitor::Reader monitor) {
  switch (monitor.which()) {
  case schema::rr::FileMonitor::MMAPPED:
    return format_text("device %s, inode %llu%s",
                       device_name(monitor.getMmapped().getDevice()).c_str(),
                       static_cast<unsigned long long>(monitor.getMmapped().getInode()),
                       monitor.getMmapped().getDead() ? ", dead" : "");
  case schema::rr::FileMonitor::PROC_FD:
    return format_text("task %d.%u", monitor.getProcFd().getTid(), monitor.getProcFd().getSerial());
  case schema::rr::FileMonitor::PROC_MEM:
    return format_text("task %d.%u, exec %u", monitor.getProcMem().getTid(),
                       monitor.getProcMem().getSerial(), monitor.getProcMem().getExecCount());
  case schema::rr::FileMonitor::STDIO:
    return format_text("of %d", monitor.getStdio().getOriginalFd());
  case schema::rr::FileMonitor::PROC_STAT:
    return human_size(monitor.getProcStat().getData().size()) + " recorded";
  case schema::rr::FileMonitor::BPF_MAP:
    return format_text("key %llu, value %llu bytes",
                       static_cast<unsigned long long>(monitor.getBpfMap().getKeySize()),
                       static_cast<unsigned long long>(monitor.getBpfMap().getValueSize()));
  case schema::rr::FileMonitor::PID_FD:
    return format_text("task %d.%u", monitor.getPidFd().getTid(), monitor.getPidFd().getSerial());
  case schema::rr::FileMonitor::VIRTUAL_PERF_COUNTER:
    return format_text("task %d.%u, %s", monitor.getVirtualPerfCounter().getTarget(),
                       monitor.getVirtualPerfCounter().getTargetSerial(),
                       monitor.getVirtualPerfCounter().getEnabled() ? "enabled" : "disabled");
  case schema::rr::FileMonitor::PLAIN:
    return "";
  }
  return "";
}

void show_table(Console& console, schema::State::Reader state, unsigned index) {
  const auto table = state.getFileTables()[index];
  console.print(
      "file table %u (tasks: %s): %s\n", index, tasks_with_table(state, index).c_str(),
      table.getContentsUnknown()
          ? "descriptors are not recorded"
          : human_count(table.getDescriptors().size(), "descriptor", "descriptors").c_str());
  Table descriptors(
      {{"FD", true}, {"OPEN FILE", true}, {"KIND"}, {"OFFSET", true}, {"FLAGS"}, {"WHAT"}});
  for (const auto descriptor : table.getDescriptors()) {
    const auto file = open_file(state, descriptor);
    const std::string flags = (file ? open_flags(file->getFlags(), state.getMachine()) : "-") +
                              std::string(descriptor.getCloseOnExec() ? "|O_CLOEXEC" : "");
    std::string what = file ? what_is_open(*file) : "not in the checkpoint";
    for (unsigned i = 0; file && i < file->getLocks().size(); ++i) {
      what += "; " + lock_text(file->getLocks()[i]);
    }
    descriptors.add({std::to_string(descriptor.getFd()), std::to_string(descriptor.getOpenFile()),
                     file ? kind_of(*file) : "-", file ? std::to_string(file->getOffset()) : "-",
                     flags, what});
  }
  if (!descriptors.empty()) {
    descriptors.print(console);
  }
  if (table.getRr().getMonitors().size() != 0) {
    console.print("monitored by rr:\n");
    Table monitors({{"FD", true}, {"KIND"}, {"DETAILS"}});
    for (const auto monitor : table.getRr().getMonitors()) {
      monitors.add({std::to_string(monitor.getFd()), enum_name_of(monitor.getKind()),
                    monitor_details(monitor)});
    }
    monitors.print(console);
  }
}

void show_files(Console& console, const CheckpointReader& reader) {
  const schema::State::Reader state = reader.state();
  for (unsigned i = 0; i < state.getFileTables().size(); ++i) {
    console.write(i == 0 ? "" : "\n");
    show_table(console, state, i);
  }
  for (const auto context : state.getFileSystemContexts()) {
    console.print("%sworking directory %s, root %s, umask %04o\n", console.used() ? "\n" : "",
                  text_of(context.getWorkingDirectory()).c_str(),
                  text_of(context.getRootDirectory()).c_str(), context.getUmask());
  }
  if (!console.used()) {
    console.write("no descriptors are recorded\n");
  }
}

Json files_json(const CheckpointReader& reader) {
  const schema::State::Reader state = reader.state();
  Json tables = Json::array();
  for (const auto table : state.getFileTables()) {
    Json descriptors = Json::array();
    for (const auto descriptor : table.getDescriptors()) {
      const auto file = open_file(state, descriptor);
      Json entry = {{"fd", descriptor.getFd()},
                    {"closeOnExec", descriptor.getCloseOnExec()},
                    {"openFile", descriptor.getOpenFile()}};
      if (file) {
        entry["kind"] = kind_of(*file);
        entry["flags"] = file->getFlags();
        entry["flagNames"] = open_flags(file->getFlags(), state.getMachine());
        entry["offset"] = file->getOffset();
        entry["what"] = what_is_open(*file);
        entry["locks"] = Json::array();
        for (const auto lock : file->getLocks()) {
          entry["locks"].push_back({{"kind", enum_name_of(lock.getKind())},
                                    {"exclusive", lock.getExclusive()},
                                    {"start", lock.getStart()},
                                    {"end", lock.getEnd()}});
        }
      }
      descriptors.push_back(std::move(entry));
    }
    Json monitors = Json::array();
    for (const auto monitor : table.getRr().getMonitors()) {
      monitors.push_back({{"fd", monitor.getFd()},
                          {"kind", enum_name_of(monitor.getKind())},
                          {"details", monitor_details(monitor)}});
    }
    tables.push_back({{"contentsUnknown", table.getContentsUnknown()},
                      {"descriptors", std::move(descriptors)},
                      {"monitors", std::move(monitors)}});
  }
  Json contexts = Json::array();
  for (const auto context : state.getFileSystemContexts()) {
    contexts.push_back(
        {{"workingDirectory", json_bytes_as_text(bytes_of(context.getWorkingDirectory()))},
         {"rootDirectory", json_bytes_as_text(bytes_of(context.getRootDirectory()))},
         {"umask", context.getUmask()}});
  }
  return Json{{"file", json_bytes_as_text(reader.name())},
              {"fileTables", std::move(tables)},
              {"fileSystemContexts", std::move(contexts)}};
}

} // namespace

int inspect_files(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-inspect files", "[OPTION]... FILE...",
       "Shows file descriptors with what is open under them, locks, and what a replayer "
       "monitors.",
       kInspectExitCodes});
  command.add_json().add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, SIZE_MAX, "FILE");
  return show_checkpoints(console, arguments.positional(), files_json,
                          [&](const CheckpointReader& reader) { show_files(console, reader); });
}

} // namespace rrpcp::tools
