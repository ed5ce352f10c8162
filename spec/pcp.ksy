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
  footer_end:
    pos: _io.size - 24
    type: footer_end
  footer:
    pos: _io.size - footer_end.length
    type: footer
  sections:
    pos: footer.directory_offset
    size: footer.section_entry_size
    type: section
    repeat: expr
    repeat-expr: footer.section_count
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
      - id: mark_ticks
        type: s8
      - id: instructions
        type: u8
      - id: current_task
        type: s4
      - id: elf_class
        type: u1
        doc: EI_CLASS
      - id: data_encoding
        type: u1
        doc: EI_DATA
      - id: digest_algorithm
        type: u2
        enum: digest_algorithm
      - id: reserved
        size: 128
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
  section:
    seq:
      - id: kind
        type: u4
        doc: section_kind, or one of a later version
      - id: flags
        type: u4
        doc: bit 0 must understand, bit 1 safe to copy
      - id: offset
        type: u8
      - id: length
        type: u8
      - id: reserved
        size: 8
      - id: digest
        size: 32
    instances:
      bytes:
        io: _root._io
        pos: offset
        size: length
        doc: Of kind manifest one Cap'n Proto message.
      chunks:
        io: _root._io
        pos: offset
        size: _root.footer.chunk_entry_size
        type: chunk_entry
        repeat: expr
        repeat-expr: _root.footer.chunk_count
        if: kind == 1
      seal:
        io: _root._io
        pos: offset
        size: length
        type: seal
        if: kind == 3
  seal:
    seq:
      - id: algorithm
        type: u4
        doc: 1 SHA-256
      - id: reserved
        size: 4
      - id: state
        size: 32
      - id: chunks
        size: 32
        repeat: eos
        doc: SHA-256 of the decoded bytes of each chunk, in stream order
  footer:
    seq:
      - id: directory_offset
        type: u8
      - id: section_count
        type: u4
      - id: section_entry_size
        type: u4
      - id: directory_digest
        size: 32
      - id: checkpoint_id
        size: 32
      - id: page_count
        type: u8
      - id: chunk_count
        type: u8
      - id: chunk_entry_size
        type: u4
      - id: reserved_100
        size: 4
      - id: header_checksum
        type: u8
      - id: file_length
        type: u8
      - id: reserved_120
        size: 16
  footer_end:
    doc: The last fields of the footer, whatever its length.
    seq:
      - id: length
        type: u4
      - id: version
        type: u2
      - id: reserved_142
        size: 2
      - id: checksum
        type: u8
        doc: XXH3-64 of the footer's bytes before it
      - id: end_magic
        contents: [0x89, 0x50, 0x43, 0x50, 0x45, 0x4e, 0x44, 0x0a]
enums:
  position_kind:
    0: none
    1: at_event
    2: forward_to
    3: between
  section_kind:
    1: chunk_table
    2: manifest
    3: seal
  digest_algorithm:
    1: xxh3_128
  codec:
    0: raw
    1: zstd
