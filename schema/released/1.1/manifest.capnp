# The root message of a checkpoint file. spec/format.md says where it lies in the file;
# spec/model.md explains every field.
@0xbc34e89aa2debebd;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema");

using State = import "state.capnp".State;
using Common = import "common.capnp";

struct Manifest {
  # Root of the file's one message, stored in canonical form.

  state @0 :State $Common.required;
  # What is stored. The checkpoint id is a digest of the canonical form of this part and of the
  # chunk checksums.

  provenance @1 :Provenance;
  # Who wrote the file, when and how. Outside every id: two files that differ only here are the
  # same checkpoint.
}

struct Provenance {
  creator @0 :Text;
  # Program and version that wrote this file, as "rrpcp 1.0.0".

  createdAt @1 :Int64;
  # Nanoseconds since 1970-01-01T00:00:00Z, by the clock of the creating machine. 0: not recorded.

  hostName @2 :Text;
  # uname(2) nodename. Empty: not recorded.

  kernelRelease @3 :Text;
  # uname(2) release. Empty: not recorded.

  convertedFrom @4 :Text;
  # Version label that the state was first read from ("rr-2022", "rr-2024", "rr-2025", "1.0"),
  # where this file is a conversion. Empty: written by the producer of the state.

  frozenNanoseconds @5 :UInt64;
  # How long the process stood still for the capture, in nanoseconds. 0: not measured.

  comment @6 :Text;
  # Free text of the user.

  originalDirectory @7 :Data $Common.text;
  # Directory in which the representation that this file is a conversion of said it lay. For
  # people; nothing is looked up there. Empty: not a conversion.
}
