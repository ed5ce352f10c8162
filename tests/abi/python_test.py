#!/usr/bin/env python3
"""python_test.py GOLDEN BIN: the C interface through the Python module, on the golden files."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

import rrpcp
from rrpcp.series import series, stored_pages

GOLDEN = Path(sys.argv[1])
BIN = Path(sys.argv[2])
VALID = sorted((GOLDEN / "valid").glob("*.pcp"))
INVALID = sorted((GOLDEN / "invalid").glob("*.pcp"))
NO_INDEX = 0xFFFFFFFF


def copy_with_pages(checkpoint, draft, writer):
    """Appends what every list of runs of `checkpoint` refers to, and sets the lists anew."""
    paths = [
        f"state.addressSpaces[{s}].mappings[{m}].runs"
        for s in range(checkpoint.manifest.count("state.addressSpaces"))
        for m in range(checkpoint.manifest.count(f"state.addressSpaces[{s}].mappings"))
    ] + [
        f"state.memoryObjects[{o}].runs"
        for o in range(checkpoint.manifest.count("state.memoryObjects"))
    ]
    for path in paths:
        runs = rrpcp.Runs()
        for kind, pages, first in checkpoint.runs(path):
            if kind == "stream":
                writer.append(checkpoint.pages(first, pages), runs)
            else:
                runs.add(kind, pages)
        draft.manifest.set_runs(path, runs)


def flattened(checkpoint):
    """The manifest's state with the digest of each page in the place of the runs."""
    state = checkpoint.manifest.to_dict("state")
    state["pageStream"]["pageCount"] = ""
    pages = {}

    def flat(runs):
        out = []
        for run in runs:
            for page in range(int(run["pages"])) if run["kind"] == "stream" else (run["pages"],):
                if run["kind"] == "stream":
                    place = int(run["first"]) + page
                    if place not in pages:
                        pages[place] = rrpcp.digest(bytes(checkpoint.pages(place, 1)))
                    out.append(pages[place])
                else:
                    out.append((run["kind"], page))
        return out

    for place in [m for s in state["addressSpaces"] for m in s["mappings"]] + state["memoryObjects"]:
        place["runs"] = flat(place["runs"])
    return state


def without_bases(document):
    """A document as version 1.0 has it, whose expected ones lack the fields that came later."""
    document["state"].pop("bases")
    return document


