#!/usr/bin/python3
"""Every fact of an independent reading of rr's checkpoints is found again in their imports.

facts_test.py BIN GOLDEN-DIR NAME: imports the golden NAME and compares what `pcp-inspect --json` and
`pcp-inspect mem` say of each import with NAME.facts.json.
"""
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
compared = 0


def same(what, mine, fact):
    global compared
    compared += 1
    if mine != fact:
        sys.exit(f"{what}: the import says {mine!r}, the facts {fact!r}")


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
    for mine, theirs in (("ticks", "ticks"), ("ticksAtEventStart", "ticksAtEventStart"),
                         ("stepKey", "stepKey"), ("returnAddresses", "returnAddresses"),
                         ("singleStepsWithoutSignal", "singlestepToNextMarkNoSignal")):
        same(f"{what} {theirs}", mark[mine], fact[theirs])
    compare_registers(what, mark, fact)


def compare_task(what, state, task, fact):
    same(what + " recTid", task["tid"], fact["recTid"])
    same(what + " serial", task["serial"], fact["serial"])
    same(what + " tgid", state["processes"][task["process"]]["pid"], fact["tgid"])
    same(what + " prname", task["name"], fact["prname"])
    compare_registers(what, task, fact)
    replay = task["replay"]
    buffer = replay["syscallBuffer"] or {"childAddress": 0, "size": 0, "usedBytes": 0, "deschedFd": -1,
                                         "clonedFileDataFd": -1, "clonedFileDataPath": "",
                                         "clonedFileDataOffset": 0}
    rseq = task["rseq"] or {"address": 0, "signature": 0}
    for name, value in (
            ("ticks", replay["ticks"]), ("scratchPtr", replay["scratchAddress"]),
            ("scratchSize", replay["scratchSize"]), ("preloadGlobals", replay["preloadGlobals"]),
            ("tlsRegister", replay["tlsRegister"]), ("waitStatus", replay["waitStatus"]),
            ("syscallbufChild", buffer["childAddress"]), ("syscallbufSize", buffer["size"]),
            ("numSyscallbufBytes", buffer["usedBytes"]), ("deschedFdChild", buffer["deschedFd"]),
            ("clonedFileDataFdChild", buffer["clonedFileDataFd"]),
            ("clonedFileDataOffset", buffer["clonedFileDataOffset"]),
            ("rseqPtr", rseq["address"]), ("rseqSignature", rseq["signature"])):
        same(f"{what} {name}", value, fact[name])
    local = bytes.fromhex(replay["threadLocals"])
    same(what + " threadLocalsLength", len(local), fact["threadLocalsLength"])
    same(what + " threadLocalsSha256", sha256(local), fact["threadLocalsSha256"])


def arm_of(state, mapping):
    role = mapping["role"]
    special = {"guard": "guardSegment", "syscallBuffer": "syscallBuffer", "replayerPage": "rrPage"}
    if role in special:
        return special[role]
    if mapping["flags"] & 15 == 1:
        return "sharedAnon"
    return "privateAnon" if mapping["flags"] & 0x20 else "file"


