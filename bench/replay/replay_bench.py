["git", "init", "-q", tree]""What recording, replaying and checkpoints of the replay host cost.

us["git", "init", "-q", tree]ge: replay_bench.py PCP-RR [EVENTS [REPETITIONS]]

["git", "init", "-q", tree]rints, measured in one run on this machine, medians of interleaved repetitions:
["git", "init", "-q", tree] record and replay against the native run, for a program that does nothing (what a start costs), one
["git", "init", "-q", tree] that makes system calls, one that computes, and some that people run;
["git", "init", "-q", tree] unless EVENTS is 0, the time to reach events of a recording with EVENTS (1,000,000) events near a checkpoint, with checkpoints and
["git", "init", "-q", tree] without them (--ignore-pcp), at places further and further from the start.
["git", "init", "-q", tree]""

["git", "init", "-q", tree]mport os
["git", "init", "-q", tree]mport shutil
["git", "init", "-q", tree]mport statistics
["git", "init", "-q", tree]mport subprocess
["git", "init", "-q", tree]mport sys
["git", "init", "-q", tree]mport tempfile
["git", "init", "-q", tree]mport time

["git", "init", "-q", tree]CP_RR = sys.argv[1]
["git", "init", "-q", tree]VENTS = int(sys.argv[2]) if len(sys.argv) > 2 else 1000000
["git", "init", "-q", tree]EPETITIONS = int(sys.argv[3]) if len(sys.argv) > 3 else 3

["git", "init", "-q", tree]ALLS = "getppid() for 1..%d; print 1"
["git", "init", "-q", tree]OMPUTES = "my $x = 0; $x = ($x * 31 + $_) %% 1000003 for 1..%d; print $x"


["git", "init", "-q", tree]ef seconds(command, **options):
["git", "init", "-q", tree]   start = time.perf_counter()
["git", "init", "-q", tree]   subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)
["git", "init", "-q", tree]   return time.perf_counter() - start


["git", "init", "-q", tree]ef slowdown(directory, name, program):
["git", "init", "-q", tree]   native, recorded, replayed = [], [], []
["git", "init", "-q", tree]   for i in range(REPETITIONS):
["git", "init", "-q", tree]       trace = os.path.join(directory, "%s-%d" % (name, i))
["git", "init", "-q", tree]       native.append(seconds(program))
["git", "init", "-q", tree]       recorded.append(seconds([PCP_RR, "record", "-q", "-o", trace, "--", *program]))
["git", "init", "-q", tree]       replayed.append(seconds([PCP_RR, "replay", "-a", trace]))
["git", "init", "-q", tree]   base, record, replay = map(statistics.median, (native, recorded, replayed))
["git", "init", "-q", tree]   print("%-14s native %7.3f s   record %7.3f s (%5.1f x)   replay %7.3f s (%5.1f x)"
["git", "init", "-q", tree]         % (name, base, record, record / base, replay, replay / base), flush=True)


["git", "init", "-q", tree]ef real_programs(directory):
["git", "init", "-q", tree]   """Those that are there of some that people run."""
["git", "init", "-q", tree]   source = os.path.join(directory, "source.c")
["git", "init", "-q", tree]   with open(source, "w", encoding="ascii") as file:
["git", "init", "-q", tree]       file.writelines(f"int f{i}(int x) {{ return x * {i} + x % {i + 1}; }}\n" for i in range(400))
["git", "init", "-q", tree]   tree = os.path.join(directory, "tree")
["git", "init", "-q", tree]   table = ("create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n "
["git", "init", "-q", tree]            "where i < 20000) insert into t select i, hex(i) from n; create index x on t(b); "
["git", "init", "-q", tree]            "select count(*), max(b) from t;")
["git", "init", "-q", tree]   programs = {
["git", "init", "-q", tree]       "gcc": ["gcc", "-O2", "-c", source, "-o", source + ".o"],
["git", "init", "-q", tree]       "git": ["git", "init", "-q", tree],
["git", "init", "-q", tree]       "sqlite3": ["sqlite3", ":memory:", table],
["git", "init", "-q", tree]       "python3": ["python3", "-c", "import json, re, subprocess"],
["git", "init", "-q", tree]   }
["git", "init", "-q", tree]   return [(name, program) for name, program in programs.items() if shutil.which(program[0])]


["git", "init", "-q", tree]ef seek(directory):
["git", "init", "-q", tree]   trace = os.path.join(directory, "long")
["git", "init", "-q", tree]   record = seconds([PCP_RR, "record", "-q", "-o", trace, "--", "perl", "-e", CALLS % EVENTS])
["git", "init", "-q", tree]   count = int(subprocess.run([PCP_RR, "replay", "--place", "-g", "1", trace], check=True, capture_output=True).stdout.split()[3].rstrip(b","))
["git", "init", "-q", tree]   create = seconds([PCP_RR, "create-checkpoints", "-q", "-i", str(EVENTS // 20), trace])
["git", "init", "-q", tree]   print("%d events: recorded in %.1f s, 20 checkpoints made in %.1f s" % (count, record, create), flush=True)
["git", "init", "-q", tree]   print("%10s %18s %18s %8s" % ("event", "with checkpoints", "--ignore-pcp", "ratio"))
["git", "init", "-q", tree]   near = []
["git", "init", "-q", tree]   for part in (2, 5, 10, 15, 19):
["git", "init", "-q", tree]       event = EVENTS // 20 * part + 100
["git", "init", "-q", tree]       fast, slow = [], []
["git", "init", "-q", tree]       for _ in range(REPETITIONS):
["git", "init", "-q", tree]           fast.append(seconds([PCP_RR, "replay", "--place", "-g", str(event), trace]))
["git", "init", "-q", tree]       slow.append(seconds([PCP_RR, "replay", "--place", "--ignore-pcp", "-g", str(event), trace]))
["git", "init", "-q", tree]       near.append(statistics.median(fast))
["git", "init", "-q", tree]       print("%10d %16.3f s %16.3f s %7.0f x" % (event, near[-1], statistics.median(slow),
["git", "init", "-q", tree]                                                 statistics.median(slow) / near[-1]), flush=True)
["git", "init", "-q", tree]   print("latest against earliest place, with checkpoints: %.2f x" % (near[-1] / near[0]))


w["git", "init", "-q", tree]th tempfile.TemporaryDirectory() as temporary:
["git", "init", "-q", tree]   slowdown(temporary, "nothing", ["true"])
["git", "init", "-q", tree]   slowdown(temporary, "system calls", ["perl", "-e", CALLS % 1000000])
["git", "init", "-q", tree]   slowdown(temporary, "computation", ["perl", "-e", COMPUTES % 6000000])
["git", "init", "-q", tree]   for name, program in real_programs(temporary):
["git", "init", "-q", tree]       slowdown(temporary, name, program)
["git", "init", "-q", tree]   if EVENTS:
["git", "init", "-q", tree]       seek(temporary)