class Reading(unittest.TestCase):
    def test_documents_are_those_of_the_golden_files(self):
        self.assertGreater(len(VALID), 5)
        for path in VALID:
            with self.subTest(path.name), rrpcp.open(path) as checkpoint:
                expected = json.loads(path.with_suffix(".json").read_text())
                self.assertEqual(without_bases(checkpoint.manifest.to_dict()), expected["manifest"])
                header = expected["header"]
                self.assertEqual(checkpoint.header.event, int(header["event"]))
                self.assertEqual(checkpoint.header.machine, header["machine"])
                self.assertEqual(checkpoint.header.page_size, header["pageSize"])
                self.assertEqual(checkpoint.header.trace_uuid.hex(), header["traceUuid"])
                self.assertEqual(checkpoint.id, expected["footer"]["checkpointId"])
                self.assertEqual(checkpoint.header.chunk_count, len(expected["chunks"]))
                for index, chunk in enumerate(expected["chunks"]):
                    self.assertEqual(checkpoint.chunk(index).offset, int(chunk["offset"]))
                    self.assertEqual(checkpoint.chunk(index).codec, chunk["codec"])

    def walk(self, node, document, place=""):
        """Every field by its own getter is what the document says."""
        for name in node.fields():
            if node.has(name) and node.kind(name) == 7:
                self.walk(node[name], document[name], f"{place}.{name}")
                continue
            if name not in document or document[name] is None:
                continue  # an arm that is not set, or an absent struct
            value = node[name]
            said = document[name]
            if isinstance(value, list):
                self.assertEqual(len(value), len(said), f"{place}.{name}")
                for index, entry in enumerate(value):
                    if isinstance(entry, rrpcp.Node):
                        self.walk(entry, said[index], f"{place}.{name}[{index}]")
            elif isinstance(value, bool) or value is None:
                self.assertEqual(value or False, said or False, f"{place}.{name}")
            elif isinstance(value, int):
                self.assertEqual(value, int(said), f"{place}.{name}")
            elif isinstance(value, bytes):
                if isinstance(said, dict):
                    self.assertEqual(value.hex(), said["bytes"], f"{place}.{name}")
                else:
                    self.assertIn(said, (value.hex(), value.decode(errors="replace")))
            else:
                self.assertEqual(value, said, f"{place}.{name}")
        if "which" in document:
            self.assertEqual(node["which"] if node.fields() else None, document["which"], place)

    def test_fields_are_what_the_documents_say(self):
        for path in VALID:
            with self.subTest(path.name), rrpcp.open(path) as checkpoint:
                expected = json.loads(path.with_suffix(".json").read_text())
                self.walk(checkpoint.manifest, expected["manifest"])

    def test_what_most_programs_ask_for(self):
        seen = 0
        for path in VALID:
            with self.subTest(path.name), rrpcp.open(path) as checkpoint:
                state = json.loads(path.with_suffix(".json").read_text())["manifest"]["state"]
                self.assertEqual(
                    [p.pid for p in checkpoint.processes], [p["pid"] for p in state["processes"]])
                self.assertEqual(
                    [t.tid for t in checkpoint.tasks], [t["tid"] for t in state["tasks"]])
                for index, task in enumerate(state["tasks"]):
                    self.assertEqual(checkpoint.tasks[index].process, task["process"])
                    for registers in task["registers"]:
                        data = checkpoint.registers(index, registers["noteType"])
                        self.assertEqual(data.hex(), registers["data"])
                    self.assertIsNone(checkpoint.registers(index, 0x12345))
                self.assertEqual(checkpoint.spaces, len(state["addressSpaces"]))
                for index, space in enumerate(state["addressSpaces"]):
                    mappings = checkpoint.mappings(index)
                    self.assertEqual(
                        [(m.start, m.end, m.protection, m.object) for m in mappings],
                        [(int(m["start"]), int(m["end"]), m["protection"], m["object"])
                         for m in space["mappings"]])
                    seen += len(mappings)
        self.assertGreater(seen, 20)

    def test_memory_is_what_the_runs_say(self):
        compared = 0
        for path in VALID:
            with self.subTest(path.name), rrpcp.open(path) as checkpoint:
                size = checkpoint.header.page_size
                for index in range(checkpoint.spaces):
                    memory = checkpoint.memory(index)
                    for number, mapping in enumerate(checkpoint.mappings(index)):
                        page = 0
                        runs = f"state.addressSpaces[{index}].mappings[{number}].runs"
                        for kind, pages, first in checkpoint.runs(runs):
                            if kind in ("stream", "zero") and pages < 4096:
                                wanted = bytes(checkpoint.pages(first, pages)) if kind == "stream" \
                                    else bytes(pages * size)
                                address = mapping.start + page * size
                                buffer = bytearray(pages * size)
                                self.assertEqual(memory.readinto(address, buffer), len(buffer))
                                self.assertEqual(buffer, wanted)
                                compared += pages
                            page += pages
                    self.assertEqual(memory.read(1, 0), b"")
        self.assertGreater(compared, 5)

    def test_numpy_arrays_are_buffers(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("numpy is not installed")
        path = GOLDEN / "valid" / "x86-64-live-default.pcp"
        with rrpcp.open(path) as checkpoint:
            mapping = next(m for m in checkpoint.mappings(0)
                           if m.stored_pages and m.object == NO_INDEX)
            words = numpy.zeros((8, 64), dtype=numpy.uint64)
            memory = checkpoint.memory(0)
            self.assertEqual(memory.readinto(mapping.start, words), 4096)
            self.assertEqual(words.tobytes(), memory.read(mapping.start, 4096))

    def test_several_threads_read_one_checkpoint(self):
        path = max(VALID, key=lambda p: p.stat().st_size)
        with rrpcp.open(path) as checkpoint:
            expected = checkpoint.manifest.to_json()
            results = []

            def look():
                results.append(checkpoint.manifest.to_json() == expected
                               and len(stored_pages(checkpoint)) >= 0)

            threads = [threading.Thread(target=look) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(results, [True] * 4)


class Failing(unittest.TestCase):
    def test_errors_say_what_and_where(self):
        with self.assertRaises(rrpcp.Error) as caught:
            rrpcp.open("/nonexistent/x.pcp")
        self.assertEqual(caught.exception.name, "not-found")
        self.assertEqual(caught.exception.file, b"/nonexistent/x.pcp")
        self.assertEqual(caught.exception.errno, 2)
        with tempfile.TemporaryDirectory() as directory:
            cut = Path(directory) / "cut.pcp"
            cut.write_bytes(VALID[0].read_bytes()[:300])
            with self.assertRaises(rrpcp.Error) as caught:
                rrpcp.open(cut)
            self.assertEqual(caught.exception.name, "incomplete")
            none = Path(directory) / "none.pcp"
            none.write_bytes(b"x" * 5000)
            with self.assertRaises(rrpcp.Error) as caught:
                rrpcp.open(none)
            self.assertEqual(caught.exception.name, "not-a-checkpoint")
            self.assertEqual([entry.problem is None for entry in rrpcp.list_directory(directory)],
                             [False, False])

    def test_paths_of_no_field_are_refused(self):
        with rrpcp.open(VALID[0]) as checkpoint:
            for path in ("nothing", "state.tasks[99]", "state..tasks", "state.tasks[x]", ".state",
                         "state.", "state.tasks[", "state.machine.x", "state.machine[0]",
                         "provenance.creator.which"):
                with self.subTest(path), self.assertRaises(rrpcp.Error) as caught:
                    checkpoint[path]
                self.assertEqual(caught.exception.name, "invalid-argument")
            with self.assertRaises(rrpcp.Error):
                checkpoint.manifest["state.machine"] = 3  # of a file
            with self.assertRaises(rrpcp.Error):
                checkpoint.chunk(1 << 40)
            with self.assertRaises(rrpcp.Error):
                checkpoint.memory(1000)
            with self.assertRaises(rrpcp.Error):
                checkpoint.registers(1000)

    def test_validation_finds_what_it_should(self):
        self.assertGreater(len(INVALID), 50)
        for path in VALID:
            self.assertTrue(rrpcp.validate(path).valid, path.name)
        for path in INVALID[::7]:
            with self.subTest(path.name):
                report = rrpcp.validate(path)
                self.assertIn(path.name[:-4].split("@")[0], [f.code for f in report.findings])

    def test_damaged_files_never_harm(self):
        data = bytearray(VALID[0].read_bytes())
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "x.pcp"
            for place in range(0, len(data), max(1, len(data) // 150)):
                data[place] ^= 0x41
                file.write_bytes(data)
                data[place] ^= 0x41
                try:
                    with rrpcp.open(file) as checkpoint:
                        checkpoint.manifest.to_json()
                        stored_pages(checkpoint)
                except rrpcp.Error as error:
                    self.assertIn(error.name, ("damaged", "incomplete", "unsupported-feature",
                                               "not-a-checkpoint", "limit"))


class Writing(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = self.temporary.name

    def tearDown(self):
        self.temporary.cleanup()

    def test_documents_make_the_golden_files_again(self):
        """A draft that is read from a document is the file's manifest, and with the same pages the
        same checkpoint."""
        made = 0
        for path in VALID:
            with self.subTest(path.name), rrpcp.open(path) as checkpoint:
                draft = rrpcp.Draft()
                draft[""] = checkpoint.manifest.to_dict()
                self.assertEqual(draft.manifest.to_json(), checkpoint.manifest.to_json())
                if checkpoint.header.minor != 0 or checkpoint.header.page_count > 5000:
                    continue
                out = Path(self.directory) / path.name
                writer = rrpcp.Writer(draft, file=out)
                copy_with_pages(checkpoint, draft, writer)
                checkpoint_id, written = writer.finish()
                self.assertEqual(written, os.fsencode(out))
                self.assertTrue(rrpcp.validate(out).valid)
                with rrpcp.open(out) as again:
                    self.assertEqual(again.id, checkpoint_id)
                    self.assertEqual(flattened(again), flattened(checkpoint))
                    self.assertEqual(again.manifest.to_dict("provenance"),
                                     draft.manifest.to_dict("provenance"))
                    made += 1
        self.assertGreater(made, 3)

    def draft(self):
        draft = rrpcp.Draft()
        draft["state"] = {
            "machine": 62, "elfClass": 2, "dataEncoding": 1, "producer": "org.rrpcp.process",
            "pageStream": {"pageSize": 4096}, "inspectOnly": True,
        }
        draft.manifest.init_list("state.processes", 1)
        draft["state.processes[0].pid"] = 7
        draft.manifest.init_list("state.tasks", 1)
        draft["state.tasks[0].tid"] = 7
        draft["state.tasks[0].name"] = b"caf\xe9"
        draft.manifest.init_list("state.tasks[0].registers", 1)
        draft["state.tasks[0].registers[0].noteType"] = 1
        draft["state.tasks[0].registers[0].data"] = bytes(216)
        draft.manifest.init_list("state.addressSpaces", 1)
        draft["state.addressSpaces[0].executablePath"] = "/bin/x"
        draft.manifest.init_list("state.addressSpaces[0].mappings", 1)
        for field, value in (("start", 0x10000), ("end", 0x14000), ("protection", 3), ("flags", 34)):
            draft[f"state.addressSpaces[0].mappings[0].{field}"] = value
        return draft

    def test_a_state_is_written_field_by_field(self):
        draft = self.draft()
        writer = rrpcp.Writer(draft, directory=self.directory + "/new", profile="raw", seal=True)
        runs = rrpcp.Runs()
        runs.add("zero", 1)
        writer.append(b"a" * 8192, runs)
        writer.append(bytearray(4096), runs)
        draft.manifest.set_runs("state.addressSpaces[0].mappings[0].runs", runs)
        checkpoint_id, path = writer.finish()
        self.assertTrue(rrpcp.validate(path).valid)
        self.assertEqual(rrpcp.choose(self.directory + "/new", 5), path)
        self.assertIsNone(rrpcp.choose(self.directory + "/new", -1))
        with rrpcp.open(path) as checkpoint:
            self.assertEqual(checkpoint.id, checkpoint_id)
            self.assertEqual(checkpoint.header.page_count, 1)  # equal pages are stored once
            self.assertEqual(checkpoint.tasks[0].name, b"caf\xe9")
            memory = checkpoint.memory(0)
            self.assertEqual(memory.read(0xFFFF, 10), b"")
            self.assertEqual(memory.read(0x10FFE, 4), b"\0\0aa")
            self.assertEqual(memory.read(0x13FFE, 10), b"\0\0")
            self.assertEqual(list(checkpoint.runs("state.addressSpaces[0].mappings[0].runs")),
                             [("zero", 1, 0), ("stream", 1, 0), ("stream", 1, 0), ("zero", 1, 0)])
        with self.assertRaises(rrpcp.Error):
            writer.append(b"a" * 4096, runs)
        shown = subprocess.run([BIN / "pcp-inspect", "info", path], check=True,
                               capture_output=True, text=True).stdout
        self.assertIn("org.rrpcp.process", shown)
        self.assertEqual([step.changed_pages for step in series(self.directory + "/new")], [2])

    def test_pages_that_are_taken_over_count_as_the_checkpoint_s_own(self):
        directory = GOLDEN.parent / "1.1" / "valid"
        self.assertEqual(
            [(s.event, s.resident_pages, s.changed_pages, s.gone_pages) for s in series(directory)],
            [(0, 16, 16, 0), (0, 16, 1, 0), (1000, 16, 16, 0), (1010, 16, 3, 0), (1020, 16, 1, 0)])
        with rrpcp.open(directory / "series-3.pcp") as checkpoint:
            size, memory = checkpoint.header.page_size, checkpoint.memory(0)
            pages = stored_pages(checkpoint)
            self.assertEqual(len(pages), 16)
            for (place, page), digest in pages.items():
                if place == "space 0":
                    data = memory.read(page * size, size)
                    self.assertEqual(hashlib.blake2b(data, digest_size=16).digest(), digest)
        with tempfile.TemporaryDirectory() as alone:
            shutil.copy(directory / "series-3.pcp", alone)
            with rrpcp.open(os.path.join(alone, "series-3.pcp")) as checkpoint:
                self.assertRaises(FileNotFoundError, stored_pages, checkpoint)

    def test_what_is_not_valid_gets_no_name(self):
        draft = self.draft()
        draft["state.tasks[0].addressSpace"] = 9
        for target in ({"directory": self.directory}, {"file": self.directory + "/x.pcp"}):
            writer = rrpcp.Writer(draft, **target)
            with self.assertRaises(rrpcp.Error) as caught:
                writer.finish()
            self.assertEqual(caught.exception.diagnostic, "state.reference")
            self.assertEqual(os.listdir(self.directory), [])
        del writer
        writer = rrpcp.Writer(self.draft(), directory=self.directory)
        del writer  # not finished: nothing is left
        self.assertEqual(os.listdir(self.directory), [])
        Path(self.directory, "x.pcp").write_bytes(b"")
        with self.assertRaises(rrpcp.Error) as caught:
            rrpcp.Writer(self.draft(), file=self.directory + "/x.pcp")
        self.assertEqual(caught.exception.name, "exists")

    def test_values_that_do_not_fit_are_refused(self):
        manifest = self.draft().manifest
        manifest["state.addressSpaces[0].mappings[0].role"] = "guard"
        self.assertEqual(manifest["state.addressSpaces[0].mappings[0].role"], "guard")
        for path, value in (("state.machine", 65536), ("state.machine", -1),
                            ("state.tasks[0].tid", 1 << 31), ("state.producer", 5),
                            ("state.machine", "x"), ("state.tasks[0]", 5),
                            ("state.inspectOnly", 2), ("state.nothing", 1),
                            ("state.tasks[1].tid", 1), ("state.addressSpaces[0].mappings[0].role", "no")):
            with self.subTest(path=path, value=value), self.assertRaises(rrpcp.Error) as caught:
                manifest[path] = value
            self.assertEqual(caught.exception.name, "invalid-argument")
        for wrong in ({"machine": "62"}, {"pageStream": {"pageCount": 5}}, {"tasks": {}},
                      {"nothing": 1}, {"tasks": [{"name": {"bytes": "0g"}}]}, {"machine": 62.5},
                      {"position": {"which": "nowhere"}}, {"cpu": 7}):
            with self.subTest(wrong), self.assertRaises(rrpcp.Error) as caught:
                manifest["state"] = wrong
            self.assertEqual(caught.exception.name, "invalid-argument")

    def test_unions_are_set_by_arm(self):
        manifest = rrpcp.Draft().manifest
        manifest.init_list("state.openFiles", 1)
        manifest["state.openFiles[0].eventfd.count"] = 7
        self.assertEqual(manifest["state.openFiles[0].which"], "eventfd")
        self.assertEqual(manifest["state.openFiles[0].eventfd.count"], 7)
        with self.assertRaises(rrpcp.Error):
            manifest["state.openFiles[0].pipe.id"] if manifest.has("state.openFiles[0].pipe") \
                else manifest.count("state.openFiles[0].epoll.watches")
        manifest.set_arm("state.position.atEvent")
        self.assertEqual(manifest["state.position.which"], "atEvent")
        self.assertEqual(manifest["provenance"], None)

    def test_digests(self):
        self.assertEqual("%016x%016x" % rrpcp.digest(b""), "99aa06d3014798d86001c324468d497f")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
