// The rules of model.md and rr.md about a decoded State.
import { judgeBeside } from "./bases.mjs";
import { equal } from "./hashes.mjs";
import { utf8 } from "./message.mjs";

const noIndex = 0xffffffff;
const i386 = 3, x86_64 = 62, aarch64 = 183;
const limit64 = (1n << 64n) - 1n, limit63 = (1n << 63n) - 1n;
const zero = 0, stream = 1, backing = 2, unknown = 3, guardRun = 4, baseRun = 5;          // RunKind
const guard = 1, stack = 2, vvar = 5, vsyscall = 6, shadowStack = 7, replayer = 8;        // MappingRole
const shared = 1, privately = 2, anonymous = 0x20, locked = 0x2000, hugeTlb = 0x40000;    // MAP_*
const mappingFlags = shared | privately | anonymous | 0x100 | locked | 0x4000 | 0x20000 | 0x80000 | hugeTlb;
const isX86 = machine => machine === i386 || machine === x86_64;
const isKnown = machine => isX86(machine) || machine === aarch64;

const reverseDns = bytes => /^[a-z0-9-]+(\.[a-z0-9-]+)+$/.test(Buffer.from(bytes).toString("latin1"));
const compare = (a, b) => {
  if (Array.isArray(a)) {
    for (let i = 0; i < a.length; i++) { const c = compare(a[i], b[i]); if (c) return c; }
    return 0;
  }
  if (a instanceof Uint8Array) return Buffer.compare(a, b);
  return a < b ? -1 : a > b ? 1 : 0;
};
/** Whether a list's keys ascend strictly (or, with equal allowed, do not descend). */
const ascends = (list, key, equalToo) => list.every((e, i) => !i || compare(key(list[i - 1]), key(e)) < (equalToo ? 1 : 0));
const absolute = path => path[0] === 0x2f;
const endsInZero = bytes => bytes.length > 0 && bytes[bytes.length - 1] === 0;

