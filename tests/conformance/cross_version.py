#!/usr/bin/python3
"""What the readers of releases make of the files of every version.

usage: cross_version.py LAYOUT GOLDENS NEWER RELEASE=FORMAT=BIN...

LAYOUT is the schemas' text (compare_readers.py), GOLDENS is tests/golden, NEWER a folder that make_newer_files has written. Each RELEASE is a program
version with the newest FORMAT that it writes and the folder BIN with its commands; the last one is
today's. Every release meets the valid golden files of every version and the files of NEWER:

- a file of a version that the release knows is valid, and its document is the expected one,
- a newer one is valid and what the release shows of it is right, or it is refused, and the message
  names what is missing (promise 2 of spec/compatibility.md),
- what the release has written again has lost nothing: today's reader shows the same manifest and
  contents, and every part that is safe to copy is still there (promise 3).

Prints one line for each release and each set of files; exits 1 where a promise is broken.
"""

import json
import os
import subprocess
import sys
import tempfile

import pcp_reader

UNUSABLE = 2  # pcp-inspect's exit code for a file that it cannot read


def run(*command):
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=300)


def document(bin_folder, path):
    done = run(os.path.join(bin_folder, "pcp-inspect"), "--json", "--contents", path)
    return json.loads(done.stdout) if done.returncode == 0 else None


def wrong(shown, expected, place="", newer=frozenset()):
    """The first thing that `shown` says otherwise than `expected`; it may say less, and have fields
    that are `newer` than the version of `expected`. None: nothing."""
    if isinstance(shown, dict) and isinstance(expected, dict):
        for key, value in shown.items():
            if key not in expected and key in newer:
                continue
            if key not in expected:
                return "%s.%s is not there" % (place, key)
            found = wrong(value, expected[key], place + "." + key, newer)
            if found:
                return found
        return None
    if isinstance(shown, list) and isinstance(expected, list) and len(shown) == len(expected):
        for i, value in enumerate(shown):
            found = wrong(value, expected[i], "%s[%d]" % (place, i), newer)
            if found:
                return found
        return None
    return None if shown == expected else "%s is %.60r instead of %.60r" % (place, shown, expected)


