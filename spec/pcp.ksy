# The container of a checkpoint file for machines: the tables of format.md as a Kaitai Struct description
# (https://kaitai.io). What a reader must check, and the manifest, are in format.md and model.md.
meta:
  id: pcp
  title: Persistent checkpoint, format 1.0
  file-extension: pcp
  license: MIT
  endian: le
doc-ref: format.md
instances:
  header:
    pos: 0
    type: header
  footer:
    pos: _io.size - 160
    type: footer
  chunk_table:
    pos: footer.table_offset
    size: footer.chunk_entry_size
    type: chunk_entry
    repeat: expr
    repeat-expr: footer.chunk_count
  manifest:
    pos: footer.manifest_offset
    size: footer.manifest_length
    doc: One Cap'n Proto message; root struct Manifest of schema/manifest.capnp.
types:
  header:
    seq:
      - id: magic
        contents: [0x89, 0x50, 0x43, 0x50, 0x0d, 0x0a, 0x1a, 0x0a]
      - id: major
        type: u2
      - id: minor
        type: u2
      - id: length
        type: u4
      - id: incompatible_features
        type: u8
      - id: read_only_compatible_features
        type: u8
      - id: compatible_features
        type: u8
      - id: trace_uuid
        size: 16
      - id: event
        type: s8
      - id: ticks
        type: s8
      - id: mark_event
        type: s8
      - id: order
        type: u4
      - id: position_kind
        type: u2
        enum: position_kind
      - id: machine
        type: u2
        doc: ELF e_machine
      - id: page_size
        type: u4
      - id: chunk_pages
        type: u4
      - id: reserved
        size: 152
      - id: checksum
        type: u8
        doc: XXH3-64 of bytes 0 to 247
  chunk_entry:
    seq:
      - id: offset
        type: u8
      - id: stored_length
        type: u4
      - id: length
        type: u4
      - id: checksum
        type: u8
        doc: XXH3-64 of the decoded bytes
      - id: stored_checksum
        type: u8
        doc: XXH3-64 of the stored bytes
      - id: codec
        type: u2
        enum: codec
      - id: reserved
        size: 6
    instances:
      stored:
        io: _root._io
        pos: offset
        size: stored_length
  footer:
    seq:
      - id: manifest_offset
        type: u8
      - id: manifest_length
        type: u8
      - id: manifest_digest
        size: 16
        doc: XXH3-128, canonical representation
      - id: table_offset
        type: u8
      - id: chunk_count
        type: u8
      - id: chunk_entry_size
        type: u4
      - id: reserved_52
        size: 4
      - id: table_digest
        size: 16
        doc: XXH3-128, canonical representation
      - id: checkpoint_id
        size: 16
      - id: page_count
        type: u8
      - id: header_checksum
        type: u8
      - id: file_length
        type: u8
      - id: reserved_112
        size: 32
      - id: checksum
        type: u8
        doc: XXH3-64 of bytes 0 to 143 of the footer
      - id: end_magic
        contents: [0x89, 0x50, 0x43, 0x50, 0x45, 0x4e, 0x44, 0x0a]
enums:
  position_kind:
    0: none
    1: at_event
    2: forward_to
    3: between
  codec:
    0: raw
    1: zstd
