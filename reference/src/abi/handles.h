// What the handles of rrpcp.h are.
#pragma once

#include "rrpcp/memory_view.h"
#include "rrpcp/page_run.h"
#include "rrpcp/reader.h"
#include "rrpcp/rrpcp.h"
#include "rrpcp/schema/manifest.capnp.h"

#include <capnp/dynamic.h>
#include <capnp/message.h>
#include <variant>
#include <vector>

struct rrpcp_node {
  std::variant<capnp::DynamicStruct::Reader, capnp::DynamicStruct::Builder> value;

  bool writable() const { return value.index() == 1; }
  capnp::DynamicStruct::Reader reader() const {
    return writable() ? std::get<1>(value).asReader() : std::get<0>(value);
  }
};

struct rrpcp_checkpoint {
  explicit rrpcp_checkpoint(rrpcp::CheckpointReader opened)
      : reader(std::move(opened)), manifest(reader.manifest()),
        state(reader.state()), root{capnp::DynamicStruct::Reader(manifest)} {}

  rrpcp::CheckpointReader reader;
  rrpcp::schema::Manifest::Reader manifest;
  rrpcp::schema::State::Reader state;
  rrpcp_node root;
};

struct rrpcp_draft {
  capnp::MallocMessageBuilder message;
  rrpcp_node root{capnp::DynamicStruct::Reader()};

  rrpcp::schema::Manifest::Builder manifest() { return message.getRoot<rrpcp::schema::Manifest>(); }
};

struct rrpcp_memory {
  rrpcp::MemoryView view;
};

struct rrpcp_runs {
  std::vector<rrpcp::PageRun> runs;
};
