// Header, footer, section directory, chunk table and page data of a checkpoint file (format.md), with the findings of validation.md
// that concern them and what is no longer judged after which.
import { xxh3_64, digest32, sha256, equal, hex } from "./hashes.mjs";
import { decodeFrame } from "./frame.mjs";

export class Unreadable extends Error {}

const magic = [0x89, 0x50, 0x43, 0x50, 0x0d, 0x0a, 0x1a, 0x0a];
const endMagic = [0x89, 0x50, 0x43, 0x50, 0x45, 0x4e, 0x44, 0x0a];
const knownIncompatible = 3n, knownReadOnly = 0n, knownCompatible = 0n, knownMinor = 1;
const chunkTable = 1, manifest = 2, seal = 3;
const sectionFlags = { [chunkTable]: 1, [manifest]: 1, [seal]: 2 };
const MiB = 1 << 20, maxStream = (1n << 63n) - 1n;
const align8 = n => n % 8n ? n + 8n - n % 8n : n;

export class Container {
  constructor(bytes, say) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.say = say;
    this.cache = new Map();
    this.chunks = null;          // entries of the chunk table, as far as they are judged
    this.sections = null;
    this.manifestBytes = null;
    this.chunkTableIntact = false;
    this.badChunks = new Set();  // numbers of chunks whose bytes are not to be used
    this.fullyKnown = true;
    this.#judge();
  }
  zero(from, to) {
    const b = this.bytes;
    for (let i = from; i < to; i++) if (b[i]) return false;
    return true;
  }

  #judge() {
    const { bytes, say } = this;
    const found = this.#header();
    if (found === "stop") return;
    const footer = this.#footer();
    if (found === "footer only" || !footer) return;
    this.#sections();
  }

  #header() {
    const { bytes, view, say } = this;
    const begins = magic.every((b, i) => i >= bytes.length || bytes[i] === b);
    if (bytes.length < 256) {
      say(begins ? "header.truncated" : "header.magic");
      return "stop";
    }
    const stored = view.getBigUint64(248, true);
    const right = bytes.slice(0, 248);
    right.set(magic);
    const checksum = xxh3_64(right);
    if (!begins) {
      say("header.magic");
      if (checksum !== stored) return "stop";
    }
    if (checksum !== stored) { say("header.checksum"); return "footer only"; }
    const h = this.header = {
      major: view.getUint16(8, true), minor: view.getUint16(10, true),
      incompatibleFeatures: view.getBigUint64(16, true), readOnlyCompatibleFeatures: view.getBigUint64(24, true),
      compatibleFeatures: view.getBigUint64(32, true), traceUuid: bytes.subarray(40, 56),
      event: view.getBigInt64(56, true), ticks: view.getBigInt64(64, true), markEvent: view.getBigInt64(72, true),
      order: view.getUint32(80, true), positionKind: view.getUint16(84, true), machine: view.getUint16(86, true),
      pageSize: view.getUint32(88, true), chunkPages: view.getUint32(92, true), markTicks: view.getBigInt64(96, true),
      instructions: view.getBigUint64(104, true), currentTask: view.getInt32(112, true),
      elfClass: bytes[116], dataEncoding: bytes[117], digestAlgorithm: view.getUint16(118, true), checksum: stored,
    };
    if (h.major !== 1) { say("header.version"); return "stop"; }
    const unknownReadOnly = (h.readOnlyCompatibleFeatures & ~knownReadOnly) !== 0n;
    const unknownCompatible = (h.compatibleFeatures & ~knownCompatible) !== 0n;
    const unknownIncompatible = (h.incompatibleFeatures & ~knownIncompatible) !== 0n;
    this.reservedJudged = !unknownReadOnly && !unknownCompatible;
    this.fullyKnown = h.minor <= knownMinor && this.reservedJudged && !unknownIncompatible;
    if (h.minor > knownMinor) say("header.newer-minor");
    if (unknownReadOnly) say("header.read-only-feature");
    if (unknownCompatible) say("header.compatible-feature");
    if (unknownIncompatible) { say("header.incompatible-feature"); return "stop"; }
    if (view.getUint32(12, true) !== 256) { say("header.length"); this.header = null; return "footer only"; }
    if (h.positionKind > 3 && this.fullyKnown) say("header.position-kind");
    if (h.event < 0n || h.markEvent < h.event) say("header.event");
    if (h.machine === 0) say("header.machine");
    if (this.reservedJudged && !this.zero(120, 248)) say("header.reserved");
    let usable = true;
    const p = h.pageSize;
    if (p < 4096 || p > 2 * MiB || (p & (p - 1))) { say("header.page-size"); usable = false; }
    if (h.chunkPages < 1 || h.chunkPages > 4096 || (usable && p * h.chunkPages > 16 * MiB)) { say("header.chunk-pages"); usable = false; }
    if (h.digestAlgorithm !== 1) { say("header.digest-algorithm"); usable = false; }
    return usable ? "go on" : "footer only";
  }

  /** Finds the footer, says what it says by itself; true where all that it finds may be judged. */
  #footer() {
    const { bytes, view, say, header: h } = this, size = bytes.length;
    if (size < 256 + 160) { say("footer.missing"); return false; }
    const length = view.getUint32(size - 24, true);
    const possible = length >= 160 && length <= 4096 && length % 8 === 0 && length <= size - 256;
    const start = size - length;
    const sound = possible && xxh3_64(bytes.subarray(start, size - 16)) === view.getBigUint64(size - 16, true);
    const closed = endMagic.every((b, i) => bytes[size - 8 + i] === b);
    if (!closed) say(sound ? "footer.magic" : "footer.missing");
    else if (!sound) say("footer.checksum");
    if (!sound) return false;
    if (view.getUint16(size - 20, true) !== 1) { say("footer.version"); return false; }
    const f = this.footer = {
      directoryOffset: view.getBigUint64(start, true), sectionCount: view.getUint32(start + 8, true),
      sectionEntrySize: view.getUint32(start + 12, true), directoryDigest: bytes.subarray(start + 16, start + 48),
      checkpointId: bytes.subarray(start + 48, start + 80), pageCount: view.getBigUint64(start + 80, true),
      chunkCount: view.getBigUint64(start + 88, true), chunkEntrySize: view.getUint32(start + 96, true),
      headerChecksum: view.getBigUint64(start + 104, true), fileLength: view.getBigUint64(start + 112, true), footerLength: length,
    };
    this.footerStart = start;
    let usable = true;
    if (f.fileLength !== BigInt(size)) { say("footer.file-length"); usable = false; }
    if (!h || h.digestAlgorithm !== 1 || h.pageSize < 4096 || h.pageSize > 2 * MiB || (h.pageSize & (h.pageSize - 1)) ||
        h.chunkPages < 1 || h.chunkPages > 4096 || h.pageSize * h.chunkPages > 16 * MiB) return false;
    if (f.headerChecksum !== h.checksum) { say("footer.header-checksum"); return false; }
    if (this.fullyKnown && length !== 160) say("footer.length");
    if (this.reservedJudged && !(this.zero(start + 100, start + 104) && this.zero(start + 120, start + 136) && this.zero(size - 18, size - 16)))
      say("footer.reserved");
    if (f.pageCount * BigInt(h.pageSize) > maxStream) { say("footer.page-count"); usable = false; }
    else if (f.chunkCount !== (f.pageCount + BigInt(h.chunkPages) - 1n) / BigInt(h.chunkPages)) { say("footer.chunk-count"); usable = false; }
    const impossible = (n, least) => n < least || n > 4096 || n % 8 !== 0 || (this.fullyKnown && n !== least);
    if (impossible(f.chunkEntrySize, 40)) { say("footer.chunk-entry-size"); usable = false; }
    if (impossible(f.sectionEntrySize, 64)) { say("footer.section-entry-size"); usable = false; }
    else if (f.sectionCount < 1 || f.sectionCount > 1024 || f.directoryOffset % 8n || f.directoryOffset < 256n ||
             f.directoryOffset + BigInt(f.sectionCount * f.sectionEntrySize) !== BigInt(start)) { say("footer.directory"); usable = false; }
    return usable;
  }

  #sections() {
    const { bytes, view, say, footer: f } = this, directory = Number(f.directoryOffset);
    if (!equal(digest32(bytes.subarray(directory, this.footerStart)), f.directoryDigest)) { say("directory.digest"); return; }
    this.sections = [];
    let usable = true, placed = true, end = null;
    const seen = new Map();
    for (let i = 0; i < f.sectionCount; i++) {
      const at = directory + i * f.sectionEntrySize;
      const s = {
        kind: view.getUint32(at, true), flags: view.getUint32(at + 4, true), offset: view.getBigUint64(at + 8, true),
        sectionLength: view.getBigUint64(at + 16, true), digest: bytes.subarray(at + 32, at + 64),
      };
      this.sections.push(s);
      if (s.kind === 0) { say("section.kind"); usable = false; }
      else {
        const want = sectionFlags[s.kind], known = want !== undefined;
        const flags = this.fullyKnown ? s.flags : s.flags & 3;
        if (known ? flags !== want : flags >>> 2) say("section.flags");
        if (this.reservedJudged && !this.zero(at + 24, at + 32)) say("section.reserved");
        if (known) {
          if (seen.has(s.kind)) { say("section.duplicate"); usable = false; this.duplicate = true; }
          else seen.set(s.kind, s);
        } else if (s.flags & 1) { say("section.must-understand"); usable = false; }
        else say("section.unknown");
      }
      if (!placed) continue;
      if (s.offset % 8n || s.offset + s.sectionLength > f.directoryOffset || s.offset < 256n || (end !== null && s.offset !== align8(end))) {
        say("section.offset");
        placed = usable = false;
        continue;
      }
      if (end !== null && !this.zero(Number(end), Number(s.offset))) say("page-data.padding");
      end = s.offset + s.sectionLength;
    }
    if (placed) {
      if (align8(end) !== f.directoryOffset) { say("section.offset"); usable = false; }
      else if (!this.zero(Number(end), directory)) say("page-data.padding");
    }
    const table = seen.get(chunkTable), message = seen.get(manifest);
    if (!this.duplicate) {
      if (!table || !message) { say("section.missing"); usable = false; }
      else {
        const n = message.sectionLength;
        if (table.sectionLength !== f.chunkCount * BigInt(f.chunkEntrySize) || n < 16n || n > (1n << 32n) + 8n || n % 8n) {
          say("section.length");
          usable = false;
        }
      }
    }
    if (!usable) return;
    const content = s => bytes.subarray(Number(s.offset), Number(s.offset + s.sectionLength));
    for (const s of this.sections) {
      if (s === table || s === message) continue;
      if (!equal(digest32(content(s)), s.digest)) { say("section.digest"); if (s.kind === seal) this.sealBroken = true; }
    }
    if (!equal(digest32(content(message)), message.digest)) say("manifest.digest");
    else this.manifestBytes = content(message);
    if (!equal(digest32(content(table)), table.digest)) say("chunk-table.digest");
    else this.#chunkTable(Number(table.offset));
    const s = seen.get(seal);
    if (s && !this.sealBroken) this.#seal(content(s));
  }

  #chunkTable(table) {
    const { view, say, header: h, footer: f } = this, count = Number(f.chunkCount), first = Number(this.sections[0].offset);
    const chunks = [];
    let end = 256, usable = true; // behind an entry that is not to be trusted nobody knows where a chunk should lie
    for (let i = 0; i < count; i++) {
      const at = table + i * f.chunkEntrySize;
      const c = {
        offset: view.getBigUint64(at, true), storedLength: view.getUint32(at + 8, true), length: view.getUint32(at + 12, true),
        checksum: view.getBigUint64(at + 16, true), storedChecksum: view.getBigUint64(at + 24, true), codec: view.getUint16(at + 32, true),
      };
      if (this.reservedJudged && !this.zero(at + 34, at + 40)) say("chunk.reserved");
      let good = true;
      const bad = code => { say(code); good = false; };
      const pages = i + 1 < count ? BigInt(h.chunkPages) : f.pageCount - BigInt(i) * BigInt(h.chunkPages);
      if (c.length !== Number(pages) * h.pageSize) bad("chunk.length");
      if (c.codec === 0) {
        if (c.storedLength !== c.length || c.storedChecksum !== c.checksum) bad("chunk.stored-length");
      } else if (c.codec === 1) {
        if (c.storedLength < 1 || c.storedLength >= c.length) bad("chunk.stored-length");
        if (!(h.incompatibleFeatures & 1n)) bad("header.feature-unset");
      } else bad("chunk.codec");
      if (c.codec === 0 && c.offset % BigInt(h.pageSize)) bad("chunk.offset");
      if (good && (c.offset < 256n || c.offset + BigInt(c.storedLength) > BigInt(first))) bad("chunk.offset");
      if (good && usable) {
        const skipped = c.offset - BigInt(end);
        if (c.codec === 0 ? skipped < 0n || skipped >= BigInt(2 * MiB) : skipped !== 0n) bad("chunk.offset");
      }
      if (!good) usable = false;
      if (!usable) continue;
      if (!this.zero(end, Number(c.offset))) say("page-data.padding");
      end = Number(c.offset) + c.storedLength;
      chunks.push(c);
    }
    if (!usable) return;
    this.chunks = chunks;
    this.chunkTableIntact = true;
    if (align8(BigInt(end)) !== BigInt(first)) say("section.offset");
    else if (!this.zero(end, first)) say("page-data.padding");
  }

  #seal(bytes) {
    const { say, footer: f } = this, view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 4) { say("seal.form"); return; }
    if (view.getUint32(0, true) !== 1) { say("seal.algorithm"); return; }
    if (BigInt(bytes.length) !== 40n + 32n * f.chunkCount || view.getUint32(4, true) !== 0) { say("seal.form"); return; }
    this.seal = bytes;
  }

  /** Level "checksums" of the page data and the seal's chunks. */
  judgePages(maxBytes) {
    this.maxDecoded = 4 * maxBytes;
    if (!this.chunks) return;
    let total = 0;
    for (const c of this.chunks) total += c.length;
    if (total > maxBytes) throw new Unreadable(`page data of ${total} bytes is above the limit of ${maxBytes}`);
    this.chunks.forEach((c, i) => {
      const stored = this.stored(c);
      if (xxh3_64(stored) !== c.storedChecksum) { this.say("chunk.stored-checksum", `chunk ${i}`); this.badChunks.add(i); return; }
      const data = c.codec === 0 ? stored : decodeFrame(stored, c.length);
      if (!data) { this.say("chunk.decode", `chunk ${i}`); this.badChunks.add(i); return; }
      if (xxh3_64(data) !== c.checksum) { this.say("chunk.checksum", `chunk ${i}`); this.badChunks.add(i); return; }
      if (this.seal && !equal(sha256(data), this.seal.subarray(40 + 32 * i, 72 + 32 * i))) this.say("seal.chunk", `chunk ${i}`);
    });
  }
  stored(c) { return this.bytes.subarray(Number(c.offset), Number(c.offset) + c.storedLength); }

  /** Bytes of a page of the stream (a number), or null where they cannot be had. */
  page(number) {
    const { header: h } = this, i = Math.floor(number / h.chunkPages), c = this.chunks?.[i];
    if (!c || this.badChunks.has(i)) return null;
    let data = this.cache.get(i);
    if (!data) {
      this.decoded = (this.decoded ?? 0) + c.length;
      if (this.decoded > this.maxDecoded) throw new Unreadable(`more than ${this.maxDecoded} bytes would have to be decoded`);
      data = c.codec === 0 ? this.stored(c) : decodeFrame(this.stored(c), c.length);
      if (!data) { this.badChunks.add(i); return null; }
      if (this.cache.size >= 8) this.cache.delete(this.cache.keys().next().value);
      this.cache.set(i, data);
    }
    const at = (number - i * h.chunkPages) * h.pageSize;
    return data.subarray(at, at + h.pageSize);
  }

  /** The bytes that the checkpoint id covers beside the state: checksums of all chunks. */
  checksums() {
    const out = new Uint8Array(8 * this.chunks.length), view = new DataView(out.buffer);
    this.chunks.forEach((c, i) => view.setBigUint64(8 * i, c.checksum, true));
    return out;
  }
}
export { hex };
