#!/usr/bin/python3
"""Bundles: one made here restores in a root directory that has none of the program's files, and hostile ones are
refused before anything is written.

usage: bundle_test.py BIN SUBJECT restore|hostile
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

from hostile_bundles import good_bundle, hostile_bundles
from interop_support import Folder, Subject, check, main, run

BIN, SUBJECT, PART = sys.argv[1:4]
PCP = lambda name: os.path.join(BIN, name)

def libraries(program):
    out = run(["ldd", program]).stdout
    return re.findall(r"(?:=> )?(/\S+) \(0x", out)


def install(program, root):
    """The program and its libraries below /tools of `root`, where no program looks for them by itself."""
    os.makedirs(os.path.join(root, "tools"), exist_ok=True)
    for path in [program] + libraries(program):
        shutil.copy(path, os.path.join(root, "tools", os.path.basename(path)))
    loader = [p for p in libraries(program) if "/ld-" in p or "ld-linux" in p][0]
    return ["/tools/" + os.path.basename(loader), "--library-path", "/tools", "/tools/" + os.path.basename(program)]


def restore_elsewhere():
    with Folder() as folder:
        home = os.path.join(folder, "home of it")
        os.mkdir(home)
        program = os.path.join(home, "prögram")
        shutil.copy(SUBJECT, program)
        subject = Subject([program], home, b"ready")
        try:
            checkpoint = os.path.join(folder, "x.pcp")
            # Its output is a pipe's end nowhere else; files it has open are carried.
            subject.capture(BIN, checkpoint)
            bundle = os.path.join(folder, "x.bundle")
            made = json.loads(run([PCP("pcp-bundle"), "create", "--json", checkpoint, "-o", bundle]).stdout)
            paths = {entry["path"] for entry in made["entries"]}
            check(program in paths and home in paths, str(paths))
            checked = json.loads(run([PCP("pcp-bundle"), "check", "--json", bundle]).stdout)
            check(checked["entries"] == made["entries"] and not checked["invalid"], str(checked))
            # Into a root directory that has nothing, and there it comes to life.
            root = os.path.join(folder, "root")
            os.makedirs(os.path.join(root, "dev"))
            os.makedirs(os.path.join(root, "proc"))
            command = install(PCP("pcp-restore"), root)
            out = json.loads(run([PCP("pcp-bundle"), "extract", "--json", "--root", root, bundle,
                                  os.path.join(root, "unpacked")]).stdout)
            check(int(out["written"]) == sum(e["kind"] != "directory" for e in made["entries"]), str(out))
            check(os.path.exists(root + program), "the program is not where it was")
            os.rename(home, home + " moved away")
            again = json.loads(run([PCP("pcp-bundle"), "extract", "--json", "--root", root, bundle,
                                    os.path.join(root, "unpacked")]).stdout)
            check(int(again["written"]) == 0, "what was there was written again: %s" % again)
            if os.geteuid() != 0:
                print("not root: the bundle cannot be tried in another root directory")
                return
            live_in(root, command, "/unpacked/checkpoints/x.pcp", program)
            # One byte of a file that is in the way is enough to refuse, and nothing is touched.
            with open(root + program, "rb") as file:
                data = bytearray(file.read())
            data[100] ^= 0x55
            os.remove(root + program)  # it may still be executed
            with open(root + program, "wb") as file:
                file.write(data)
            before = sorted(os.listdir(root))
            done = run([PCP("pcp-bundle"), "extract", "--root", root, bundle, os.path.join(root, "second")],
                       expected=9)
            check("already" in done.stderr, done.stderr)
            check(not os.listdir(os.path.join(root, "second")) and sorted(set(os.listdir(root)) - {"second"}) == before,
                  "something was written before the refusal")
        finally:
            subject.end()


def live_in(root, command, checkpoint, program):
    script = """
set -e
mount --bind /dev "$1/dev"
mount -t proc proc "$1/proc"
exec chroot "$@"
"""
    def in_root(arguments):
        # A namespace of its own for the mounts: nothing is left of them.
        return run(["unshare", "--mount", "bash", "-c", script, "bash", root] + arguments, expected=None)

    # The mounts have a namespace of their own.
    done = in_root(command + ["--json", "--allow", "namespaces", checkpoint])
    check(done.returncode == 0, "restore in the root: %s" % done.stderr)
    pid = int(json.loads(done.stdout)["pid"])
    try:
        with open("/proc/%d/maps" % pid) as file:
            maps = file.read()
        inside = os.stat(root + program)
        lines = [line for line in maps.splitlines() if line.endswith(os.path.basename(program))]
        check(lines and all(int(line.split()[4]) == inside.st_ino for line in lines),
              "it does not run from the files of the bundle: %s" % maps)
        threads = os.listdir("/proc/%d/task" % pid)
        check(len(threads) == 7, "threads: %s" % threads)
        os.kill(pid, signal.SIGCONT)
    finally:
        os.kill(pid, signal.SIGKILL)


def hostile():
    with Folder() as folder:
        path = os.path.join(folder, "bundle")
        target = os.path.join(folder, "out")
        root = os.path.join(folder, "new root")
        os.mkdir(root)
        for name, (data, word) in hostile_bundles().items():
            with open(path, "wb") as file:
                file.write(data)
            for command in (["check", path], ["extract", path, target], ["extract", "--root", root, path, target]):
                done = run([PCP("pcp-bundle")] + command, expected=None, timeout=120)
                check(done.returncode == 8 and word in done.stderr, "%s: %d %s" % (name, done.returncode, done.stderr))
            check(not os.path.exists(target) or not os.listdir(target), "%s: something was written" % name)
            check(not os.listdir(root), "%s: something was written to the root" % name)
        with open(path, "wb") as file:
            file.write(good_bundle())
        run([PCP("pcp-bundle"), "check", path])
        done = run([PCP("pcp-bundle"), "check", "--max-size", "1M", path], expected=8)
        check("--max-size" in done.stderr, done.stderr)
        # A symbolic link in the target leads nowhere.
        outside = os.path.join(folder, "outside")
        os.mkdir(outside)
        os.makedirs(os.path.join(target, "root"))
        os.symlink(outside, os.path.join(target, "root", "a"))
        run([PCP("pcp-bundle"), "extract", path, target], expected=9)
        check(not os.listdir(outside), "the link was followed")
        # In a root it leads to where it would lead there.
        os.symlink("/real", os.path.join(root, "a"))
        os.mkdir(os.path.join(root, "real"))
        run([PCP("pcp-bundle"), "extract", "--root", root, path, os.path.join(folder, "out2")])
        check(os.listdir(os.path.join(root, "real")) == ["b"], "the link of the root was not followed")


main({"restore": restore_elsewhere, "hostile": hostile}[PART])