export function judgeState(container, state, report, directory) {
  const pageSize = BigInt(container.header.pageSize), { processes, tasks, addressSpaces: spaces, memoryObjects: objects } = state;
  const { pageCount } = container.footer;
  const used = [];                        // pages of the stream that runs refer to: [first, end)
  const needed = new Map();               // memory object → ranges that private mappings take from its file
  const hasBases = container.header.minor >= 1, lastRun = hasBases ? baseRun : guardRun;
  const bases = hasBases ? state.bases : [], usedBases = new Set(), baseTails = [];
  const ofStream = kind => kind === stream || (hasBases && kind === baseRun);
  const tails = [];                       // last pages of objects that end inside a page
  let noCpu = false, layoutEnds = null;
  const must = (holds, code, where) => { if (!holds) report(code, where); };
  // Bits and numbers that a later version may have: only in a fully known file is that an error.
  const beyond = (holds, code, where) => { if (!holds) report(container.fullyKnown ? code : "value.newer", where); };

  // ---- bases ----
  must(bases.length <= 64, "base.count", "state.bases");
  must(!bases.length || container.header.incompatibleFeatures & 2n, "base.feature", "state.bases");
  bases.forEach((b, i) => {
    const where = `state.bases[${i}]`;
    must(b.id.length === 16 && !bases.slice(0, i).some(o => equal(o.id, b.id)), "base.id", where);
    must(!equal(b.id, container.footer.checkpointId.subarray(0, 16)), "base.cycle", where);
    must(b.pageCount && b.pageCount * pageSize < limit63 + 1n, "base.geometry", where);
    must(b.chunkPages >= 1 && b.chunkPages <= 4096 && BigInt(b.chunkPages) * pageSize <= 1n << 24n, "base.geometry", where);
    must([0, 32].includes(b.seal.length), "base.seal", where);
  });

  // ---- state, position, trace ----
  if (state.machine === 0) report("header.machine", "state.machine");
  else must(isKnown(state.machine), "state.machine");
  const encodings = n => n === 1 || n === 2;
  must(encodings(state.elfClass) && encodings(state.dataEncoding), "state.elf-class");
  if (!state.broken.has("producer")) must(reverseDns(state.producer), "state.producer");
  if (state.clocks && !state.clocks.broken.has("bootId")) must([0, 16].includes(state.clocks.bootId.length), "state.clocks");
  must(ascends(state.omissions, o => [o.name, o.what]) && state.omissions.every(o => o.name.length), "state.omission");
  const { position, trace } = state;
  if (position) {
    const { clone } = position, mark = position.which === "forwardTo" ? position.forwardTo : null;
    for (const m of [clone, mark]) {
      if (!m) continue;
      must(m.event >= 0n, "position.event");
      must(0n <= m.ticksAtEventStart && m.ticksAtEventStart <= m.ticks, "position.ticks");
      if (m.registers.length) must(m.registers.some(r => r.noteType === 1), "position.registers");
      judgeRegisters(m.registers, m.machine || state.machine, "position");
    }
    if (clone && mark) must(mark.event >= clone.event, "position.mark");
  }
  if (!state.broken.has("position")) must(!trace || position, "position.missing");
  if (!state.broken.has("trace")) must(!position || trace, "position.unbound");
  if (trace) {
    if (!trace.broken.has("uuid")) must(trace.uuid.length === 16 && trace.uuid.some(b => b), "trace.uuid");
    if (!trace.broken.has("format")) must(reverseDns(trace.format), "trace.format");
    const isName = s => s.length && !s.includes(0x2f) && !(s.every(b => b === 0x2e) && s.length <= 2);
    must(ascends(trace.cursor, c => c.stream) && trace.cursor.every(c => isName(c.stream)), "trace.cursor");
  }

  // ---- processes ----
  const hasTask = new Set(tasks.map(t => t.process));
  must(ascends(processes, p => p.pid), "process.order");
  processes.forEach((p, i) => {
    const where = `state.processes[${i}]`;
    must(p.pid > 0, "process.pid", where);
    if (!state.broken.has("tasks")) must(hasTask.has(i), "process.empty", where);
    must(ascends(p.intervalTimers, t => t.timer) && p.intervalTimers.every(t => t.value), "process.timer", where);
    beyond(p.intervalTimers.every(t => t.timer <= 2), "process.timer", where);
    const possible = t => [0, 1, 2, 4].includes(t.notify);
    must(ascends(p.posixTimers, t => t.id), "process.timer", where);
    beyond(p.posixTimers.every(possible), "process.timer", where);
    must(p.posixTimers.every(t => ![0, 4].includes(t.notify) || (t.signal >= 1 && t.signal <= 64)), "signal.number", where);
    beyond([0, 19, 20, 21, 22].includes(p.stopSignal), "process.attributes", where);
    must(Math.abs(p.outOfMemoryAdjustment) <= 1000 &&
      ascends(p.semaphoreUndo, s => [s.identifier, s.number]), "process.attributes", where);
    must(ascends(p.resourceLimits, r => r.resource) && p.resourceLimits.every(r => r.soft <= r.hard), "process.resource-limit", where);
    judgeCredentials(p.credentials, where);
    for (const s of p.pendingSignals) judgeSignal(s, where);
  });

  // ---- tasks ----
  const leads = t => processes[t.process]?.pid === t.tid;
  must(ascends(tasks, t => [t.process, leads(t) ? 0 : 1, t.tid]), "task.order");
  must(new Set(tasks.map(t => t.tid)).size === tasks.length, "task.tid");
  tasks.forEach((t, i) => {
    const where = `state.tasks[${i}]`, machine = spaces[t.addressSpace]?.machine || state.machine;
    must(t.tid > 0, "task.tid", where);
    must(t.name.length <= 15, "task.name", where);
    if (!t.broken.has("registers")) must(t.registers.some(r => r.noteType === 1), "task.registers", where);
    judgeRegisters(t.registers, machine, where);
    for (const mask of [t.signalMask, t.savedSignalMask]) if (mask !== limit64) judgeMask(mask, where);
    for (const s of t.pendingSignals) judgeSignal(s, where);
    const a = t.alternateStack;
    if (a) {
      must((a.flags & 2 || a.size) && a.address + a.size <= limit64, "task.alternate-stack", where);
      beyond(!(a.flags & 0x7ffffffc), "task.alternate-stack", where);
    }
    if (t.rseq) must(t.rseq.address, "task.rseq", where);
    if (t.threadAreas.length)
      must(isX86(machine) && ascends(t.threadAreas, e => e.entryNumber) && t.threadAreas.every(e => e.contents <= 3 && !(e.reservedBits & 0xff)),
        "task.thread-area", where);
    must(t.parentDeathSignal >= 0 && t.parentDeathSignal <= 64, "signal.number", where);
    judgeCredentials(t.credentials, where);
    const at = t.attributes;
    if (at) {
      const filters = at.seccompFilters.every(f => f.program.length && f.program.length % 8 === 0) && (at.seccompMode >= 2 || !at.seccompFilters.length);
      const speculation = ascends(at.speculation, s => s.feature);
      const nice = !at.scheduling || (at.scheduling.nice >= -20 && at.scheduling.nice <= 19);
      beyond(at.seccompMode <= 2 && at.machineCheckPolicy <= 2, "task.attributes", where);
      must(filters && speculation && nice && !endsInZero(at.processors) &&
        !(at.memoryPolicy && endsInZero(at.memoryPolicy.nodes)), "task.attributes", where);
    }
  });
  state.namespaceSets.forEach((n, i) => {
    for (const r of [...n.uidMap, ...n.gidMap])
      must(r.count && r.inside + r.count <= 0xffffffff && r.outside + r.count <= 0xffffffff, "namespace.ids", `state.namespaceSets[${i}]`);
  });
  state.signalHandlerTables.forEach((table, i) => {
    const where = `state.signalHandlerTables[${i}]`;
    must(ascends(table.actions, a => a.signal), "signal-action.order", where);
    for (const a of table.actions) {
      must(a.signal >= 1 && a.signal <= 64, "signal.number", where);
      must(a.handler || a.flags || a.mask || a.restorer, "signal-action.default", where);
      must(a.signal !== 9 && a.signal !== 19, "signal-action.fixed", where);
      must(!a.restorer || a.flags & 0x04000000n, "signal-action.restorer", where);
    }
  });

  function judgeCredentials(c, where) {
    if (!c) return;
    must(!(c.effectiveCapabilities & ~c.permittedCapabilities) && !(c.ambientCapabilities & ~(c.permittedCapabilities & c.inheritableCapabilities)), "credentials.capabilities", where);
    beyond(c.securebits <= 0xfff, "credentials.capabilities", where);
  }
  function judgeMask(mask, where) { must(!(mask & ((1n << 8n) | (1n << 18n))), "signal.mask", where); }
  function judgeSignal(s, where) {
    must(s.signal >= 1 && s.signal <= 64, "signal.number", where);
    const { raw } = s;
    if (!raw.length) return;
    const begins = raw.length === 128 && new DataView(raw.buffer, raw.byteOffset).getInt32(0, state.dataEncoding !== 2);
    must(begins === s.signal, "signal.raw", where);
  }
  function judgeRegisters(list, machine, where) {
    must(ascends(list, r => r.noteType), "registers.order", where);
    for (const r of list) {
      if (r.broken.has("data")) continue;
      const fits = registerSizes[machine]?.[r.noteType];
      const longer = n => !Array.from({ length: 9000 }, (_, i) => n + i).some(fits);
      if (fits && !fits(r.data.length)) (longer(r.data.length) ? beyond : must)(false, "registers.size", where);
      else if (fits && r.noteType === 0x202) judgeXsave(r.data, where);
    }
  }
  function judgeXsave(data, where) {
    const view = new DataView(data.buffer, data.byteOffset), inUse = view.getBigUint64(512, true), { cpu } = state;
    if (view.getBigUint64(520, true)) { report("registers.xsave", where); return; }
    if (!cpu) {
      if (!noCpu && !state.broken.has("cpu")) report("cpu.missing", where);
      noCpu = true;
      return;
    }
    must(!(inUse & ~cpu.xsaveFeatures), "registers.xsave-features", where);
    layoutEnds ??= cpu.xsaveLayout.reduce((ends, c) => ends.set(c.number, Math.max(ends.get(c.number) ?? 0, c.offset + c.size)), new Map());
    for (const [number, end] of layoutEnds) if (number < 64 && inUse >> BigInt(number) & 1n) must(end <= data.length, "registers.xsave", where);
  }

  // ---- address spaces ----
  spaces.forEach((space, i) => {
    const where = `state.addressSpaces[${i}]`, machine = space.machine || state.machine, { mappings, layout: l } = space;
    must(space.elfClass <= 2, "state.elf-class", where);
    if (l)
      must(l.startCode <= l.endCode && l.startData <= l.endData && l.startBrk <= l.brk && l.argStart <= l.argEnd && l.envStart <= l.envEnd,
        "space.layout", where);
    must(!space.auxv.some(a => a.type === 0n), "space.auxv", where);
    const executable = objects[space.executable];
    if (executable) must(executable.which === "file" || typeof executable.which === "number", "space.executable", where);
    if (space.attributes) must(!space.attributes.lockFutureOnFault || space.attributes.lockFuture, "space.attributes", where);
    must(mappings.filter(m => m.role === stack).length <= 1, "space.stack", where);
    mappings.forEach((m, k) => {
      const before = mappings[k - 1];
      if (before && m.start < before.start) report("mapping.order", where);
      else if (before && m.start < before.end) report("mapping.overlap", where);
    });
    mappings.forEach((m, k) => judgeMapping(m, machine, `${where}.mappings[${k}]`));
    if (space.rr) {
      const saved = space.rr.savedMemory, end = s => s.address + BigInt(s.data.length);
      must(saved.every((s, k) => (s.data.length || s.broken.has("data")) && end(s) <= limit64 && (!k || (saved[k - 1].address < s.address && end(saved[k - 1]) <= s.address))),
        "rr.saved-memory", where);
    }
  });

  function judgeMapping(m, machine, where) {
    const known = isKnown(machine), hasObject = m.object !== noIndex, isShared = (m.flags & 3) === shared, isPrivate = (m.flags & 3) === privately;
    const protections = 7 | (machine === aarch64 ? 0x10 : 0);
    const ranged = m.start < m.end && m.start % pageSize === 0n && m.end % pageSize === 0n;
    must(ranged, "mapping.range", where);
    must(!m.maximumProtection || !(m.protection & ~m.maximumProtection), "mapping.protection", where);
    beyond(!known || !((m.protection | m.maximumProtection) & ~protections), "mapping.protection", where);
    must(isShared || isPrivate, "mapping.flags", where);
    beyond(!known || (!(m.flags & 0x03ffffff & ~mappingFlags) && (m.flags & hugeTlb || !(m.flags >>> 26))), "mapping.flags", where);
    must((m.advice & 0x18) !== 0x18 && (m.advice & 0xc0) !== 0xc0, "mapping.advice", where);
    beyond(!(m.advice & ~0xff), "mapping.advice", where);
    beyond(!known || m.pkey <= (machine === aarch64 ? 7 : 15), "mapping.pkey", where);
    if (isShared) must(hasObject || m.role === vvar || m.role === vsyscall, "mapping.object", where);
    if (isPrivate && known && m.flags & anonymous) must(!hasObject, "mapping.object", where);
    must(m.objectOffset % pageSize === 0n && (hasObject || !m.objectOffset) && (m.start >= m.end || m.objectOffset + (m.end - m.start) <= limit64),
      "mapping.object-offset", where);
    beyond(m.userFaults <= 7, "mapping.attributes", where);
    must((!m.lockedOnFault || !known || m.flags & locked) && (!m.droppable || (isPrivate && (!known || m.flags & anonymous))) &&
      !(m.memoryPolicy && endsInZero(m.memoryPolicy.nodes)), "mapping.attributes", where);
    if (m.role === guard) must(isPrivate && !m.protection && !hasObject && !m.runs.length, "mapping.role", where);
    if (m.role === vvar || m.role === vsyscall) must(m.runs.length === 1 && m.runs[0].kind === unknown, "mapping.role", where);
    if (m.role === shadowStack) must(isPrivate && !hasObject, "mapping.role", where);
    if (isShared) must(!m.runs.some(r => r.kind === zero || ofStream(r.kind)), "mapping.shared", where);
    if (m.rr) must(m.rr.use === 0 || m.rr.use > 6 || m.role === replayer, "rr.mapping-use", where);
    if (!ranged) return;
    const pages = (m.end - m.start) / pageSize;
    judgeRuns(m.runs, { pages, behind: hasObject, inObject: false }, where);
    const object = objects[m.object];
    if (isPrivate && object && !m.broken.has("runs"))
      for (const [first, count] of m.runs.length ? rowsOf(m.runs, pages) : [[0n, pages]]) need(object, m.objectOffset + first * pageSize, count * pageSize);
  }

  /** [first page, pages] of the backing runs that do not lie beyond the end. */
  function* rowsOf(runs, pages) {
    let at = 0n;
    for (const r of runs) {
      if (at + r.pages > pages) return;
      if (r.kind === backing) yield [at, r.pages];
      at += r.pages;
    }
  }
  function refer(runs) { for (const r of runs) if (r.kind === stream && r.first + r.pages <= pageCount) used.push([r.first, r.first + r.pages]); }

  function judgeRuns(runs, { pages, behind, inObject }, where) {
    let total = 0n;
    runs.forEach((r, k) => {
      const at = `${where}.runs[${k}]`;
      total += r.pages;
      must(r.pages, "run.empty", at);
      if (r.kind <= lastRun) must((r.kind === baseRun || !r.source) && (ofStream(r.kind) || !r.first), "run.fields", at);
      if (r.kind === baseRun && hasBases) {
        const base = bases[r.source];
        must(base && r.first + r.pages <= base.pageCount, "run.base", at);
        if (base) usedBases.add(r.source);
      }
      if (r.kind === stream) must(r.first + r.pages <= pageCount, "run.stream", at);
      if (r.kind === backing) must(behind, "run.backing", at);
      if (r.kind === guardRun) must(!inObject, "run.guard", at);
      const before = runs[k - 1];
      if (before && before.kind === r.kind && r.kind <= lastRun && before.source === r.source) must(ofStream(r.kind) && before.first + before.pages !== r.first, "run.join", at);
    });
    refer(runs);
    if (!runs.length) return;
    must(total === pages, "run.cover", where);
    if (runs.length === 1) must(!((runs[0].kind === zero && !behind && !inObject) || (runs[0].kind === backing && behind)), "run.default", where);
  }

  // ---- memory objects, files ----
  const identities = new Set();
  /** Notes that bytes of an object are taken from its file by a private mapping. */
  function need(object, offset, length) {
    if (object.which !== "file" || !object.file) return;
    if (!needed.has(object)) needed.set(object, []);
    needed.get(object).push([offset, offset + length]);
  }
  objects.forEach((o, i) => {
    const where = `state.memoryObjects[${i}]`, isFile = o.which === "file", armKnown = typeof o.which === "string";
    if (o.inode) {
      const key = `${o.device},${o.inode}`;
      must(!identities.has(key), "object.duplicate", where);
      identities.add(key);
    }
    if (!armKnown) return;
    if (o.length > limit63 || (!isFile && o.which !== "memfd" && !o.length)) {
      report("object.length", where);
      return;
    }
    if (isFile && o.file) must(o.length === o.file.size, "object.length", where);
    if (!o.broken.has("runs")) must(isFile || o.runs.length || (o.which === "memfd" && !o.length), "object.runs", where);
    if (o.which === "memfd" && o.memfd) beyond(!(o.memfd.seals & ~0x3f), "object.seals", where);
    const pages = (o.length + pageSize - 1n) / pageSize;
    judgeRuns(o.runs, { pages, behind: isFile, inObject: true }, where);
    if (o.length % pageSize) {
      let at = 0n;
      for (const r of o.runs) {
        if (pages - 1n < at + r.pages) {
          const number = r.first + (pages - 1n - at);
          if (r.kind === stream && r.first + r.pages <= pageCount && number < container.footer.pageCount)
            tails.push({ number: Number(number), used: Number(o.length % pageSize), where });
          if (r.kind === baseRun && hasBases && r.first + r.pages <= (bases[r.source]?.pageCount ?? 0n))
            baseTails.push({ source: r.source, number: Number(number), used: Number(o.length % pageSize), where });
          break;
        }
        at += r.pages;
      }
    }
    if (isFile && o.file) {
      judgeFile(o.file, `${where}.file`);
      const own = [...rowsOf(o.runs, pages)].map(([first, count]) => [first * pageSize, (first + count) * pageSize]);
      let wanted = own;
      if (!o.runs.length && !o.broken.has("runs")) wanted = needed.get(o) ?? [];
      const covered = merge(o.file.digests.map(d => [d.offset, d.offset + d.length]));
      const end = o.length;
      must(merge(wanted).every(([a, b]) => within(a, b < end ? b : end, covered)), "file.digest-missing", where);
    }
  });
  bases.forEach((b, i) => must(usedBases.has(i), "base.unreferenced", `state.bases[${i}]`));
  if (directory !== undefined && hasBases && container.header.incompatibleFeatures & 2n)
    judgeBeside(container, state, directory, baseTails, report);
  tails.sort((a, b) => a.number - b.number); // so that each chunk is decoded once
  for (const t of tails) {
    const page = container.page(t.number);
    if (page) must(!page.subarray(t.used).some(b => b), "object.tail", t.where);
  }
  function merge(ranges) {
    const out = [];
    for (const [a, b] of ranges.filter(r => r[0] < r[1]).sort((x, y) => compare(x[0], y[0]))) {
      const last = out[out.length - 1];
      if (last && a <= last[1]) { if (b > last[1]) last[1] = b; } else out.push([a, b]);
    }
    return out;
  }
  function within(a, b, merged) {
    if (a >= b) return true;
    let lo = 0, hi = merged.length;
    while (lo < hi) { const mid = (lo + hi) >> 1; if (merged[mid][1] <= a) lo = mid + 1; else hi = mid; }
    return lo < merged.length && merged[lo][0] <= a && b <= merged[lo][1];
  }
  function judgeFile(f, where) {
    if (!f) return;
    if (!f.broken.has("path") && f.pathBase <= 1) {
      const parts = () => Buffer.from(f.path).toString("latin1").split("/");
      must(f.pathBase === 0 ? absolute(f.path) : parts().every(p => p && p !== "." && p !== ".."), "file.path", where);
    }
    const d = f.digests, end = r => r.offset + r.length;
    must(d.every((r, k) => r.length && end(r) <= f.size && [0, 32].includes(r.sha256.length) && (!k || (d[k - 1].offset < r.offset && end(d[k - 1]) <= r.offset))),
      "file.digest", where);
  }

  state.fileTables.forEach((t, i) => {
    const where = `state.fileTables[${i}]`;
    must(ascends(t.descriptors, d => d.fd), "descriptor.order", where);
    must(!t.contentsUnknown || !t.descriptors.length, "descriptor.unknown", where);
    if (!t.rr) return;
    const { monitors } = t.rr;
    must(ascends(monitors, m => m.fd), "rr.monitor-order", where);
    must(!t.rr.monitorsUnknown || !monitors.length, "rr.monitors-unknown", where);
    for (const m of monitors)
      must(m.which === "plain" || typeof m.which === "number" || m.kind >= 15 || monitorArms[m.kind] === m.which, "rr.monitor-kind", where);
  });
  state.fileSystemContexts.forEach((c, i) => {
    const where = `state.fileSystemContexts[${i}]`;
    must((c.broken.has("workingDirectory") || absolute(c.workingDirectory)) && (c.broken.has("rootDirectory") || absolute(c.rootDirectory)), "context.path", where);
    must(c.umask <= 0o777, "context.umask", where);
  });
  state.openFiles.forEach((o, i) => {
    const where = `state.openFiles[${i}]`;
    must(o.offset <= limit63, "open-file.offset", where);
    must(o.locks.every(l => l.start <= l.end && l.end <= limit63), "open-file.lock", where);
    must(!o.ownerIsThread || o.owner > 0, "open-file.owner", where);
    must(o.ownerSignal >= 0 && o.ownerSignal <= 64, "signal.number", where);
    if (o.contentsObject !== noIndex && typeof o.which === "string") {
      const object = objects[o.contentsObject];
      const embedded = !object || typeof object.which === "number" ||
        (object.which === "file" && (!object.length || object.runs.length));
      must(o.which === "regular" && embedded, "open-file.contents", where);
    }
    switch (o.which) {
      case "regular": case "directory": case "fifo": case "path": judgeFile(o[o.which], where); break;
      case "device": case "terminal": if (!o.broken.has(`${o.which}.path`)) must(absolute(o[o.which].path), "file.path", where); break;
      case "pipe": must(BigInt(o.pipe.contents.length) <= o.pipe.capacity, "open-file.pipe", where); break;
      case "epoll": must(ascends(o.epoll.watches, w => w.fd, true), "open-file.epoll", where); break;
      case "memfd": { const m = objects[o.memfd.object]; if (m && typeof m.which === "string") must(m.which === "memfd", "open-file.object", where); break; }
      case "signalfd": judgeMask(o.signalfd.mask, where); break;
      case "inotify": must(ascends(o.inotify.watches, w => w.descriptor), "open-file.inotify", where); break;
      case "socketEnd": if (o.socketEnd) must(ascends(o.socketEnd.options, s => [s.level, s.name]), "open-file.socket", where); break;
    }
  });

  // ---- what refers to what ----
  const met = {};
  for (const list of ["addressSpaces", "memoryObjects", "openFiles", "fileTables", "fileSystemContexts", "signalHandlerTables", "namespaceSets"])
    met[list] = new Set();
  const refers = (list, index, optional, where) => {
    if (optional && index === noIndex) return;
    if (index < state[list].length) met[list]?.add(index);
    else if (!state.broken.has(list)) report("state.reference", where);
  };
  tasks.forEach((t, i) => {
    const where = `state.tasks[${i}]`;
    refers("processes", t.process, false, where);
    refers("addressSpaces", t.addressSpace, false, where);
    refers("fileTables", t.fileTable, true, where);
    refers("fileSystemContexts", t.fileSystemContext, true, where);
    refers("signalHandlerTables", t.signalHandlers, true, where);
    refers("namespaceSets", t.namespaces, true, where);
  });
  spaces.forEach((s, i) => {
    for (const m of s.mappings) refers("memoryObjects", m.object, true, `state.addressSpaces[${i}]`);
    refers("memoryObjects", s.executable, true, `state.addressSpaces[${i}]`);
  });
  state.fileTables.forEach((t, i) => { for (const d of t.descriptors) refers("openFiles", d.openFile, false, `state.fileTables[${i}]`); });
  state.openFiles.forEach((o, i) => {
    const where = `state.openFiles[${i}]`;
    refers("memoryObjects", o.contentsObject, true, where);
    if (o.which === "memfd") refers("memoryObjects", o.memfd.object, false, where);
    if (o.which === "socketEnd") for (const m of o.socketEnd?.received ?? []) for (const f of m.openFiles) refers("openFiles", f, false, where);
  });
  for (const [list, indices] of Object.entries(met)) {
    if (indices.size < state[list].length) report("state.unreferenced", list);
    else must(ascends([...indices], n => n), "state.reference-order", list);
  }
  must(within(0n, pageCount, merge(used)), "stream.unreferenced");

  // ---- processor, session, extensions ----
  const { cpu, session } = state;
  if (cpu) {
    const layout = cpu.xsaveLayout, described = layout.reduce((bits, c) => bits | (1n << BigInt(c.number)), 0n);
    must(ascends(layout, c => c.number) && layout.every(c => c.number >= 2 && c.number <= 62 && c.offset >= 576 && c.size) &&
      !(cpu.xsaveFeatures & ~3n & ~described), "cpu.xsave-layout");
    must(ascends(cpu.cpuid, c => [c.leaf, c.subleaf]), "cpu.cpuid");
  }
  if (session) {
    const next = session.nextTaskSerial;
    if (next) must(processes.every(p => p.serial < next) && tasks.every(t => t.serial < next), "session.next-serial");
    if (session.lastSignal) judgeSignal(session.lastSignal, "session.lastSignal");
    const rr = session.rr;
    if (rr) {
      must(ascends(rr.mappedFiles, f => [f.device, f.inode]), "rr.mapped-files");
      const step = rr.currentStep;
      if (step) {
        must(step.systemCall >= -1 && step.targetTicks >= -1n, "rr.step");
        must(step.signal >= 0 && step.signal <= 64, "signal.number", "session.rr.currentStep");
      }
    }
  }
  must(ascends(state.extensions, e => e.id), "extension.order");
  for (const e of state.extensions) {
    if (e.broken.has("id")) continue;
    if (!reverseDns(e.id)) { report("extension.id"); continue; }
    if (!extensions[utf8(e.id)]?.includes(e.version)) report(e.critical ? "extension.critical" : "extension.unknown");
  }
}

