#include "rrpcp/error.h"
#include "rrpcp/writer.h"

#include <algorithm>

namespace rrpcp {

HeaderFields header_fields(schema::State::Reader state) {
  HeaderFields fields;
  fields.machine = state.getMachine();
  fields.elf_class = state.getElfClass();
  fields.data_encoding = state.getDataEncoding();
  auto geometry = state.getPageStream();
  fields.page_size = geometry.getPageSize();
  fields.chunk_pages = geometry.getChunkPages();
  if (state.hasTrace()) {
    auto uuid = state.getTrace().getUuid();
    if (uuid.size() != fields.trace_uuid.bytes.size()) {
      throw Error(ErrorCode::kInvalidArgument, "a trace's uuid has 16 bytes");
    }
    std::copy(uuid.begin(), uuid.end(), fields.trace_uuid.bytes.begin());
  }
  if (state.hasPosition()) {
    auto position = state.getPosition();
    auto clone = position.getClone();
    fields.event = clone.getEvent();
    fields.ticks = clone.getTicks();
    fields.current_task = clone.getTask();
    fields.mark_event = fields.event;
    fields.mark_ticks = fields.ticks;
    switch (position.which()) {
    case schema::Position::AT_EVENT:
      fields.position_kind = format::kPositionAtEvent;
      break;
    case schema::Position::FORWARD_TO:
      fields.position_kind = format::kPositionForwardTo;
      fields.mark_event = position.getForwardTo().getEvent();
      fields.mark_ticks = position.getForwardTo().getTicks();
      break;
    case schema::Position::BETWEEN:
      fields.position_kind = format::kPositionBetween;
      fields.order = position.getBetween().getOrder();
      fields.instructions = position.getBetween().getInstructions();
      break;
    default:
      throw Error(ErrorCode::kUnsupportedFeature, "the kind of position is not known");
    }
  }
  return fields;
}

} // namespace rrpcp
