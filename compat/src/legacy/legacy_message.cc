#include "legacy/legacy_message.h"

#include "rrpcp/error.h"

namespace rrpcp {

std::string_view generation_name(Generation generation) {
  switch (generation) {
  case Generation::kRr2022:
    return "rr-2022";
  case Generation::kRr2024:
    return "rr-2024";
  case Generation::kRr2025:
    return "rr-2025";
  }
  return "unknown";
}

namespace compat {

namespace {

using legacy::rr2025::CheckpointInfo;

// The fields after the ones that differ in kind; In is the CheckpointInfo of an older generation.
template <typename In>
void copy_common(In in, CheckpointInfo::Builder out, legacy::Machine machine) {
  out.setId(in.getId());
  out.setWhere(in.getWhere());
  out.setNextSerial(in.getNextSerial());
  if (in.isExplicit()) {
    out.setExplicit(in.getExplicit());
    out.getExplicit().setArch(machine);
  } else {
    auto from = in.getNonExplicit();
    auto to = out.initNonExplicit();
    to.setCloneMark(from.getCloneMark());
    to.setCheckpointMark(from.getCheckpointMark());
    to.getCloneMark().setArch(machine);
    to.getCheckpointMark().setArch(machine);
  }
  auto statistics = out.getStatistics();
  statistics.setBytesWritten(in.getStatistics().getBytesWritten());
  statistics.setTicksProcessed(in.getStatistics().getTicksProcessed());
  statistics.setSyscallsPerformed(in.getStatistics().getSyscallsPerformed());
}

// Returns whether monitoring was skipped.
bool copy_mapping(legacy::rr2022::KernelMapping::Reader in,
                  legacy::rr2024::KernelMapping::Builder out) {
  out.setStart(in.getStart());
  out.setEnd(in.getEnd());
  out.setFsname(in.getFsname());
  out.setDevice(in.getDevice());
  out.setInode(in.getInode());
  out.setProtection(in.getProtection());
  out.setFlags(in.getFlags());
  out.setOffset(in.getOffset());
  const auto from = in.getMapType();
  auto to = out.getMapType();
  using MapType = legacy::rr2022::KernelMapping::MapType;
  switch (from.which()) {
  case MapType::FILE:
    to.initFile().setContentsPath(from.getFile().getContentsPath());
    return from.getFile().getSkipMonitoringMappedFd();
  case MapType::GUARD_SEGMENT:
    to.setGuardSegment();
    return false;
  case MapType::SHARED_ANON: {
    auto shared = to.initSharedAnon();
    shared.setContentsPath(from.getSharedAnon().getContentsPath());
    shared.setIsSysVSegment(from.getSharedAnon().getIsSysVSegment());
    return from.getSharedAnon().getSkipMonitoringMappedFd();
  }
  case MapType::PRIVATE_ANON:
    to.initPrivateAnon().setContentsPath(from.getPrivateAnon().getContentsPath());
    return false;
  case MapType::SYSCALL_BUFFER:
    to.initSyscallBuffer().setContentsPath(from.getSyscallBuffer().getContentsPath());
    return false;
  case MapType::RR_PAGE:
    to.initRrPage().setContentsPath(from.getRrPage().getContentsPath());
    return false;
  }
  throw Error(ErrorCode::kDamaged, "a mapping is of a kind that rr-2022 does not have");
}

} // namespace

legacy::MarkData::Reader LegacyMessage::clone_mark() const {
  const auto info = root();
  return info.isExplicit() ? info.getExplicit() : info.getNonExplicit().getCloneMark();
}

LegacyMessage upgrade_2022(legacy::rr2022::CheckpointInfo::Reader info,
                           legacy::rr2022::CloneCompletionInfo::Reader completion,
                           legacy::Machine machine) {
  LegacyMessage result;
  result.generation = Generation::kRr2022;
  result.message = std::make_unique<capnp::MallocMessageBuilder>();
  auto out = result.message->initRoot<CheckpointInfo>();
  copy_common(info, out, machine);

  // rr-2022 named a task by tid and serial; its group is that of the stored task.
  const auto continued = info.getLastContinueTuid();
  auto task = out.initLastContinueTask();
  task.setTaskId(continued.getTid());
  task.setTaskSerial(continued.getSerial());

  auto to = out.initCloneCompletion();
  to.setSessionCurrentStep(completion.getSessionCurrentStep());
  to.setLastSigInfo(completion.getLastSigInfo());
  to.setUsesSyscallBuffering(completion.getUsesSyscallBuffering());
  const auto spaces = completion.getAddressSpaces();
  auto out_spaces = to.initAddressSpaces(spaces.size());
  result.monitoring_skipped.resize(spaces.size());
  for (unsigned s = 0; s < spaces.size(); ++s) {
    const auto from = spaces[s];
    auto space = out_spaces[s];
    space.setArch(machine);
    space.setCloneLeaderState(from.getCloneLeaderState());
    space.setMemberState(from.getMemberState());
    space.setCapturedMemory(from.getCapturedMemory());
    space.setAuxv(from.getAuxv());
    const auto process = from.getProcessSpace();
    auto out_process = space.initProcessSpace();
    out_process.setBreakpointFaultAddress(process.getBreakpointFaultAddress());
    out_process.setExe(process.getExe());
    out_process.setOriginalExe(process.getOriginalExe());
    out_process.setMonitors(process.getMonitors());
    out_process.setTaskFirstRunEvent(process.getTaskFirstRunEvent());
    out_process.setVmFirstRunEvent(process.getVmFirstRunEvent());
    const auto mappings = process.getVirtualAddressSpace();
    auto out_mappings = out_process.initVirtualAddressSpace(mappings.size());
    for (unsigned m = 0; m < mappings.size(); ++m) {
      if (copy_mapping(mappings[m], out_mappings[m])) {
        result.monitoring_skipped[s].push_back(m);
      }
    }
    const auto name_group = [&](legacy::CapturedState::Reader state) {
      if (state.getRecTid() == continued.getTid() && state.getSerial() == continued.getSerial()) {
        task.setGroupId(state.getTguid().getTid());
        task.setGroupSerial(state.getTguid().getSerial());
      }
    };
    name_group(from.getCloneLeaderState());
    for (const auto member : from.getMemberState()) {
      name_group(member);
    }
  }
  return result;
}

LegacyMessage upgrade_2024(legacy::rr2024::CheckpointInfo::Reader info,
                           legacy::rr2024::CloneCompletionInfo::Reader completion,
                           legacy::Machine machine) {
  LegacyMessage result;
  result.generation = Generation::kRr2024;
  result.message = std::make_unique<capnp::MallocMessageBuilder>();
  auto out = result.message->initRoot<CheckpointInfo>();
  copy_common(info, out, machine);
  out.setLastContinueTask(info.getLastContinueTask());
  out.setCloneCompletion(completion);
  for (auto space : out.getCloneCompletion().getAddressSpaces()) {
    space.setArch(machine);
  }
  return result;
}

capnp::Data::Reader contents_path(legacy::rr2024::KernelMapping::Reader mapping) {
  const auto type = mapping.getMapType();
  using MapType = legacy::rr2024::KernelMapping::MapType;
  switch (type.which()) {
  case MapType::FILE:
    return type.getFile().getContentsPath();
  case MapType::GUARD_SEGMENT:
    return {};
  case MapType::SHARED_ANON:
    return type.getSharedAnon().getContentsPath();
  case MapType::PRIVATE_ANON:
    return type.getPrivateAnon().getContentsPath();
  case MapType::SYSCALL_BUFFER:
    return type.getSyscallBuffer().getContentsPath();
  case MapType::RR_PAGE:
    return type.getRrPage().getContentsPath();
  }
  throw Error(ErrorCode::kDamaged, "a mapping is of a kind that rr does not have");
}

void set_contents_path(legacy::rr2024::KernelMapping::Builder mapping, std::string_view path) {
  auto type = mapping.getMapType();
  using MapType = legacy::rr2024::KernelMapping::MapType;
  switch (type.which()) {
  case MapType::FILE:
    type.getFile().setContentsPath(as_data(path));
    break;
  case MapType::GUARD_SEGMENT:
    break;
  case MapType::SHARED_ANON:
    type.getSharedAnon().setContentsPath(as_data(path));
    break;
  case MapType::PRIVATE_ANON:
    type.getPrivateAnon().setContentsPath(as_data(path));
    break;
  case MapType::SYSCALL_BUFFER:
    type.getSyscallBuffer().setContentsPath(as_data(path));
    break;
  case MapType::RR_PAGE:
    type.getRrPage().setContentsPath(as_data(path));
    break;
  }
}

} // namespace compat
} // namespace rrpcp
