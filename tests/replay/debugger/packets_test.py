#!/usr/bin/python3
"""What debuggers and others send to a server that replays, byte by byte.

usage: packets_test.py PCP_RR HUNT CASE
"""

import ctypes
import os
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile

PCP_RR, HUNT, CASE = sys.argv[1:]
LIMIT = 300


def check(condition, what, shown=""):
    if not condition:
        sys.exit("%s\n%s" % (what, shown))


SERVERS = []


class Server:
    """A replay that waits on a free port."""

    def __init__(self, trace, *options):
        self.process = subprocess.Popen([PCP_RR, "replay", "-s", "0", "-q", *options, trace],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.process.stderr.readline()
        words = self.process.stderr.readline().decode()
        found = re.search(r"127\.0\.0\.1:(\d+)", words)
        check(found, "the server does not say where it is", words)
        self.port = int(found.group(1))
        SERVERS.append(self.process)

    def connect(self):
        return Front(socket.create_connection(("127.0.0.1", self.port), LIMIT))

    def end(self):
        """Waits for it. Nobody listens any more, and nothing that it started lives."""
        said = self.process.stderr.read().decode(errors="replace")
        code = self.process.wait(LIMIT)
        check(code == 0, "the server ended with %d" % code, said)
        try:
            socket.create_connection(("127.0.0.1", self.port), LIMIT).close()
            check(False, "the port is served still")
        except ConnectionRefusedError:
            pass
        try:
            left = os.waitpid(-1, os.WNOHANG)
            check(False, "a process was left behind: %s" % (left,))
        except ChildProcessError:
            pass
        return said


class Front:
    def __init__(self, connection):
        self.connection = connection
        self.read = b""

    def send(self, data):
        self.connection.sendall(data)

    def packet(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        self.send(b"$" + data + b"#%02x" % (sum(data) & 255))

    def more(self):
        data = self.connection.recv(1 << 16)
        self.read += data
        return bool(data)

    def answer(self):
        """The next packet, without its frame; None: the other side has gone."""
        while True:
            found = re.search(rb"\$([^#]*)#[0-9a-f]{2}", self.read)
            if found:
                self.read = self.read[found.end():]
                self.send(b"+")
                return found.group(1)
            try:
                if not self.more():
                    return None
            except ConnectionResetError:
                return None

    def ask(self, text):
        self.packet(text)
        return self.answer()

    def vanish(self):
        """Without a word: the connection is reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def record(directory):
    trace = os.path.join(directory, "trace")
    subprocess.run([PCP_RR, "record", "-q", "-o", trace, "--", HUNT], stdout=subprocess.DEVNULL, timeout=LIMIT)
    return trace


def is_sane(server):
    """One who connects now finds a server that knows what it does."""
    front = server.connect()
    check(front.ask("?").startswith(b"T"), "no stop is told")
    check(front.ask("vRun;;").startswith(b"T05"), "it does not start anew")
    check(front.ask("vCont;c").startswith(b"T00") and front.ask("vCont;c").startswith(b"T0b"),
          "it does not run to the crash")
    check(front.ask("bc").startswith(b"T00replaylog:begin;"), "it does not run back to the start")
    check(front.ask("D") == b"OK", "it does not let go")
    front.connection.close()


# What is no packet is passed over, and what is a bad one is answered.
def garbage(directory):
    server = Server(record(directory), "-k")
    numbers = random.Random(11)
    for stream in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", bytes(4096), b"\xff" * 4096,
                   b"$$$$$$####", b"+-+-+-+-", b"$#00", b"$?#00$?#zz$?#", b"$" + b"a" * (3 << 20) + b"#00",
                   b"\x03\x03\x03", bytes(numbers.randrange(256) for _ in range(1 << 16))):
        front = server.connect()
        front.send(stream)
        front.send(b"$#00$?#3f")
        while True:
            said = front.answer()
            check(said is not None, "it hung up after %r" % stream[:40])
            if said.startswith(b"T"):
                break
        front.connection.close()
    # Packets of every kind with numbers and words that nobody sends.
    kinds = ["?", "g", "G", "p", "P", "m", "M", "x", "X", "z0,", "Z0,", "z1,", "Z1,", "Z2,", "Z3,", "Z4,", "Z9,", "H", "Hg", "Hc",
             "T", "vCont", "vCont;", "vCont?", "vRun", "vRun;", "vKill", "vFile:open:", "vFile:pread:", "vFile:close:",
             "vFile:fstat:", "vFile:readlink:", "vFile:setfs:", "vFile:", "vMustReplyEmpty", "qSupported", "qXfer:",
             "qXfer:features:read:", "qXfer:auxv:read::", "qXfer:libraries-svr4:read::", "qXfer:siginfo:read::",
             "qXfer:siginfo:write::", "qXfer:exec-file:read:", "qXfer:memory-map:read::", "qXfer:threads:read::",
             "qfThreadInfo", "qsThreadInfo", "qThreadExtraInfo,", "qThreadStopInfo", "qC", "qAttached", "qOffsets",
             "qSymbol:", "qGetTLSAddr:", "qSearch:memory:", "qRcmd,", "qRRCmd:", "qMemoryRegionInfo:", "qHostInfo",
             "qProcessInfo", "qRegisterInfo", "QPassSignals:", "QCatchSyscalls:", "QThreadSuffixSupported",
             "QSaveRegisterState", "QRestoreRegisterState:", "QListThreadsInStopReply", "QEnableErrorStrings", "_M", "_m",
             "!", "A", "B", "F", "I", "R", "i", "j", "jThreadsInfo", "t", "\x01\x02"]
    words = ["", "0", "1", "-1", "ffffffffffffffff", "fffffffffffffffff", "p1.1", "p-1.-1", ",", ";", ":", "=", "0,0",
             "0,ffffffffffffffff", "ffffffffffffffff,8", "7fffffffe000,100", "00", "0g", "zz", "}", "}]", "*~", "thread:1;",
             ";thread:ffffffffffff;", "X4,01020304", "X,", "6d61696e", "a" * 5000, "::::", ";;;;", "0,1000000", "1:2:3"]
    front = server.connect()
    front.ask("qSupported:multiprocess+;swbreak+;hwbreak+;error-message+")
    count = 0
    for kind in kinds:
        for _ in range(6):
            text = kind + "".join(numbers.choice(words) for _ in range(numbers.randrange(4)))
            if text in ("k", "D") or text.startswith(("vCont;c", "vCont;s", "vCont;r")) or "$" in text or "#" in text:
                continue
            check(front.ask(text) is not None, "it hung up after %r" % text)
            count += 1
    check(count > 400, "only %d packets were tried" % count)
    front.connection.close()
    is_sane(server)
    front = server.connect()
    check(front.ask("k") == b"OK", "it does not end")
    server.end()


# A stream that stops in the middle of a packet, wherever.
def cut(directory):
    server = Server(record(directory), "-k")
    packets = [b"$?#3f", b"$m0,8#ad", b"$X7fffffffe000,3:a}]b#00", b"$qSupported:multiprocess+#c6", b"$vCont;c#a8",
               b"$vFile:open:2f,0,0#00", b"$Z0,401000,1;X3,220000#00"]
    for packet in packets:
        for length in range(1, len(packet)):
            front = server.connect()
            front.send(packet[:length])
            if length % 2:
                front.vanish()
            else:
                front.connection.close()
    # In pieces of one byte it is the packet that it is.
    front = server.connect()
    for byte in b"$?#3f":
        front.send(bytes([byte]))
    check(front.answer().startswith(b"T"), "a packet in pieces is not answered")
    front.connection.close()
    is_sane(server)
    front = server.connect()
    check(front.ask("k") == b"OK", "it does not end")
    server.end()


# A front end that goes without a word: while it is told something, while the program runs forward and backward,
# while a function is called.
def vanish(directory):
    trace = record(directory)
    server = Server(trace, "-k")
    symbols = subprocess.run(["nm", HUNT], stdout=subprocess.PIPE, check=True).stdout.decode()
    offset = int(re.search(r"(\w+) . work\n", symbols).group(1), 16)

    def bias(front):
        auxv = front.ask("qXfer:auxv:read::0,1000")[1:]
        auxv = re.sub(rb"\}(.)", lambda found: bytes([found.group(1)[0] ^ 0x20]), auxv, flags=re.S)
        entries = dict(struct.iter_unpack("<QQ", auxv[:len(auxv) // 16 * 16]))
        start = int(re.search(r"(\w+) T _start\n", symbols).group(1), 16)
        return entries[9] - start  # AT_ENTRY

    front = server.connect()
    place = bias(front) + offset
    check(front.ask("vRun;;").startswith(b"T05"), "it does not start anew")
    before = front.ask("m%x,10" % place)
    front.ask("vCont;c")
    check(front.ask("Z0,%x,1" % place) == b"OK" and front.ask("vCont;c").startswith(b"T05"), "no breakpoint is met")
    check(front.ask("g") is not None, "it has no registers")
    front.packet("vCont;c")
    front.vanish()
    # Its breakpoints have gone with it; one leaves while the program runs, backward too.
    for what in ("vCont;c", "bc"):
        front = server.connect()
        front.packet(what)
        front.vanish()
    is_sane(server)
    # Memory that was changed, and a call that was begun, are of the one who did it.
    front = server.connect()
    check(front.ask("M%x,2:9090" % place) == b"OK" and front.ask("m%x,2" % place) == b"9090", "nothing is written")
    front.packet("vCont;c")
    front.vanish()
    front = server.connect()
    check(front.ask("m%x,10" % place) == before, "the replay was changed")
    front.ask("vRun;;")
    front.ask("vCont;c")
    front.packet("vFile:open:%s,0,0" % HUNT.encode().hex())
    front.vanish()
    is_sane(server)
    front = server.connect()
    check(front.ask("k") == b"OK", "it does not end")
    server.end()
    # One that is not to wait for another ends.
    server = Server(trace)
    front = server.connect()
    front.packet("vCont;c")
    front.vanish()
    server.end()
    server = Server(trace)
    server.connect().connection.close()
    server.end()


# Who comes second is turned away, at once, and the first one does not notice.
def second(directory):
    server = Server(record(directory), "-k")
    front = server.connect()
    check(front.ask("?").startswith(b"T"), "no stop is told")
    for running in (False, True):
        if running:
            front.ask("vRun;;")
            front.ask("vCont;c")
            front.packet("vCont;c")
        for _ in range(3):
            other = server.connect()
            try:
                other.packet("?")
            except (BrokenPipeError, ConnectionResetError):
                pass
            check(other.answer() is None, "a second one is answered")
        if running:
            check(front.answer().startswith(b"T0b"), "the first one's run is disturbed")
        else:
            check(front.ask("?").startswith(b"T"), "the first one is disturbed")
    front.connection.close()
    is_sane(server)
    front = server.connect()
    check(front.ask("k") == b"OK", "it does not end")
    server.end()


def main():
    # What loses its parent becomes a child of this process (PR_SET_CHILD_SUBREAPER).
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="pcp-rr-packets-") as directory:
        os.environ["TMPDIR"] = directory
        try:
            globals()[CASE](directory)
        finally: # after a failure
            for process in SERVERS:
                if process.poll() is None:
                    process.kill()
                    process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