def compare_mapping(what, state, mapping, fact, contents):
    arm = arm_of(state, mapping)
    for name, value in (
            ("end", mapping["end"]), ("prot", mapping["protection"]), ("flags", mapping["flags"]),
            ("offset", mapping["fileOffset"]), ("device", mapping["device"]),
            ("inode", mapping["inode"]), ("fsname", mapping["name"]), ("arm", arm)):
        same(f"{what} {name}", value, fact[name])
    if "isSysVSegment" in fact:
        kind = state["memoryObjects"][mapping["object"]]["which"]
        same(what + " isSysVSegment", kind == "systemV", fact["isSysVSegment"])
    if "skipMonitoringMappedFd" in fact:
        same(what + " skipMonitoringMappedFd", mapping["monitoringSkipped"],
             fact["skipMonitoringMappedFd"])
    if fact.get("pageFileBasename"):
        same(what + " pageFileBasename", mapping["legacyPageFile"], fact["pageFileBasename"])
        data = contents(mapping["start"], mapping["end"] - mapping["start"])
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
            ("breakpointFaultAddress", space["breakpointFaultAddress"]),
            ("vmFirstRunEvent", space["firstRunEvent"])):
        same(f"{what} {name}", value, fact[name])
    by_start = {mapping["start"]: mapping for mapping in space["mappings"]}
    for entry in fact["map"]:
        compare_mapping(f"{what} mapping {entry['start']:#x}", state, by_start[entry["start"]], entry,
                        contents)
    tasks = [task for task in state["tasks"] if task["addressSpace"] == index]
    tasks.sort(key=lambda task: task["replay"]["restoreOrder"])
    same(what + " tasks", len(tasks), len(fact["tasks"]))
    for task, entry in zip(tasks, fact["tasks"]):
        compare_task(f"{what} task {entry['recTid']}", state, task, entry)
    same(what + " taskFirstRunEvent", tasks[0]["replay"]["firstRunEvent"], fact["taskFirstRunEvent"])
    monitors = state["fileTables"][tasks[0]["fileTable"]]["monitors"]
    same(what + " fdMonitorList", sorted((m["fd"], MONITORS[m["legacyType"]]) for m in monitors),
         sorted((m["fd"], m["type"]) for m in fact["fdMonitorList"]))
    same(what + " capturedMemory",
         [(m["address"], len(m["data"]) // 2) for m in space["savedMemory"]],
         [(m["start"], m["size"]) for m in fact["capturedMemory"]])
    same(what + " auxvLength", (len(space["auxv"]) + 1) * 16, fact["auxvLength"])


def compare_checkpoint(document, fact, contents):
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
    session = state["session"]
    for name, value in (("id", session["legacyId"]), ("where", session["where"]),
                        ("nextSerial", session["nextTaskSerial"])):
        same(f"{what} {name}", value, fact[name])
    last = session["lastContinuedTask"]
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
    for index, space in enumerate(fact["addressSpaces"]):
        same(what + " usesSyscallBuffering", state["addressSpaces"][index]["syscallBuffering"],
             fact["usesSyscallBuffering"])
        compare_space(f"{what} space {index}", state, index, space,
                      lambda address, length, index=index: contents(index, address, length))
    for extension in state["extensions"]:
        if extension["id"] == "org.rr-project.replay-trace-step":
            same(what + " sessionCurrentStepLength", len(extension["payload"]) // 2,
                 fact["sessionCurrentStepLength"])


def main():
    binaries, goldens, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    facts = json.loads((goldens / (name + ".facts.json")).read_text())
    with tempfile.TemporaryDirectory() as temporary:
        with open(goldens / (name + ".tar.zst"), "rb") as packed:
            archive = subprocess.run(["zstd", "-q", "-d", "--long=27", "-c"], check=True, stdin=packed,
                                     stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "-C", temporary], check=True, input=archive)
        trace = Path(temporary) / Path(name).name / "trace"
        result = subprocess.run([binaries / "pcp-upgrade", "--json", "-o", Path(temporary) / "out", trace],
                                stdout=subprocess.PIPE)
        upgraded = {Path(item["path"]).name: item
                    for item in json.loads(result.stdout)["checkpoints"]}
        for fact in facts["checkpoints"]:
            item = upgraded[fact["name"]]
            missing = any(m.get("missing") for s in fact.get("addressSpaces", []) for m in s["map"])
            if "error" in fact or missing:
                same(fact["name"] + " refused", item["state"], "failed")
                continue
            same(fact["name"] + " upgraded", item["state"], "upgraded")
            same(fact["name"] + " generation", item["from"], facts["generation"])
            file = item["target"]
            document = json.loads(subprocess.run([binaries / "pcp-inspect", "--json", file], check=True,
                                                 stdout=subprocess.PIPE).stdout)
            same("uuid", document["header"]["traceUuid"], facts["uuid"].replace("-", ""))
            same("traceVersion", document["manifest"]["state"]["trace"]["formatVersion"],
                 facts["traceVersion"])

            def contents(space, address, length, file=file):
                return subprocess.run(
                    [binaries / "pcp-inspect", "mem", "--raw", "--trace", trace, "--space", str(space),
                     hex(address), str(length), file], check=True, stdout=subprocess.PIPE).stdout

            compare_checkpoint(document, fact, contents)
    print(f"{name}: {compared} facts found again")


main()