class Matrix:
    def __init__(self, layout, goldens, newer, releases):
        self.layout = layout
        self.goldens = goldens
        self.newer = newer
        self.releases = releases
        self.today = releases[-1][2]
        self.failures = []

    def fail(self, release, path, what):
        self.failures.append("%s: %s: %s" % (release, path, what))

    def rewritten(self, release, folder, path, newer):
        """Has the release write the file again, and looks at the result with today's reader."""
        with tempfile.TemporaryDirectory() as out:
            before = document(self.today, path)
            bases = self.bases(path, before) # a file of a series is nothing without them
            done = run(os.path.join(folder, "pcp-upgrade"), "--quiet", "-o", out, *bases, path)
            copies = [name for name in os.listdir(out) if before["footer"]["checkpointId"] in name]
            if done.returncode != 0 or len(os.listdir(out)) != 1 + len(bases) or len(copies) != 1:
                self.fail(release, path, "cannot be written again: " + (done.stdout + done.stderr).strip())
                return
            copy = os.path.join(out, copies[0])
            after = document(self.today, copy)
            if after is None:
                self.fail(release, path, "today's reader does not read what was written again")
                return
            for part in ("manifest", "contents"):
                found = wrong(before[part], after[part], part) or wrong(after[part], before[part], part)
                if found:
                    self.fail(release, path, "writing it again changed it: " + found)
            if before["footer"]["checkpointId"] != after["footer"]["checkpointId"]:
                self.fail(release, path, "writing it again changed its id")
            if newer:
                self.kept(release, path, before, after)

    def bases(self, path, shown):
        """The files beside `path` that it takes over pages of."""
        folder = os.path.dirname(path)
        if not shown["manifest"]["state"]["bases"]:
            return []
        beside = json.loads(run(os.path.join(self.today, "pcp-inspect"), "list", "--json", folder).stdout)
        by_id = {}
        for row in beside["checkpoints"]:
            by_id.setdefault(row["checkpointId"], os.path.join(folder, row["file"]))
        return [by_id[base["id"]] for base in shown["manifest"]["state"]["bases"]]

    def kept(self, release, path, before, after):
        def manifest(shown):
            return [s["digest"] for s in shown["sections"] if s["kind"] == 2]

        def safe(shown):
            return [(s["kind"], s["flags"], s["digest"], s["sectionLength"])
                    for s in shown["sections"] if s["kind"] > 3 and s["flags"] & 2]

        if manifest(before) != manifest(after):
            self.fail(release, path, "fields were lost in writing it again")
        if safe(before) != safe(after):
            self.fail(release, path, "sections that are safe to copy were lost")
        if before["header"]["minor"] != after["header"]["minor"]:
            self.fail(release, path, "the minor version was not kept")

    def golden(self, release, form, folder, version, path):
        with open(path[:-4] + ".json", encoding="utf-8") as file:
            expected = json.load(file)
        newer = pcp_reader.Schemas(self.layout).newer_fields(int(version.split(".")[1]))
        known = [int(n) for n in version.split(".")] <= [int(n) for n in form.split(".")]
        verdict = run(os.path.join(folder, "pcp-validate"), "--quiet", path)
        shown = document(folder, path)
        if verdict.returncode == 0 and shown is not None:
            found = wrong(shown, expected, newer=newer)
            if not found and known:
                found = wrong(expected, shown)
            if found:
                self.fail(release, path, "shown wrong: " + found)
            self.rewritten(release, folder, path, False)
            return "read"
        refusal = run(os.path.join(folder, "pcp-inspect"), "--json", "--contents", path)
        if known:
            self.fail(release, path, "not read: " + refusal.stderr.strip())
        elif refusal.returncode != UNUSABLE or "feature" not in refusal.stderr:
            self.fail(release, path, "refused without a reason: " + refusal.stderr.strip())
        return "refused"

    def artificial(self, release, form, folder, case):
        path = os.path.join(self.newer, case["file"])
        verdict = run(os.path.join(folder, "pcp-validate"), path)
        shown = run(os.path.join(folder, "pcp-inspect"), "--json", "--contents", path)
        if case["outcome"] == "refuse":
            if shown.returncode != UNUSABLE or case["names"] not in shown.stderr:
                self.fail(release, path, "not refused by name: " + shown.stderr.strip())
            if verdict.returncode == 0:
                self.fail(release, path, "is called valid")
            return "refused"
        older = [int(n) for n in form.split(".")] < [int(n) for n in case["of"].split(".")]
        if older and shown.returncode == UNUSABLE and "feature" in shown.stderr:
            return "refused"
        if verdict.returncode != 0 or shown.returncode != 0:
            self.fail(release, path, "not read: " + verdict.stdout + shown.stderr.strip())
            return "refused"
        with open(os.path.join(self.goldens, case["of"], "valid", case["golden"][:-4] + ".json"),
                  encoding="utf-8") as file:
            expected = json.load(file)
        newer = pcp_reader.Schemas(self.layout).newer_fields(int(form.split(".")[1]))
        found = wrong(json.loads(shown.stdout)["manifest"], expected["manifest"], "manifest")
        found = found or wrong(expected["manifest"], json.loads(shown.stdout)["manifest"], "manifest", newer)
        if found:
            self.fail(release, path, "shown wrong: " + found)
        if case["outcome"] == "read-only":
            with tempfile.TemporaryDirectory() as out:
                done = run(os.path.join(folder, "pcp-upgrade"), "--quiet", "-o", out, path)
                said = done.stdout + done.stderr
                if done.returncode == 0 or os.listdir(out) or case["names"] not in said:
                    self.fail(release, path, "was written again")
        else:
            self.rewritten(release, folder, path, True)
        return "read"

    def run(self):
        rows = []
        versions = sorted(v for v in os.listdir(self.goldens)
                          if os.path.isdir(os.path.join(self.goldens, v, "valid")))
        with open(os.path.join(self.newer, "expected.json"), encoding="utf-8") as file:
            cases = json.load(file)
        for case in cases:
            case["of"] = versions[-1]
        for release, form, folder in self.releases:
            for version in versions:
                valid = os.path.join(self.goldens, version, "valid")
                outcomes = [self.golden(release, form, folder, version, os.path.join(valid, name))
                            for name in sorted(os.listdir(valid)) if name.endswith(".pcp")]
                rows.append((release, "golden files of " + version, outcomes))
            rows.append((release, "files of versions to come",
                         [self.artificial(release, form, folder, case) for case in cases]))
        return rows


def main(arguments):
    layout, goldens, newer = arguments[:3]
    matrix = Matrix(layout, goldens, newer, [argument.split("=", 2) for argument in arguments[3:]])
    total = 0
    for release, what, outcomes in matrix.run():
        total += len(outcomes)
        print("%-12s %-28s %3d read, %3d refused by name" % (
            release, what, outcomes.count("read"), outcomes.count("refused")))
    for failure in matrix.failures:
        print("FAILED: " + failure)
    print("%d files met by readers, %d failures" % (total, len(matrix.failures)))
    return 1 if matrix.failures or not total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
