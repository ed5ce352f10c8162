# Payload of the extension "org.rr-project.persistent-checkpoint": what an rr checkpoint says about
# itself that has no meaning but to be written back exactly as it was (spec/legacy-rr.md, "What the
# extension keeps"). A field is set only where the usual value would not come out.
@0xb163a1abf29c6a35;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::legacy");

struct RrDetails {
  spaces @0 :List(SpaceDetails);
  # One per address space, or empty.
  lastSignalBytes @1 :Data;
  # lastSigInfo, where it is neither 128 zero bytes nor what Session.lastSignal gives.
  lastSignalIsExact @2 :Bool;
  # lastSignalBytes counts, even if it is empty.
  presence @3 :List(Text);
  # Paths of fields of the message, as "cloneCompletion.addressSpaces[0].auxv", whose pointer is null
  # where an export would set it, or set where an export would leave it null. Either way the field
  # has no content: empty bytes, an empty list, a struct of defaults.
}

struct SpaceDetails {
  mappingOrder @0 :List(UInt32);
  # Indexes into AddressSpace.mappings in the order of the list. Empty: the one with the role
  # "stack" first, the others by address.
  monitorOrder @1 :List(UInt32);
  # Indexes into FileTable.monitors in the order of the list. Empty: by descriptor.
  savedMemoryOrder @2 :List(UInt32);
  # Indexes into AddressSpace.savedMemory in the order of the list. Empty: by address.
  arms @3 :List(ArmException);
  # Mappings whose kind is not the one that flags and role imply, by index.
  auxv @4 :Data;
  # The vector's bytes, where they are not the entries and one closing pair of zeros.
  auxvIsExact @5 :Bool;
  # auxv counts, even if it is empty.
}

struct ArmException {
  mapping @0 :UInt32;
  arm @1 :UInt16;
  # Number of the union member: 0 file, 1 guardSegment, 2 sharedAnon, 3 privateAnon,
  # 4 syscallBuffer, 5 rrPage; 6 is 2 with isSysVSegment.
}
