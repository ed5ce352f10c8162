// The manifest as a Cap'n Proto message: its layout and canonical form (format.md, "Manifest"), decoding by layout.mjs, and the
// rules that hold for values in general (model.md, "Conventions").
import { structs, enums, enumSince } from "./layout.mjs";

const nothing = new Uint8Array(0), none = Object.freeze([]), unbroken = Object.freeze(new Set());
const maxLevel = 64, maxSizeless = 1 << 20;

export class Message {
  /** bytes: the section, framing included. */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.base = 8;
    this.words = Math.floor((bytes.length - 8) / 8);
    this.canonical = true;
  }
  low(w) { return this.view.getUint32(this.base + 8 * w, true); }
  high(w) { return this.view.getUint32(this.base + 8 * w + 4, true); }
  zeroWord(w) { return this.low(w) === 0 && this.high(w) === 0; }

  /** Walks all pointers. False where the layout is not the one of format.md; sets canonical. */
  checkLayout() {
    if (this.bytes.length < 16 || this.bytes.length % 8) return false;
    if (this.view.getUint32(0, true) !== 0 || this.view.getUint32(4, true) !== this.words) return false;
    this.next = 1;
    this.sizeless = 0;
    return this.#walk(0, 0) && this.next === this.words;
  }
  #walk(w, level) {
    const lo = this.low(w), hi = this.high(w);
    if (lo === 0 && hi === 0) return true;
    if (level > maxLevel) return false;
    const kind = lo & 3, offset = lo >> 2, target = w + 1 + offset;
    if (kind === 0) {
      const data = hi & 0xffff, pointers = hi >>> 16;
      if (data + pointers === 0) return offset === -1;
      if (target !== this.next || target + data + pointers > this.words) return false;
      this.next += data + pointers;
      if (data && this.zeroWord(target + data - 1)) this.canonical = false;
      if (pointers && this.zeroWord(target + data + pointers - 1)) this.canonical = false;
      for (let i = 0; i < pointers; i++) if (!this.#walk(target + data + i, level + 1)) return false;
      return true;
    }
    if (kind !== 1 || target !== this.next) return false;
    const size = hi & 7, count = hi >>> 3;
    if (size === 7) {
      if (target + 1 + count > this.words) return false;
      const tagLow = this.low(target), tagHigh = this.high(target);
      if (tagLow & 3) return false;
      const elements = tagLow >>> 2, data = tagHigh & 0xffff, pointers = tagHigh >>> 16, step = data + pointers;
      if (elements * step !== count) return false;
      this.next += 1 + count;
      if (!elements) this.canonical = false;
      if (!step) return (this.sizeless += elements) <= maxSizeless;
      if (elements) {
        let dataUsed = !data, pointerUsed = !pointers;
        for (let e = 0, at = target + 1; e < elements && !(dataUsed && pointerUsed); e++, at += step) {
          if (!dataUsed && !this.zeroWord(at + data - 1)) dataUsed = true;
          if (!pointerUsed && !this.zeroWord(at + step - 1)) pointerUsed = true;
        }
        if (!dataUsed || !pointerUsed) this.canonical = false;
      }
      if (pointers)
        for (let e = 0, at = target + 1 + data; e < elements; e++, at += step)
          for (let i = 0; i < pointers; i++) if (!this.#walk(at + i, level + 1)) return false;
      return true;
    }
    if (!count) this.canonical = false;
    if (size === 0) return (this.sizeless += count) <= maxSizeless;
    if (size === 6) {
      if (target + count > this.words) return false;
      this.next += count;
      for (let i = 0; i < count; i++) if (!this.#walk(target + i, level + 1)) return false;
      return true;
    }
    const bits = count * [0, 1, 8, 16, 32, 64][size], words = Math.ceil(bits / 64);
    if (target + words > this.words) return false;
    this.next += words;
    if (bits % 64) {
      const last = this.view.getBigUint64(this.base + 8 * (target + words - 1), true);
      if (last >> BigInt(bits % 64)) this.canonical = false;
    }
    return true;
  }

  /** A struct's place, or null; undefined where the pointer is no struct pointer. */
  struct(w) {
    const lo = this.low(w), hi = this.high(w);
    if (lo === 0 && hi === 0) return null;
    if (lo & 3) return undefined;
    return { at: w + 1 + (lo >> 2), data: hi & 0xffff, pointers: hi >>> 16 };
  }

  /** Canonical form, without framing, of the struct that the pointer at w refers to, as a message of its own. */
  canonicalForm(w) {
    const out = new Uint8Array(8 * (this.words + 1)), view = new DataView(out.buffer);
    let next = 1;
    const empty = p => {
      const lo = this.low(p), hi = this.high(p);
      if (lo === 0 && hi === 0) return true;
      if ((lo & 3) !== 1) return false;
      if ((hi & 7) === 7) return this.low(p + 1 + (lo >> 2)) >>> 2 === 0;
      return hi >>> 3 === 0;
    };
    const put = (at, lo, hi) => { view.setUint32(8 * at, lo >>> 0, true); view.setUint32(8 * at + 4, hi >>> 0, true); };
    const copyBytes = (to, from, length) => out.set(this.bytes.subarray(this.base + 8 * from, this.base + 8 * from + length), 8 * to);
    const used = (at, data, pointers) => {
      let d = data, p = pointers;
      while (d && this.zeroWord(at + d - 1)) d--;
      while (p && empty(at + data + p - 1)) p--;
      return [d, p];
    };
    const copy = (to, from) => {
      if (empty(from)) return;
      const lo = this.low(from), hi = this.high(from), target = from + 1 + (lo >> 2);
      if ((lo & 3) === 0) {
        const data = hi & 0xffff, [d, p] = used(target, data, hi >>> 16);
        if (d + p === 0) return put(to, 0xfffffffc, 0);
        const at = next;
        next += d + p;
        put(to, (at - to - 1) << 2, d | (p << 16));
        copyBytes(at, target, 8 * d);
        for (let i = 0; i < p; i++) copy(at + d + i, target + data + i);
        return;
      }
      const size = hi & 7, count = hi >>> 3, at = next;
      const pointer = (size, count) => put(to, ((at - to - 1) << 2) | 1, ((count << 3) | size) >>> 0);
      if (size === 7) {
        const elements = this.low(target) >>> 2, tag = this.high(target), data = tag & 0xffff, pointers = tag >>> 16, step = data + pointers;
        let d = 0, p = 0;
        if (step)
          for (let e = 0; e < elements && (d < data || p < pointers); e++) {
            const [dd, pp] = used(target + 1 + e * step, data, pointers);
            if (dd > d) d = dd;
            if (pp > p) p = pp;
          }
        pointer(7, elements * (d + p));
        put(at, elements << 2, d | (p << 16));
        next += 1 + elements * (d + p);
        if (d + p === 0) return;
        for (let e = 0; e < elements; e++) copyBytes(at + 1 + e * (d + p), target + 1 + e * step, 8 * d);
        if (p)
          for (let e = 0; e < elements; e++)
            for (let i = 0; i < p; i++) copy(at + 1 + e * (d + p) + d + i, target + 1 + e * step + data + i);
        return;
      }
      pointer(size, count);
      if (size === 6) {
        next += count;
        for (let i = 0; i < count; i++) copy(at + i, target + i);
        return;
      }
      const bits = count * [0, 1, 8, 16, 32, 64][size];
      next += Math.ceil(bits / 64);
      copyBytes(at, target, bits >> 3 === bits / 8 ? bits / 8 : Math.ceil(bits / 8));
      if (bits % 8) out[8 * at + Math.floor(bits / 8)] &= (1 << (bits % 8)) - 1;
    };
    copy(0, w);
    return out.subarray(0, 8 * next);
  }
}

// ---- decoding by the schema ----

const listOf = type => /^List\((.*)\)$/.exec(type)?.[1];
const numberSize = { Bool: 1, Int8: 2, UInt8: 2, Int16: 3, UInt16: 3, Int32: 4, UInt32: 4, Int64: 5, UInt64: 5 };
const bytesOf = { Int8: 1, UInt8: 1, Int16: 2, UInt16: 2, Int32: 4, UInt32: 4, Int64: 8, UInt64: 8 };
export const isEnum = type => type in enums;

// Of every struct, for each arm (or -1 without union), which bits and pointers are defined.
for (const s of Object.values(structs)) {
  s.arms = new Map();
  for (const f of s.fields) {
    const dot = f.name.indexOf(".");
    f.group = dot < 0 ? null : f.name.slice(0, dot);
    f.key = dot < 0 ? f.name : f.name.slice(dot + 1);
    f.item = listOf(f.type);
    if (f.arm !== undefined) s.arms.set(f.arm, f.group ?? f.key);
  }
  s.defined = new Map(); // by minor version and arm
  for (const minor of [0, 1]) for (const arm of s.tag < 0 ? [-1] : s.arms.keys()) {
    const mask = new Uint8Array(8 * s.words), pointers = new Set();
    if (s.tag >= 0) mask[s.tag] = mask[s.tag + 1] = 0xff;
    for (const f of s.fields) {
      if ((f.arm !== undefined && f.arm !== arm) || (f.since ?? 0) > minor) continue;
      if (f.pointer !== undefined) pointers.add(f.pointer);
      else if (f.bit !== undefined) mask[f.byte] |= 1 << f.bit;
      else if (f.type !== "Void") mask.fill(0xff, f.byte, f.byte + (bytesOf[f.type] ?? 2));
    }
    s.defined.set(`${minor} ${arm}`, { mask, pointers });
  }
}

const fatal = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
export function utf8(bytes) {
  try { return fatal.decode(bytes); } catch { return null; }
}

/**
 * Decodes a struct into an object: 64-bit integers are BigInt, Text and Data Uint8Array, enums numbers, groups objects. A field that the
 * message does not hold in the schema's form is left at its default and named in the object's broken set.
 */
export class Decoder {
  constructor(message, say, { judgeUndefined, newer, minor }) {
    Object.assign(this, { message, say, judgeUndefined, newer, minor: Math.min(minor, 1), undefinedAt: [], sawNewer: false });
  }
  root(type) {
    const place = this.message.struct(0);
    if (place === undefined) { this.say("manifest.message", type); return undefined; }
    return this.struct(type, place ?? { at: 1, data: 0, pointers: 0 }, "");
  }
  struct(type, place, path) {
    const s = structs[type], { view, base } = this.message, start = base + 8 * place.at, length = 8 * place.data;
    const object = { broken: unbroken };
    let arm = -1, armName;
    if (s.tag >= 0) {
      arm = s.tag + 2 <= length ? view.getUint16(start + s.tag, true) : 0;
      armName = s.arms.get(arm);
      object.which = armName ?? arm;
      if (armName === undefined) this.#unknown(path);
      else if (s.fields.some(f => f.arm === arm && f.group)) object[armName] = {};
    }
    for (const f of s.fields) {
      if (f.arm !== undefined && f.arm !== arm) continue;
      if (f.type === "Void") continue;
      const into = f.group ? object[f.group] : object, where = path ? `${path}.${f.name}` : f.name;
      if (f.pointer === undefined) {
        let v = this.#number(f.type, start, length, f.byte, f.bit);
        if (f.default !== undefined) v = applyDefault(f.type, v, f.default);
        into[f.key] = v;
        if (isEnum(f.type) && (enums[f.type][v] === undefined || (enumSince[f.type]?.[v] ?? 0) > this.minor)) this.#unknown(where);
        if (f.notNegative && v < 0) this.say("value.negative", where);
        continue;
      }
      const w = f.pointer < place.pointers ? place.at + place.data + f.pointer : -1;
      const v = this.#reference(f, w, where);
      if (v === undefined) {
        if (object.broken === unbroken) object.broken = new Set();
        object.broken.add(f.name);
        this.say("manifest.message", where);
        into[f.key] = f.item ? none : structs[f.type] ? null : nothing;
      } else {
        into[f.key] = v;
        if (v === null && f.required) {
          this.say("value.missing", where);
          if (f.type !== "State") into[f.key] = this.struct(f.type, { at: 1, data: 0, pointers: 0 }, where);
        }
      }
    }
    if (this.judgeUndefined && !(s.tag >= 0 && armName === undefined)) {
      const { mask, pointers } = s.defined.get(`${this.minor} ${s.tag < 0 ? -1 : arm}`), bytes = this.message.bytes;
      for (let i = 0; i < length; i++)
        if (bytes[start + i] & ~(i < mask.length ? mask[i] : 0)) { this.#beyond(path); break; }
      for (let i = 0; i < place.pointers; i++)
        if (!pointers.has(i) && !this.message.zeroWord(place.at + place.data + i)) { this.#beyond(path); break; }
    }
    return object;
  }
  #beyond(path) { if (this.undefinedAt.length < 20) this.undefinedAt.push(path); }
  #unknown(where) {
    if (this.newer) this.sawNewer = true;
    this.say(this.newer ? "value.newer" : "value.unknown", where);
  }
  #number(type, start, length, byte, bit) {
    const { view, bytes } = this.message, at = start + byte;
    if (bit !== undefined) return byte < length ? ((bytes[at] >> bit) & 1) === 1 : false;
    const inside = byte + (bytesOf[type] ?? 2) <= length;
    switch (type) {
      case "UInt64": return inside ? view.getBigUint64(at, true) : 0n;
      case "Int64": return inside ? view.getBigInt64(at, true) : 0n;
    }
    if (!inside) return 0;
    switch (type) {
      case "Int8": return view.getInt8(at);
      case "UInt8": return view.getUint8(at);
      case "Int16": return view.getInt16(at, true);
      case "Int32": return view.getInt32(at, true);
      case "UInt32": return view.getUint32(at, true);
      default: return view.getUint16(at, true);
    }
  }
  /** What a pointer field refers to; undefined where its form is not the schema's. w < 0: absent. */
  #reference(f, w, where) {
    const absent = w < 0 || this.message.zeroWord(w);
    if (f.item !== undefined) {
      if (absent) return none;
      return this.#list(f, w, where);
    }
    if (f.type === "Data" || f.type === "Text") return absent ? nothing : this.#blob(f.type, w, f.text, where);
    if (absent) return null;
    const place = this.message.struct(w);
    return place === undefined ? undefined : this.struct(f.type, place, where);
  }
  #blob(type, w, text, where) {
    const m = this.message, lo = m.low(w), hi = m.high(w);
    if ((lo & 3) !== 1 || (hi & 7) !== 2) return undefined;
    const count = hi >>> 3, start = m.base + 8 * (w + 1 + (lo >> 2));
    let bytes = m.bytes.subarray(start, start + count);
    if (type === "Text") {
      if (!count || bytes[count - 1] !== 0) return undefined;
      if (count === 1) this.say("value.text", where);
      bytes = bytes.subarray(0, count - 1);
      if (bytes.includes(0) || utf8(bytes) === null) this.say("value.text", where);
    } else if (text && bytes.includes(0)) this.say("value.nul", where);
    return bytes;
  }
  #list(f, w, where) {
    const m = this.message, lo = m.low(w), hi = m.high(w), size = hi & 7, count = hi >>> 3, item = f.item;
    if ((lo & 3) !== 1) return undefined;
    const target = w + 1 + (lo >> 2), out = [];
    if (structs[item]) {
      if (size !== 7) return undefined;
      const elements = m.low(target) >>> 2, tag = m.high(target), data = tag & 0xffff, pointers = tag >>> 16;
      for (let e = 0, at = target + 1; e < elements; e++, at += data + pointers)
        out.push(this.struct(item, { at, data, pointers }, `${where}[${e}]`));
      return out;
    }
    if (item === "Data" || item === "Text") {
      if (size !== 6) return undefined;
      for (let i = 0; i < count; i++) {
        const place = `${where}[${i}]`;
        let v = m.zeroWord(target + i) ? nothing : this.#blob(item, target + i, f.text, place);
        if (v === undefined) { this.say("manifest.message", place); v = nothing; }
        out.push(v);
      }
      return out;
    }
    if (size !== numberSize[item]) return undefined;
    const start = m.base + 8 * target, width = bytesOf[item];
    for (let i = 0; i < count; i++) {
      const v = this.#number(item, start, Infinity, i * width);
      if (f.notNegative && v < 0) this.say("value.negative", `${where}[${i}]`);
      out.push(v);
    }
    return out;
  }
}

function applyDefault(type, v, text) {
  const d = BigInt(text);
  switch (type) {
    case "UInt64": return BigInt.asUintN(64, v ^ d);
    case "Int64": return BigInt.asIntN(64, v ^ d);
    case "UInt32": return (v ^ Number(d)) >>> 0;
    case "Int32": return v ^ Number(d);
    case "UInt16": return (v ^ Number(d)) & 0xffff;
    case "UInt8": return (v ^ Number(d)) & 0xff;
    default: throw new Error("default of " + type);
  }
}
