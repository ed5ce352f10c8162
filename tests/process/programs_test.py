#!/usr/bin/env python3
"""Real programs, captured half way through work, killed, restored: they end as if nothing had been.

programs_test.py BIN [NAME…]

Each program prints a first part, works, and prints the rest; what it and the restored one print is
what an undisturbed run prints. Without RRPCP_ALL only those run that every system for building has;
with it all of them, and one that is missing fails: APT says what to install.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

BIN = os.path.abspath(sys.argv[1])
ALL = bool(os.environ.get("RRPCP_ALL"))
PATIENCE = 300
APT = ("nodejs default-jdk-headless golang-go rustc python3-numpy libjemalloc2 sbcl sqlite3 postgresql "
       "emacs-nox valgrind vim tmux ffmpeg")


def tool(name, *arguments, **options):
    return subprocess.run([os.path.join(BIN, name), *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
                          **options)


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain for " + what)
        time.sleep(0.02)


class Programs(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="programs-")
        self.addCleanup(shutil.rmtree, self.directory, True)

    def need(self, *commands):
        """The first of `commands` that is there."""
        for command in commands:
            found = shutil.which(command) or (command if os.path.exists(command) else None)
            if found:
                return found
        if ALL:
            self.fail("%s is missing; apt-get install %s" % (commands[0], APT))
        self.skipTest(commands[0] + " is missing")

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w") as file:
            file.write(textwrap.dedent(text).lstrip())
        return path

    def run_to_end(self, command, output, **options):
        with open(output, "wb") as file:
            return subprocess.run(command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=file,
                                  stderr=subprocess.STDOUT, timeout=PATIENCE, **options).returncode

    def disturb(self, command, ready=lambda text: b"half" in text, capture=(), restore=(), after=0.3,
                compare=lambda text: text, **options):
        """Runs `command` twice, once captured where `ready` says so of what it has printed."""
        undisturbed = os.path.join(self.directory, "undisturbed")
        code = self.run_to_end(command, undisturbed, **options)
        output = os.path.join(self.directory, "output")
        with open(output, "wb") as file:
            process = subprocess.Popen(command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=file,
                                       stderr=subprocess.STDOUT, start_new_session=True, **options)
        self.addCleanup(self.end, process)
        read = lambda path: open(path, "rb").read() if os.path.exists(path) else b""
        wait_for(lambda: ready(read(output)) or process.poll() is not None, "the program's first half")
        time.sleep(after)
        self.assertIsNone(process.poll(), read(output)[-1000:])
        file = os.path.join(self.directory, "program.pcp")
        captured = tool("pcp-capture", str(process.pid), "-o", file, "--kill", "-q", *capture)
        self.assertEqual(captured.returncode, 0, captured.stdout)
        process.wait()
        restored = tool("pcp-restore", "--run", *restore, file, cwd=self.directory)
        self.assertEqual(restored.returncode, code, restored.stdout)
        self.assertEqual(compare(read(output)), compare(read(undisturbed)))

    def end(self, process):
        if process.poll() is None:
            process.kill()
            process.wait()

    def only_in_full(self):
        if not ALL:
            self.skipTest("with RRPCP_ALL")

    def test_asyncio(self):
        program = self.write("loop.py", """
            import asyncio, tempfile
            async def worker(n, queue):
                total = 0
                for i in range(60):
                    await asyncio.sleep(0.02)
                    total += i * n
                await queue.put((n, total))
            async def main():
                queue = asyncio.Queue()
                scratch = tempfile.TemporaryFile()
                scratch.write(b"kept"); scratch.flush()
                tasks = [asyncio.create_task(worker(n, queue)) for n in range(5)]
                await asyncio.sleep(0.3)
                print("half", flush=True)
                value = await asyncio.to_thread(sum, range(100))
                await asyncio.gather(*tasks)
                scratch.seek(0)
                print(sorted(queue.get_nowait() for _ in tasks), value, scratch.read())
            asyncio.run(main())
            """)
        self.disturb([sys.executable, program])

    def test_exit_code_of_many_threads(self):
        program = self.write("threads.c", """
            #include <pthread.h>
            #include <unistd.h>
            static void *idle(void *unused) { pause(); return unused; }
            static void *work(void *unused) { while (access("go", F_OK) != 0) {} _exit(7); return unused; }
            int main(void) {
              pthread_t thread;
              for (int i = 0; i < 41; ++i) pthread_create(&thread, 0, i == 20 ? work : idle, 0);
              write(1, "half", 4);
              pause();
            }
            """)
        exe = os.path.join(self.directory, "threads")
        subprocess.run([self.need("gcc"), "-O1", "-pthread", "-o", exe, program], check=True)
        go = os.path.join(self.directory, "go")
        process = subprocess.Popen([exe], cwd=self.directory, stdin=subprocess.DEVNULL,
                                   stdout=open(go + ".out", "wb"), stderr=subprocess.STDOUT,
                                   start_new_session=True)
        self.addCleanup(self.end, process)
        wait_for(lambda: os.path.getsize(go + ".out") == 4, "the threads")
        file = os.path.join(self.directory, "program.pcp")
        self.assertEqual(tool("pcp-capture", str(process.pid), "-o", file, "--kill").returncode, 0)
        process.wait()
        open(go, "w").close()
        for _ in range(20 if ALL else 5):
            self.assertEqual(tool("pcp-restore", "--run", file).returncode, 7)

    def test_without_vdso(self):
        program = self.write("no_vdso.c", """
            #include <stdlib.h>
            #include <sys/auxv.h>
            #include <sys/mman.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            int main(void) {
              munmap((void *)getauxval(AT_SYSINFO_EHDR), 4096 * 2);
              write(1, "half", 4);
              for (int i = 0; i < 20; ++i) {
                struct { long s, n; } t = {0, 100000000};
                syscall(SYS_nanosleep, &t, 0);
                write(1, ".", 1);
              }
              write(1, "end", 3);
              syscall(SYS_exit_group, 3);
            }
            """)
        exe = os.path.join(self.directory, "no_vdso")
        subprocess.run([self.need("gcc"), "-O1", "-o", exe, program], check=True)
        self.disturb([exe])

    def test_log_that_grew(self):
        program = self.write("log.py", """
            import time
            log = open("log", "a", buffering=1)
            print("half", flush=True)
            for i in range(20):
                log.write("line %d\\n" % i)
                time.sleep(0.05)
            print("end")
            """)
        output = os.path.join(self.directory, "output")
        process = subprocess.Popen([sys.executable, program], cwd=self.directory, stdin=subprocess.DEVNULL,
                                   stdout=open(output, "ab"), stderr=subprocess.STDOUT, start_new_session=True)
        self.addCleanup(self.end, process)
        wait_for(lambda: os.path.getsize(output) > 0, "the program")
        time.sleep(0.2)
        file = os.path.join(self.directory, "program.pcp")
        self.assertEqual(tool("pcp-capture", str(process.pid), "-o", file).returncode, 0)
        process.wait() # it goes on, and writes to its log and its output
        # The copy that was captured may still be there, in the session of that id.
        restored = tool("pcp-restore", "--run", "--allow", "new-ids", file)
        self.assertEqual(restored.returncode, 0, restored.stdout)
        self.assertIn("has grown since", restored.stdout)
        self.assertIn("line 19", open(os.path.join(self.directory, "log")).read().splitlines()[-1])

    def test_listener_that_was_lost_does_not_spin(self):
        program = self.write("server.py", """
            import select, socket, sys
            server = socket.socket()
            server.bind(("127.0.0.1", 0))
            server.listen()
            poll = select.epoll()
            poll.register(server, select.EPOLLIN)
            print("half", flush=True)
            for _ in range(10):
                for _ in poll.poll(0.2):
                    sys.exit("something came")
            print("end", flush=True)
            """)
        self.disturb([sys.executable, program], capture=("--allow", "socket"),
                     restore=("--allow", "socket", "--quiet"), after=0)

    def test_inspect_only(self):
        process = subprocess.Popen(
            [sys.executable, "-c", "import socket, subprocess, time; s = socket.socket(); s.listen()\\n"
             "subprocess.Popen(['sleep', '100']); print('half', flush=True); time.sleep(100)"
             .replace("\\n", "\n")],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
        self.addCleanup(os.killpg, process.pid, signal.SIGKILL)
        process.stdout.read(4)
        file = os.path.join(self.directory, "program.pcp")
        refused = tool("pcp-capture", str(process.pid), "-o", file)
        self.assertEqual(refused.returncode, 6)
        for name in "children", "pipe", "socket": # one error lists everything
            self.assertIn("[%s]" % name, refused.stdout)
        self.assertEqual(tool("pcp-capture", str(process.pid), "-o", file, "--inspect-only", "--kill").returncode, 2)
        captured = tool("pcp-capture", str(process.pid), "-o", file, "--inspect-only")
        self.assertEqual(captured.returncode, 0, captured.stdout)
        self.assertEqual(tool("pcp-validate", "-q", file).returncode, 0)
        everything = "children,pipe,socket,new-ids,other-fd,terminal,deleted-file,device"
        restored = tool("pcp-restore", "--allow", everything, file)
        self.assertEqual(restored.returncode, 6, restored.stdout)
        self.assertIn("for looking at only", restored.stdout)
        process.stdout.close()

    def compiled(self, source, name, arguments):
        subprocess.run([*arguments, source, "-o", os.path.join(self.directory, name)], check=True,
                       cwd=self.directory, env={**os.environ, "GOCACHE": self.directory + "/cache"})
        return [os.path.join(self.directory, name)]

    def test_cc1plus(self):
        self.only_in_full()
        source = self.write("big.cc", "#include <bits/stdc++.h>\n" + "".join(
            "std::map<std::string, std::vector<std::array<int, %d>>> m%d; int f%d() { std::regex r(\"a%d\"); "
            "return int(m%d[\"x\"].size()); }\n" % (i, i, i, i, i) for i in range(1, 60)))
        cc1plus = subprocess.run([self.need("g++"), "-print-prog-name=cc1plus"], stdout=subprocess.PIPE,
                                 text=True, check=True).stdout.strip()
        triple = subprocess.run([self.need("g++"), "-print-multiarch"], stdout=subprocess.PIPE, text=True,
                                check=True).stdout.strip()
        self.disturb([cc1plus, "-quiet", "-imultiarch", triple, "-O2", source, "-o", "/dev/stdout"],
                     ready=lambda text: True, after=3)

    def test_node(self):
        self.only_in_full()
        program = self.write("work.js", """
            const parts = [];
            function step(i) {
              const map = new Map();
              for (let k = 0; k < 200000; k++) map.set("k" + (k * i) % 7919, k);
              parts.push([...map.values()].reduce((a, b) => (a * 31 + b) >>> 0, 0));
              if (i == 20) console.log("half");
              if (i < 60) setImmediate(step, i + 1); else console.log(parts.join(" "));
            }
            step(1);
            """)
        self.disturb([self.need("node"), program])

    def test_java(self):
        self.only_in_full()
        self.write("Work.java", """
            import java.util.*;
            public class Work {
              public static void main(String[] a) throws Exception {
                long h = 0;
                for (int i = 0; i < 120; i++) {
                  Map<String, Integer> m = new HashMap<>();
                  for (int k = 0; k < 50000; k++) m.merge("k" + (k * 31 + i) % 5003, k, Integer::sum);
                  for (int v : new TreeMap<>(m).values()) h = h * 31 + v;
                  if (i == 30) { System.out.println("half"); System.out.flush(); }
                  Thread.sleep(10);
                }
                System.out.println(h);
              }
            }
            """)
        self.disturb([self.need("java"), "-XX:-UsePerfData", os.path.join(self.directory, "Work.java")])

    def test_go(self):
        self.only_in_full()
        source = self.write("work.go", """
            package main
            import ("fmt"; "sync"; "time")
            func main() {
              var group sync.WaitGroup
              sums := make([]uint64, 8)
              for g := range sums {
                group.Add(1)
                go func(g int) {
                  defer group.Done()
                  for i := 0; i < 150; i++ {
                    m := map[int]int{}
                    for k := 0; k < 5000; k++ { m[k*g%977] += k }
                    for k := 0; k < 977; k++ { sums[g] = sums[g]*31 + uint64(m[k]) }
                    time.Sleep(5 * time.Millisecond)
                  }
                }(g)
              }
              time.Sleep(300 * time.Millisecond)
              fmt.Println("half")
              group.Wait()
              fmt.Println(sums)
            }
            """)
        exe = os.path.join(self.directory, "work")
        subprocess.run([self.need("go"), "build", "-o", exe, source], check=True, cwd=self.directory,
                       env={**os.environ, "GOCACHE": self.directory + "/cache", "GO111MODULE": "off"})
        self.disturb([exe])

    def test_rust(self):
        self.only_in_full()
        source = self.write("work.rs", """
            use std::collections::HashMap; use std::thread; use std::time::Duration;
            fn main() {
              let workers: Vec<_> = (0..4u64).map(|g| thread::spawn(move || {
                let mut h = g;
                for i in 0..100u64 {
                  let mut m = HashMap::new();
                  for k in 0..5000u64 { *m.entry(k * i % 997).or_insert(0u64) += k; }
                  let mut v: Vec<_> = m.into_iter().collect(); v.sort();
                  for (a, b) in v { h = h.wrapping_mul(31).wrapping_add(a ^ b); }
                  thread::sleep(Duration::from_millis(8));
                }
                h })).collect();
              thread::sleep(Duration::from_millis(200));
              println!("half");
              for w in workers { println!("{}", w.join().unwrap()); }
            }
            """)
        self.disturb(self.compiled(source, "rusty", [self.need("rustc"), "-O"]))

    def test_numpy(self):
        self.only_in_full()
        python = self.need("/usr/bin/python3")
        if subprocess.run([python, "-c", "import numpy"], stderr=subprocess.DEVNULL).returncode != 0:
            self.need("python3-numpy, the package")
        program = self.write("matrices.py", """
            import numpy, threading
            numpy.random.seed(1)
            results = {}
            def work(g):
                a = numpy.random.RandomState(g).rand(200, 200)
                for i in range(150):
                    a = a @ a
                    a /= numpy.abs(a).max()
                results[g] = float(a.sum()).hex()
            threads = [threading.Thread(target=work, args=(g,)) for g in range(3)]
            [t.start() for t in threads]
            print("half", flush=True)
            [t.join() for t in threads]
            print(sorted(results.items()))
            """)
        self.disturb([python, program], after=0.1)

    ALLOCATING = """
        #include <stdint.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <unistd.h>
        /* calloc gives zeros, contents stay, whatever is given back to the system meanwhile */
        int main(void) {
          enum { N = 3000 };
          static unsigned char *p[N];
          static size_t z[N];
          uint64_t s = 1, h = 0;
          for (int r = 0; r < 300; ++r) {
            for (int i = 0; i < N; ++i) {
              s = s * 6364136223846793005ull + 1442695040888963407ull;
              int k = (int)((s >> 33) % N);
              if (p[k]) {
                for (size_t j = 0; j < z[k]; ++j) if (p[k][j] != (unsigned char)(k * 7 + z[k])) { puts("CORRUPT"); return 9; }
                h = h * 31 + z[k]; free(p[k]); p[k] = 0;
              } else {
                size_t n = (s >> 45) % 50 == 0 ? (s >> 20) % 300000 + 1 : (s >> 20) % 2000 + 1;
                p[k] = calloc(1, n);
                for (size_t j = 0; j < n; ++j) if (p[k][j]) { puts("NOT ZERO"); return 8; }
                memset(p[k], (unsigned char)(k * 7 + n), n); z[k] = n;
              }
            }
            if (r % 16 == 15) for (int k = 0; k < N; ++k) { free(p[k]); p[k] = 0; }
            if (r == 40) { puts("half"); fflush(stdout); }
          }
          printf("%016lx\\n", h);
        }
        """

    def test_jemalloc(self):
        self.only_in_full()
        library = self.need("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2")
        program = self.compiled(self.write("alloc.c", self.ALLOCATING), "alloc", [self.need("gcc"), "-O1"])
        for profile in "default", "raw":
            with self.subTest(profile):
                self.disturb(program, capture=("--profile", profile),
                             env={**os.environ, "LD_PRELOAD": library, "MALLOC_CONF": "dirty_decay_ms:0"})

    def test_sbcl(self):
        self.only_in_full()
        program = self.write("work.lisp", """
            (defun churn (n) (let ((h 0)) (dotimes (i n h)
              (let ((l (loop for k below 2000 collect (cons k (format nil "~a" (* k i))))))
                (setf h (logand #xffffffff (+ (* 31 h) (length (cdr (nth (mod i 2000) l))))))))))
            (print (churn 20)) (princ "half") (finish-output)
            (dotimes (i 60) (print (churn 80)) (sb-ext:gc :full (evenp i)))
            (finish-output)
            """)
        for profile in "default", "raw":
            with self.subTest(profile):
                self.disturb([self.need("sbcl"), "--script", program], capture=("--profile", profile))

    def test_sqlite(self):
        self.only_in_full()
        program = self.write("sort.sql", """
            .output stdout
            pragma temp_store = 1; pragma cache_size = 10;
            create table t (a, b);
            with recursive n(i) as (select 1 union all select i + 1 from n where i < 600000)
              insert into t select (i * 7919) % 600011, hex(i * 31) from n;
            select 'half';
            select sum(r * a) % 1000003 from (select a, row_number() over (order by b, a) as r from t);
            select count(*), min(b), max(b) from (select distinct b from t order by b);
            """)
        self.disturb(["/bin/sh", "-c", "rm -f data.db; exec %s data.db '.read %s'" %
                      (self.need("sqlite3"), program)], after=0.5)

    def test_postgres(self):
        self.only_in_full()
        import glob
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))
        postgres = found[-1] if found else self.need("postgres")
        os.chmod(self.directory, 0o777)
        data = os.path.join(self.directory, "data")
        as_user = lambda *command: ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *command]
        subprocess.run(as_user(os.path.join(os.path.dirname(postgres), "initdb"), "-D", data, "-A", "trust"),
                       check=True, stdout=subprocess.DEVNULL, cwd=self.directory)
        sql = self.write("work.sql", """
            create table t as select i as a, md5(i::text) as b from generate_series(1, 100000) i
            select 'half' as h, count(*) from t
            select sum(length(x.b || y.b)) from t x join t y on y.a = (x.a * 7919) % 100000 + 1 order by 1
            select md5(string_agg(b, '' order by b desc)) from (select b from t union all select md5(b) from t) u
            drop table t
            """)
        self.disturb(["/bin/sh", "-c", "exec %s < %s" % (" ".join(as_user(
            postgres, "--single", "-D", data, "-c", "shared_memory_type=mmap", "-c",
            "dynamic_shared_memory_type=mmap", "postgres")), sql)], after=0.2,
            compare=lambda text: [line for line in text.splitlines() if b"=" in line and b" LOG: " not in line])

    def test_emacs(self):
        self.only_in_full()
        program = self.write("work.el", """
            (let ((h 0))
              (dotimes (i 40)
                (with-temp-buffer
                  (dotimes (k 3000) (insert (format "%d %s\\n" (% (* k (1+ i)) 997) (make-string (% k 13) ?x))))
                  (sort-numeric-fields 1 (point-min) (point-max))
                  (setq h (logand #xffffff (+ (* 31 h) (string-to-number (substring (md5 (buffer-string)) 0 5) 16)))))
                (when (= i 8) (princ "half\\n" #'external-debugging-output)))
              (princ (format "%d\\n" h) #'external-debugging-output))
            """)
        self.disturb([self.need("emacs"), "--batch", "-Q", "-l", program])

    def test_valgrind(self):
        self.only_in_full()
        program = self.compiled(self.write("alloc.c", self.ALLOCATING.replace("r < 300", "r < 60")), "alloc",
                                [self.need("gcc"), "-O1"])
        # Without FIFOs for a debugger, which are refused.
        self.disturb([self.need("valgrind"), "-q", "--vgdb=no", *program])

    def test_ffmpeg(self):
        self.only_in_full()
        self.disturb([self.need("ffmpeg"), "-v", "error", "-nostdin", "-f", "lavfi", "-i",
                      "testsrc2=s=320x240:d=20", "-threads", "2", "-bitexact", "-f", "framemd5", "-c:v", "mpeg4",
                      "-"], ready=lambda text: text.count(b"\n") > 60, after=0)

    def test_vim_in_tmux(self):
        self.only_in_full()
        tmux, vim = self.need("tmux"), self.need("vim")
        text = self.write("text", "first line\nsecond line\n")
        socket = os.path.join(self.directory, "socket")
        run = lambda *arguments: subprocess.run([tmux, "-S", socket, "-f", "/dev/null", *arguments], check=True,
                                                stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        screen = lambda: run("capture-pane", "-p").stdout
        run("new-session", "-d", "-x", "80", "-y", "24", "exec sleep 1000")
        self.addCleanup(run, "kill-server")
        run("set-option", "-g", "remain-on-exit", "on")
        run("respawn-pane", "-k", "cd %s; %s -n -u NONE -i NONE text; echo ended; exec sleep 1000" %
            (self.directory, vim))
        wait_for(lambda: "second line" in screen(), "vim")
        run("send-keys", "Gothird line")
        wait_for(lambda: "third line" in screen(), "what was typed")
        shell = int(run("list-panes", "-F", "#{pane_pid}").stdout)
        child = int(open("/proc/%d/task/%d/children" % (shell, shell)).read().split()[0])
        file = os.path.join(self.directory, "vim.pcp")
        captured = tool("pcp-capture", str(child), "-o", file, "--kill", "--allow", "terminal")
        self.assertEqual(captured.returncode, 0, captured.stdout)
        wait_for(lambda: "ended" in screen(), "its end")
        run("resize-window", "-x", "100", "-y", "30")
        run("respawn-pane", "-k", "%s --run --allow terminal --quiet %s 2>/dev/null; echo over; exec sleep 1000" %
            (os.path.join(BIN, "pcp-restore"), file))
        wait_for(lambda: os.path.exists("/proc/%d" % child), "vim, restored")
        # Its terminal gives single keys, and it was told of the new size.
        run("send-keys", " and more", "Escape", ":wq", "Enter")
        wait_for(lambda: "over" in screen(), "the end of vim")
        self.assertEqual(open(text).read(), "first line\nsecond line\nthird line and more\n")


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("needs root: ids")
        sys.exit(77)
    names = ["Programs.test_" + name for name in sys.argv[2:]] or ["Programs"]
    unittest.main(argv=[sys.argv[0], "-v", *names], warnings="ignore")
