# What several of the schemas need: an annotation, and the name of a task.
@0xc8150fb0c47c4acb;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema");

annotation text @0xec9df113c2505aa9 (field) :Void;
# On a field of type Data or List(Data): the bytes are a path, a name or another text of the system,
# usually but not always UTF-8, and none of them is 0 (`value.nul`). Documents
# (spec/inspect-json.md) show them as text, and all other Data as hexadecimal digits.

annotation notNegative @0x8bdccbb6900a07e7 (field) :Void;
# On a field of a signed type, and on a list of them: the value must not be negative
# (`value.negative`). Signed fields without it may have any value but where spec/model.md has a rule
# of its own.

annotation required @0xf42719b1e1b12890 (field) :Void;
# On a pointer to a struct: it must not be null (`value.missing`). In a union, while its arm is set.

annotation since @0xb5a7c0e19d3f4b26 (field, enumerant) :UInt16;
# The minor version that brought it, where that is not 0: in a file of an earlier one it must not be
# set (`value.undefined`, `value.unknown`).

struct TaskId {
  # A task as a replayer names it: ids of the kernel may occur again, serials do not.
  pid @0 :Int32 $notNegative;
  # Of its process. 0: not known.
  processSerial @1 :UInt32;
  # 0: not known.
  tid @2 :Int32 $notNegative;
  # 0: no task.
  taskSerial @3 :UInt32;
  # 0: not known.
}
