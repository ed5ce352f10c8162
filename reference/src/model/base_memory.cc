#include "model/base_memory.h"

#include "model/find_mapping.h"
#include "rrpcp/error.h"
#include "rrpcp/page_run.h"

#include <algorithm>

namespace rrpcp {

namespace {

template <typename Function> void for_each_run_list(schema::State::Builder state, Function visit) {
  for (schema::AddressSpace::Builder space : state.getAddressSpaces()) {
    for (schema::Mapping::Builder mapping : space.getMappings()) {
      visit(mapping.getRuns());
    }
  }
  for (schema::MemoryObject::Builder object : state.getMemoryObjects()) {
    visit(object.getRuns());
  }
}

} // namespace

BaseMemory::BaseMemory(const CheckpointReader& base)
    : base_(base), state_(base.state()), page_size_(base.header().page_size) {
  base.open_bases();
  for (std::size_t i = 0; i < base.base_count(); ++i) {
    sources_.push_back(&base.base(i));
  }
  sources_.push_back(&base);
}

bool BaseMemory::seek(capnp::List<schema::PageRun>::Reader runs, std::uint64_t page) {
  if (page < cursor_.run_page) {
    cursor_.run = 0;
    cursor_.run_page = 0;
  }
  for (; cursor_.run < runs.size(); ++cursor_.run) {
    const std::uint64_t pages = runs[cursor_.run].getPages();
    if (page - cursor_.run_page < pages) {
      return true;
    }
    cursor_.run_page += pages;
  }
  return false;
}

std::optional<BaseMemory::Row> BaseMemory::find_run(capnp::List<schema::PageRun>::Reader runs,
                                                    std::uint64_t page) {
  if (!seek(runs, page)) {
    return std::nullopt;
  }
  const schema::PageRun::Reader run = runs[cursor_.run];
  if (!is_of_stream(run.getKind())) {
    return std::nullopt;
  }
  const std::uint64_t skipped = page - cursor_.run_page;
  const bool own = run.getKind() == schema::RunKind::STREAM;
  const auto source = own ? static_cast<std::uint32_t>(sources_.size() - 1) : run.getSource();
  if (source >= sources_.size()) {
    throw Error(ErrorCode::kDamaged, "a run refers to a base that is not listed")
        .in_file(base_.name())
        .with_diagnostic("run.base");
  }
  return Row{source, run.getFirst() + skipped, run.getPages() - skipped};
}

bool BaseMemory::enter(std::uint32_t space, std::uint64_t address) {
  // Of a series each mapping is asked for thousands of times.
  if (!cursor_.in_object && cursor_.owner == space && cursor_.start <= address &&
      address < cursor_.end) {
    return true;
  }
  const auto mappings = state_.getAddressSpaces()[space].getMappings();
  const std::optional<unsigned> index = find_mapping(mappings, address);
  if (!index) {
    return false;
  }
  const schema::Mapping::Reader mapping = mappings[*index];
  cursor_ = {};
  cursor_.owner = space;
  cursor_.start = mapping.getStart();
  cursor_.end = mapping.getEnd();
  cursor_.zero_by_itself = mapping.getObject() == schema::NO_INDEX;
  cursor_.runs = mapping.getRuns();
  return true;
}

std::optional<BaseMemory::Row> BaseMemory::find(std::uint32_t space, std::uint64_t address) {
  return enter(space, address) ? find_run(cursor_.runs, (address - cursor_.start) / page_size_)
                               : std::nullopt;
}

std::uint64_t BaseMemory::zeros(std::uint32_t space, std::uint64_t address) {
  if (!enter(space, address) || !cursor_.zero_by_itself) {
    return 0;
  }
  if (cursor_.runs.size() == 0) {
    return (cursor_.end - address) / page_size_;
  }
  const std::uint64_t page = (address - cursor_.start) / page_size_;
  if (!seek(cursor_.runs, page)) {
    return 0;
  }
  const schema::PageRun::Reader run = cursor_.runs[cursor_.run];
  return run.getKind() == schema::RunKind::ZERO ? run.getPages() - (page - cursor_.run_page) : 0;
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> BaseMemory::known(std::uint32_t space) const {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  const auto add = [&](std::uint64_t start, std::uint64_t end) {
    if (!ranges.empty() && ranges.back().second == start) {
      ranges.back().second = end;
    } else if (start < end) {
      ranges.emplace_back(start, end);
    }
  };
  for (const schema::Mapping::Reader mapping : state_.getAddressSpaces()[space].getMappings()) {
    const bool zero_by_itself = mapping.getObject() == schema::NO_INDEX;
    const auto runs = mapping.getRuns();
    if (runs.size() == 0 && zero_by_itself) {
      add(mapping.getStart(), mapping.getEnd());
    }
    std::uint64_t at = mapping.getStart();
    for (const schema::PageRun::Reader run : runs) {
      const std::uint64_t end = at + run.getPages() * page_size_;
      if (is_of_stream(run.getKind()) ||
          (zero_by_itself && run.getKind() == schema::RunKind::ZERO)) {
        add(at, end);
      }
      at = end;
    }
  }
  return ranges;
}

std::optional<BaseMemory::Row> BaseMemory::find_in_object(std::uint32_t object,
                                                          std::uint64_t offset) {
  if (!cursor_.in_object || cursor_.owner != object) {
    cursor_ = {};
    cursor_.in_object = true;
    cursor_.owner = object;
  }
  return find_run(state_.getMemoryObjects()[object].getRuns(), offset / page_size_);
}

std::optional<std::pair<std::uint32_t, std::uint64_t>>
BaseMemory::object_at(std::uint32_t space, std::uint64_t address) const {
  const auto mappings = state_.getAddressSpaces()[space].getMappings();
  const std::optional<unsigned> index = find_mapping(mappings, address);
  if (!index) {
    return std::nullopt;
  }
  const schema::Mapping::Reader mapping = mappings[*index];
  if (mapping.getObject() == schema::NO_INDEX ||
      mapping.getObject() >= state_.getMemoryObjects().size()) {
    return std::nullopt;
  }
  return std::pair(mapping.getObject(), mapping.getObjectOffset() + (address - mapping.getStart()));
}

BasePage BaseMemory::page(std::uint32_t source, std::uint64_t index) {
  return {source, index, pages_.pages(*sources_[source], index, 1)};
}

std::optional<std::uint32_t> BaseMemory::space_of_process(std::int32_t pid) const {
  for (const schema::Task::Reader task : state_.getTasks()) {
    if (state_.getProcesses()[task.getProcess()].getPid() == pid) {
      return task.getAddressSpace();
    }
  }
  return std::nullopt;
}

void BaseMemory::list_bases(schema::State::Builder state) const {
  std::vector<std::uint32_t> numbers(sources_.size(), schema::NO_INDEX);
  for_each_run_list(state, [&](capnp::List<schema::PageRun>::Builder runs) {
    for (schema::PageRun::Builder run : runs) {
      if (run.getKind() == schema::RunKind::BASE) {
        numbers[run.getSource()] = 0;
      }
    }
  });
  std::uint32_t count = 0;
  for (std::uint32_t& number : numbers) {
    number = number == schema::NO_INDEX ? schema::NO_INDEX : count++;
  }
  if (count == 0) {
    state.disownBases();
    return;
  }
  for_each_run_list(state, [&](capnp::List<schema::PageRun>::Builder runs) {
    for (schema::PageRun::Builder run : runs) {
      if (run.getKind() == schema::RunKind::BASE) {
        run.setSource(numbers[run.getSource()]);
      }
    }
  });
  auto bases = state.initBases(count);
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (numbers[i] == schema::NO_INDEX) {
      continue;
    }
    const CheckpointReader& source = *sources_[i];
    schema::BaseCheckpoint::Builder base = bases[numbers[i]];
    const CheckpointId id = source.id();
    base.setId(kj::arrayPtr(id.bytes.data(), id.bytes.size()));
    base.setPageCount(source.footer().page_count);
    base.setChunkPages(source.header().chunk_pages);
    base.setEvent(source.header().event);
    if (const auto seal = source.seal_digest()) {
      base.setSeal(kj::arrayPtr(seal->data(), seal->size()));
    }
  }
}

} // namespace rrpcp