/** Registered extensions (registry.md) and their versions. */
const extensions = {
  "org.rr-project.persistent-checkpoint": [1],
  "org.rr-project.replay-trace-step": [1, 2, 3],
  "org.rrpcp.rr.replay": [1],
};
const monitorArms = { 2: "mmapped", 4: "procFd", 5: "procMem", 6: "stdio", 7: "virtualPerfCounter", 10: "procStat", 13: "bpfMap", 14: "pidFd" };

const is = (...sizes) => n => sizes.includes(n);
const from = (least, step, most = Infinity) => n => n >= least && n <= most && n % step === 0;
const x86Sets = { 0x200: is(16, 32, 48), 0x202: from(576, 8), 0x46e62b7f: is(512) };
const breakpoints = n => n >= 8 && n <= 8 + 16 * 16 && n % 16 === 8;
const registerSizes = {
  [x86_64]: { ...x86Sets, 1: is(216, 68), 2: is(512, 108), 0x201: from(8, 8, 8192), 0x204: is(8) },
  [i386]: { ...x86Sets, 1: is(68), 2: is(108), 0x201: from(4, 4, 8192) },
  [aarch64]: {
    1: is(272, 72), 2: is(528), 0x400: is(260), 0x401: is(8, 16), 0x402: breakpoints, 0x403: breakpoints, 0x404: is(4),
    0x405: from(16, 4), 0x40b: from(16, 4), 0x40c: from(16, 4), 0x406: is(16), 0x408: is(16), 0x407: is(64),
    0x409: is(8), 0x40a: is(8), 0x40e: is(8), 0x40f: is(8), 0x40d: is(64), 0x410: is(24),
  },
};
