#!/usr/bin/env node
// node read.mjs KSY FILE...: compiles the description KSY with the Kaitai Struct compiler and takes each file apart with
// the parser that comes out. Prints one line of JSON for each: {"document": {header, footer, sections, chunks}} with the
// keys of inspect-json.md, as far as the description has them, or {"refused": WHY}.
import { readFileSync } from "node:fs";
import vm from "node:vm";
import KaitaiStream from "kaitai-struct/KaitaiStream.js";
import KaitaiStructCompiler from "kaitai-struct-compiler";
import YAML from "yaml";

const [description, ...files] = process.argv.slice(2);
const compiled = await KaitaiStructCompiler.compile("javascript", YAML.parse(readFileSync(description, "utf8")), null, false);

// The runtime reads 64 bits as floating point, which is exact to 2^53 only: what is larger becomes a BigInt here, with which
// nothing in a file can be found.
for (const [name, read] of [["readU8le", "getBigUint64"], ["readS8le", "getBigInt64"]]) {
  KaitaiStream.prototype[name] = function () {
    this.ensureBytesLeft(8);
    const value = this._dataView[read](this.pos, true);
    this.pos += 8;
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  };
}

// What is made is a script for browsers and Node alike; this is its place in neither.
const place = { KaitaiStream };
place.globalThis = place.self = place;
for (const text of Object.values(compiled)) vm.runInNewContext(text, place);
const Parser = place.Pcp.Pcp ?? place.Pcp;

const camel = name => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const hex = bytes => Buffer.from(bytes).toString("hex");

/** The fields of a parsed struct; integers as decimal text, whatever their size. */
function plain(value) {
  const out = {};
  for (const [name, field] of Object.entries(value)) {
    if (name.startsWith("_")) continue;
    out[camel(name)] = ArrayBuffer.isView(field) ? hex(field) : String(field);
  }
  return out;
}

function take(bytes) {
  const file = new Parser(new KaitaiStream(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length), 0));
  const footer = plain(file.footer);
  footer.footerLength = String(file.footerEnd.length);
  footer.checkpointId = footer.checkpointId.slice(0, 32); // 16 of the 32 bytes are reserved for longer ones
  const chunks = [];
  const sections = file.sections.map(section => {
    if (section.kind === 1) chunks.push(...section.chunks.map(plain));
    section.bytes; // must lie in the file
    const { length, ...rest } = plain(section);
    return { ...rest, sectionLength: length };
  });
  return { header: plain(file.header), footer, sections, chunks };
}

for (const name of files) {
  try {
    console.log(JSON.stringify({ document: take(readFileSync(name)) }));
  } catch (problem) {
    console.log(JSON.stringify({ refused: String(problem?.message ?? problem) }));
  }
}
