// Makes layout.mjs from the tables of spec/field-offsets.md:  node make-layout.mjs ../spec/field-offsets.md > layout.mjs
import { readFileSync } from "node:fs";

const structs = {}, enums = {}, enumSince = {};
let current = null, inEnums = false;
for (const line of readFileSync(process.argv[2], "utf8").split("\n")) {
  let m;
  if ((m = /^## (\S+)$/.exec(line))) {
    inEnums = m[1] === "Enumerations";
    current = inEnums ? null : (structs[m[1]] = { name: m[1], words: 0, pointers: 0, tag: -1, fields: [] });
  } else if (current && (m = /^Size: (\d+) words? of data, (\d+) pointers?\.$/.exec(line))) {
    current.words = +m[1]; current.pointers = +m[2];
  } else if (current && line.startsWith("| `")) {
    const [, name, type, at, def, arm, marks] = line.split("|").map(s => s.trim());
    const f = { name: name.slice(1, -1), type };
    if ((m = /^p(\d+)$/.exec(at))) f.pointer = +m[1];
    else if ((m = /^(\d+) bit (\d+)$/.exec(at))) { f.byte = +m[1]; f.bit = +m[2]; }
    else if ((m = /^(\d+)$/.exec(at))) f.byte = +m[1];
    else if (type !== "Void") throw new Error("at: " + line);
    if (def) f.default = def;
    if ((m = /^byte (\d+): (\d+)$/.exec(arm))) { current.tag = +m[1]; f.arm = +m[2]; }
    else if (arm) throw new Error("arm: " + line);
    for (const k of marks.split(/[, ]+/)) if ((m = /^since1\.(\d+)$/.exec(k))) f.since = +m[1]; else if (k) f[k] = true;
    current.fields.push(f);
  } else if (inEnums && (m = /^- `(\S+)`: (.*)$/.exec(line))) {
    for (const [, n, minor] of m[2].matchAll(/(\d+) \S+ \(since1\.(\d+)\)/g)) (enumSince[m[1]] ??= {})[n] = +minor;
    enums[m[1]] = m[2].split(", ").map(s => s.split(" ")).sort((a, b) => a[0] - b[0]).map(p => p[1]);
  }
}
const rows = o => Object.entries(o).map(([k, v]) => `  ${JSON.stringify(k)}: ${JSON.stringify(v)},`).join("\n");
console.log(`// Where every field lies. Made from spec/field-offsets.md by make-layout.mjs; do not edit.
export const structs = {\n${rows(structs)}\n};\nexport const enums = {\n${rows(enums)}\n};
// The minor version that brought an enumerant, where it is not 0.
export const enumSince = {\n${rows(enumSince)}\n};`);
