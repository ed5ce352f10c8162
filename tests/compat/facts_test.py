#!/usr/bin/python3
"""Every fact of an independent reading of rr's checkpoints is found again in their imports.

facts_test.py BIN GOLDEN-DIR NAME: imports the golden NAME and compares what `pcp-inspect --json` and
`pcp-inspect mem` say of each import, and `pcp-inspect --json trace` of the trace, with
NAME.facts.json. A fact that nothing was compared with is a failure: each object of the facts
remembers which of its keys were looked at.

With EXTRACTED-DIR instead of GOLDEN-DIR and NAME: a set of the data set, unpacked (facts.json, trace/).
"""
import collections
import hashlib
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

MONITORS = ["Base", "MagicSaveData", "Mmapped", "Preserve", "ProcFd", "ProcMem", "Stdio",
            "VirtualPerfCounter", "NonvirtualPerfCounter", "SysCpu", "ProcStat", "RRPage", "ODirect",
            "BpfMap", "PidFd"]
PAGE = 4096
# Notes of the data set's makers about the archive, which nothing can say but they: bytes that were
# replaced, and the directory listing of a checkpoint whose message nobody can read.
NOT_ABOUT_CHECKPOINTS = {"removed", "files"}
compared = 0


class Fact(dict):
    """An object of the facts that knows which of its keys were looked at."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.used = set()

    def __getitem__(self, key):
        self.used.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.used.add(key)
        return super().get(key, default)


def use_all(value):
    if isinstance(value, Fact):
        value.used.update(value)
        value = list(value.values())
    if isinstance(value, list):
        for element in value:
            use_all(element)


def unused(value, path):
    if isinstance(value, Fact):
        for key, element in value.items():
            if key in value.used:
                yield from unused(element, f"{path}.{key}")
            elif key not in NOT_ABOUT_CHECKPOINTS:
                yield f"{path}.{key}"
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from unused(element, f"{path}[{index}]")


def same(what, mine, fact):
    """A number of the facts may be a string in the document, where it has 64 bits."""
    global compared
    compared += 1
    use_all(fact)
    mine = like(mine, fact)
    if mine != fact:
        sys.exit(f"{what}: the import says {mine!r}, the facts {fact!r}")


def like(mine, fact):
    if isinstance(fact, bool) or fact is None:
        return mine
    if isinstance(fact, int) and isinstance(mine, str):
        return int(mine)
    if isinstance(fact, list) and isinstance(mine, list) and len(mine) == len(fact):
        return [like(a, b) for a, b in zip(mine, fact)]
    if isinstance(fact, tuple) and isinstance(mine, tuple) and len(mine) == len(fact):
        return tuple(like(a, b) for a, b in zip(mine, fact))
    if isinstance(fact, dict) and isinstance(mine, dict):
        return {key: like(value, fact.get(key)) for key, value in mine.items()}
    return mine


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def register(owner, note):
    for entry in owner["registers"]:
        if entry["noteType"] == note:
            return bytes.fromhex(entry["data"])
    return b""


def compare_registers(what, owner, fact):
    general = register(owner, 1)
    extra = register(owner, 0x202)
    same(what + " regsLength", len(general), fact["regsLength"])
    same(what + " regsSha256", sha256(general), fact["regsSha256"])
    same(what + " extraRegsLength", len(extra), fact["extraRegsLength"])
    same(what + " extraRegsSha256", sha256(extra), fact["extraRegsSha256"])
    words = struct.unpack("<27Q", general)
    for name, index in (("rip", 16), ("rsp", 19), ("orig_rax", 15), ("rax", 10), ("fs_base", 21)):
        if name in fact:
            value = words[index]
            same(f"{what} {name}", value, fact[name] % 2**64)
    if "xstate_bv" in fact:
        same(what + " xstate_bv", struct.unpack_from("<Q", extra, 512)[0], fact["xstate_bv"])


def compare_mark(what, mark, fact):
    same(what + " time", mark["event"], fact["time"])
    for owner, mine, theirs in (
            (mark, "ticks", "ticks"), (mark, "ticksAtEventStart", "ticksAtEventStart"),
            (mark["rr"], "stepKey", "stepKey"),
            (mark["rr"], "returnAddresses", "returnAddresses"),
            (mark["rr"], "singleStepsWithoutSignal", "singlestepToNextMarkNoSignal")):
        same(f"{what} {theirs}", owner[mine], fact[theirs])
    compare_registers(what, mark, fact)


def compare_task(what, state, task, fact):
    same(what + " recTid", task["tid"], fact["recTid"])
    same(what + " serial", task["serial"], fact["serial"])
    same(what + " tgid", state["processes"][task["process"]]["pid"], fact["tgid"])
    same(what + " prname", task["rr"]["name"] or task["name"], fact["prname"])
    compare_registers(what, task, fact)
    rr = task["rr"]
    buffer = rr["syscallBuffer"] or {"address": 0, "size": 0, "usedBytes": 0, "deschedFd": -1,
                                         "clonedFileDataFd": -1, "clonedFileDataPath": "",
                                         "clonedFileDataOffset": 0}
    rseq = task["rseq"] or {"address": 0, "signature": 0}
    for name, value in (
            ("ticks", task["replay"]["ticks"]), ("scratchPtr", rr["scratchAddress"]),
            ("scratchSize", rr["scratchSize"]), ("preloadGlobals", rr["preloadGlobals"]),
            ("tlsRegister", rr["tlsRegister"]), ("waitStatus", rr["waitStatus"]),
            ("syscallbufChild", buffer["address"]), ("syscallbufSize", buffer["size"]),
            ("numSyscallbufBytes", buffer["usedBytes"]), ("deschedFdChild", buffer["deschedFd"]),
            ("clonedFileDataFdChild", buffer["clonedFileDataFd"]),
            ("clonedFileDataFname", buffer["clonedFileDataPath"]),
            ("clonedFileDataOffset", buffer["clonedFileDataOffset"]),
            ("rseqPtr", rseq["address"]), ("rseqSignature", rseq["signature"])):
        same(f"{what} {name}", value, fact[name])
    local = bytes.fromhex(rr["threadLocals"])
    same(what + " threadLocalsLength", len(local), fact["threadLocalsLength"])
    same(what + " threadLocalsSha256", sha256(local), fact["threadLocalsSha256"])


def arm_of(state, mapping):
    if mapping["role"] == "guard":
        return "guardSegment"
    if mapping["rr"]["use"] in ("syscallBuffer", "rrPage"):
        return mapping["rr"]["use"]
    if mapping["flags"] & 15 == 1:
        return "sharedAnon"
    return "privateAnon" if mapping["flags"] & 0x20 else "file"


def compare_mapping(what, state, mapping, fact, contents):
    arm = arm_of(state, mapping)
    for name, value in (
            ("end", mapping["end"]), ("prot", mapping["protection"]), ("flags", mapping["flags"]),
            ("offset", mapping["rr"]["fileOffset"]), ("device", mapping["device"]),
            ("inode", mapping["inode"]), ("fsname", mapping["name"]), ("arm", arm)):
        same(f"{what} {name}", value, fact[name])
    if "isSysVSegment" in fact:
        kind = state["memoryObjects"][mapping["object"]]["which"]
        same(what + " isSysVSegment", kind == "systemV", fact["isSysVSegment"])
    if "skipMonitoringMappedFd" in fact:
        same(what + " skipMonitoringMappedFd", mapping["rr"]["monitoringSkipped"],
             fact["skipMonitoringMappedFd"])
    if fact.get("pageFileBasename"):
        same(what + " pageFileBasename", mapping["rr"]["pageFile"], fact["pageFileBasename"])
        start = int(mapping["start"])
        data = contents(start, int(mapping["end"]) - start)
        same(what + " pageFileSize", len(data), fact["pageFileSize"])
        same(what + " sha256", sha256(data), fact["sha256"])
        zero = sum(data[at:at + PAGE] == bytes(PAGE) for at in range(0, len(data), PAGE))
        same(what + " pages", len(data) // PAGE, fact["pages"])
        same(what + " zeroPages", zero, fact["zeroPages"])


def compare_space(what, state, index, fact, contents):
    space = state["addressSpaces"][index]
    same(what + " mappings", len(space["mappings"]), fact["mappings"])
    for name, value in (
            ("exe", space["executablePath"]), ("originalExe", space["originalExecutable"]),
            ("breakpointFaultAddress", space["rr"]["breakpointFaultAddress"]),
            ("vmFirstRunEvent", space["firstRunEvent"])):
        same(f"{what} {name}", value, fact[name])
    by_start = {int(mapping["start"]): mapping for mapping in space["mappings"]}
    for entry in fact["map"]:
        compare_mapping(f"{what} mapping {entry['start']:#x}", state, by_start[entry["start"]], entry,
                        contents)
    tasks = [task for task in state["tasks"] if task["addressSpace"] == index]
    tasks.sort(key=lambda task: task["rr"]["restoreRank"])
    same(what + " tasks", len(tasks), len(fact["tasks"]))
    for task, entry in zip(tasks, fact["tasks"]):
        compare_task(f"{what} task {entry['recTid']}", state, task, entry)
    group = state["processes"][tasks[0]["process"]]["rr"]
    same(what + " taskFirstRunEvent", group["firstRunEvent"] if group else 0,
         fact["taskFirstRunEvent"])
    monitors = state["fileTables"][tasks[0]["fileTable"]]["rr"]["monitors"]
    same(what + " fdMonitorList", sorted((m["fd"], MONITORS[m["legacyType"]]) for m in monitors),
         sorted((m["fd"], m["type"]) for m in fact["fdMonitorList"]))
    same(what + " fdMonitors", dict(collections.Counter(MONITORS[m["legacyType"]] for m in monitors)),
         fact["fdMonitors"])
    same(what + " capturedMemory",
         [(m["address"], len(m["data"]) // 2) for m in space["rr"]["savedMemory"]],
         [(m["start"], m["size"]) for m in fact["capturedMemory"]])
    same(what + " auxvLength", (len(space["auxv"]) + 1) * 16, fact["auxvLength"])


def compare_trace(document, facts):
    for name in ("traceVersion", "xcr0", "events"):
        same(name, document[{"traceVersion": "version"}.get(name, name)], facts[name])
    same("uuid", document["uuid"].replace("-", ""), facts["uuid"].replace("-", ""))
    same("tasks", len(document["taskEvents"]), len(facts["tasks"]))
    for index, (event, fact) in enumerate(zip(document["taskEvents"], facts["tasks"])):
        for mine, theirs in (("event", "frameTime"), ("tid", "tid"), ("kind", "kind")):
            same(f"tasks[{index}] {theirs}", event[mine], fact[theirs])
        for mine, theirs in (("parentTid", "parentTid"), ("flags", "flags"), ("fileName", "fileName"),
                             ("commandLine", "cmdLine"), ("exitStatus", "exitStatus")):
            if theirs in fact:
                same(f"tasks[{index}] {theirs}", event[mine], fact[theirs])


def compare_checkpoint(document, trace, fact, contents):
    what = fact["name"]
    state = document["manifest"]["state"]
    position = state["position"]
    if fact["kind"] == "explicit":
        same(what + " kind", position["which"] in ("atEvent", "between"), True)
        compare_mark(what + " mark", position["clone"], fact["explicit"])
    else:
        same(what + " kind", position["which"], "forwardTo")
        compare_mark(what + " cloneMark", position["clone"], fact["nonExplicit"]["cloneMark"])
        compare_mark(what + " checkpointMark", position["forwardTo"],
                     fact["nonExplicit"]["checkpointMark"])
    same(what + " event", document["header"]["event"], fact["event"])
    same(what + " ticks", document["header"]["ticks"], fact["ticks"])
    same(what + " ticksAtEventStart", position["clone"]["ticksAtEventStart"],
         fact["ticksAtEventStart"])
    session = state["session"]
    for name, value in (("id", session["rr"]["checkpointNumber"]), ("where", session["where"]),
                        ("nextSerial", session["nextTaskSerial"])):
        same(f"{what} {name}", value, fact[name])
    last = session["lastContinuedTask"] or {"pid": 0, "processSerial": 0, "tid": 0, "taskSerial": 0}
    if "lastContinueTuid" in fact:
        same(what + " lastContinueTuid", {"tid": last["tid"], "serial": last["taskSerial"]},
             fact["lastContinueTuid"])
    else:
        same(what + " lastContinueTask",
             {"groupId": last["pid"], "groupSerial": last["processSerial"], "taskId": last["tid"],
              "taskSerial": last["taskSerial"]}, fact["lastContinueTask"])
    statistics = session["statistics"]
    same(what + " statistics",
         {"bytesWritten": statistics["bytesWritten"], "ticksProcessed": statistics["ticksProcessed"],
          "syscallsPerformed": statistics["systemCallsPerformed"]}, fact["statistics"])
    same(what + " addressSpaces", len(state["addressSpaces"]), len(fact["addressSpaces"]))
    same(what + " tasksAtEvent", sorted(task["tid"] for task in state["tasks"]),
         sorted(task["tid"] for task in fact["tasksAtEvent"]))
    parents = {event["tid"]: event["parentTid"] for event in trace["taskEvents"]
               if event["kind"] == "clone"}
    for task in fact["tasksAtEvent"]:
        same(what + " parentTid", parents.get(task["tid"]), task["parentTid"])
    for index, space in enumerate(fact["addressSpaces"]):
        same(what + " usesSyscallBuffering", state["addressSpaces"][index]["rr"]["syscallBuffering"],
             fact["usesSyscallBuffering"])
        compare_space(f"{what} space {index}", state, index, space,
                      lambda address, length, index=index: contents(index, address, length))
    # An export writes the usual length but where an extension keeps other bytes.
    kept = {extension["id"]: bytes.fromhex(extension["payload"]) for extension in state["extensions"]}
    step = kept.get("org.rr-project.replay-trace-step", bytes(32))
    same(what + " sessionCurrentStepLength", len(step), fact["sessionCurrentStepLength"])
    # lastSignalIsExact is all the data that the message in the extension can have: with a data
    # section of no words (bits 32 to 47 of the root pointer) it is not set.
    details = kept.get("org.rr-project.persistent-checkpoint", bytes(8))
    same(what + " lastSigInfoLength", 128 if details[4:6] == bytes(2) else None,
         fact["lastSigInfoLength"])


def compare_set(binaries, facts, trace, temporary):
    described = json.loads(run(binaries / "pcp-inspect", "--json", "trace", trace))
    compare_trace(described, facts)
    same("name", trace.parent.name, facts["name"])
    result = subprocess.run([binaries / "pcp-upgrade", "--json", "-o", temporary / "out", trace],
                            stdout=subprocess.PIPE)
    upgraded = {Path(item["path"]).name: item
                for item in json.loads(result.stdout)["checkpoints"]}
    same("checkpoints", len(upgraded), len(facts["checkpoints"]))
    for fact in facts["checkpoints"]:
        item = upgraded[fact["name"]]
        missing = any(m.get("missing") for s in fact.get("addressSpaces", []) for m in s["map"])
        if fact.get("error") or missing:
            same(fact["name"] + " refused", item["state"], "failed")
            use_all(fact) # nothing of it can be imported
            continue
        same(fact["name"] + " upgraded", item["state"], "upgraded")
        same(fact["name"] + " generation", item["from"], facts["generation"])
        file = item["target"]
        document = json.loads(run(binaries / "pcp-inspect", "--json", file))
        same("uuid", document["header"]["traceUuid"], facts["uuid"].replace("-", ""))
        same("traceVersion", document["manifest"]["state"]["trace"]["formatVersion"],
             facts["traceVersion"])

        def contents(space, address, length, file=file):
            return run(binaries / "pcp-inspect", "mem", "--raw", "--trace", trace, "--space",
                       str(space), hex(address), str(length), file)

        compare_checkpoint(document, described, fact, contents)
    left = list(unused(facts, "facts"))
    if left:
        sys.exit("these facts were compared with nothing: " + ", ".join(left[:20]))


def main():
    binaries = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        temporary = Path(temporary)
        if len(sys.argv) == 3:
            directory = Path(sys.argv[2])
            facts = directory / "facts.json"
        else:
            goldens, name = Path(sys.argv[2]), sys.argv[3]
            facts = goldens / (name + ".facts.json")
            directory = temporary / Path(name).name
            with open(goldens / (name + ".tar.zst"), "rb") as packed:
                archive = subprocess.run(["zstd", "-q", "-d", "--long=27", "-c"], check=True,
                                         stdin=packed, stdout=subprocess.PIPE).stdout
            subprocess.run(["tar", "-x", "-C", temporary], check=True, input=archive)
        compare_set(binaries, json.loads(facts.read_text(), object_hook=Fact), directory / "trace",
                    temporary)
    print(f"{directory.name}: {compared} facts found again")


main()
