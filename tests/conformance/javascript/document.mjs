// A checkpoint as one JSON document (inspect-json.md).
import { structs, enums } from "./layout.mjs";
import { utf8, isEnum } from "./message.mjs";
import { hex, streamHash128 } from "./hashes.mjs";
import { Unreadable } from "./container.mjs";
import { findBase } from "./bases.mjs";

const maxHashedPages = 1 << 20;

const text = bytes => utf8(bytes) ?? { bytes: hex(bytes) };

function value(type, v, f) {
  if (f.item !== undefined && type === f.type) return v.map(e => value(f.item, e, f));
  if (type === "Text") return text(v);
  if (type === "Data") return f.text ? text(v) : hex(v);
  if (structs[type]) return v === null ? null : struct(type, v);
  if (isEnum(type)) return enums[type][v] ?? v;
  return typeof v === "bigint" ? v.toString() : v;
}
function struct(type, object) {
  const s = structs[type], out = {};
  if (s.tag >= 0) {
    out.which = object.which;
    if (typeof object.which === "string" && object[object.which] !== undefined) out[object.which] = {};
  }
  for (const f of s.fields) {
    if (f.type === "Void") continue;
    if (f.arm !== undefined && s.arms.get(f.arm) !== object.which) continue;
    if (f.group) out[f.group][f.key] = value(f.type, object[f.group][f.key], f);
    else out[f.key] = value(f.type, object[f.key], f);
  }
  return out;
}
const plain = o => Object.fromEntries(Object.entries(o).map(([k, v]) => [k, typeof v === "bigint" ? v.toString() : v instanceof Uint8Array ? hex(v) : v]));

export async function makeDocument(container, manifest, withContents, directory) {
  const { header, footer, sections, chunks } = container;
  const f = plain({ ...footer, checkpointId: footer.checkpointId.subarray(0, 16) });
  delete f.headerChecksum;
  return {
    document: "org.rrpcp.checkpoint", documentVersion: 1,
    header: plain(header), footer: f, sections: sections.map(plain), chunks: chunks.map(plain),
    manifest: struct("Manifest", manifest),
    contents: withContents ? await contents(container, manifest.state, directory) : null,
  };
}

async function contents(container, state, directory) {
  let hashed = 0;
  const found = new Map();
  const baseOf = source => {
    if (!found.has(source)) {
      const { base, code } = findBase(container, state.bases[source], directory);
      if (!base) throw new Unreadable(`base ${source}: ${code}`);
      found.set(source, base.container);
    }
    return found.get(source);
  };
  const digest = async runs => {
    const h = await streamHash128(), number = new Uint8Array(8), view = new DataView(number.buffer);
    let page = 0n, stored = 0n;
    for (const r of runs) {
      if (r.kind === 1 || r.kind === 5)
        for (let i = 0n; i < r.pages; i++) {
          if (++hashed > maxHashedPages) throw new Unreadable(`more than ${maxHashedPages} stored pages`);
          const bytes = (r.kind === 1 ? container : baseOf(r.source)).page(Number(r.first + i));
          if (!bytes) throw new Unreadable(`page ${r.first + i} cannot be read`);
          if (!bytes.some(b => b)) continue;
          view.setBigUint64(0, page + i, true);
          h.update(number);
          h.update(bytes);
          stored++;
        }
      page += r.pages;
    }
    return { storedPages: stored.toString(), digest: hex(h.digest()) };
  };
  const out = { addressSpaces: [], memoryObjects: [] };
  for (const space of state.addressSpaces) {
    const mappings = [];
    for (const m of space.mappings) mappings.push({ start: m.start.toString(), ...(await digest(m.runs)) });
    out.addressSpaces.push({ mappings });
  }
  for (const o of state.memoryObjects) out.memoryObjects.push(await digest(o.runs));
  return out;
}
