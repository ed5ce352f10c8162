#!/usr/bin/env node
// node reader.mjs document FILE [--no-contents] | validate FILE [--details] | check DIR
import { readFileSync, readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { validate } from "./validate.mjs";
import { makeDocument } from "./document.mjs";
import { Unreadable } from "./container.mjs";
import { severities } from "./severities.mjs";
import { structs } from "./layout.mjs";

const isError = code => (severities[code] ?? "error") === "error";

async function documentOf(bytes, contents, directory) {
  const { codes, container, manifest } = validate(bytes, { directory });
  const errors = codes.filter(isError);
  if (errors.length || !manifest?.state) throw new Unreadable("the file is invalid: " + errors.join(" "));
  return makeDocument(container, manifest, contents, directory);
}

// Released files that say "newer than this reader" and no more, since when this reader knows what is in them.
const knownSince = new Set(["1.0 header.newer-minor.pcp", "1.0 header.incompatible-feature.pcp"]);

/** The first place at which two documents differ, or null; `a` may have the fields of `newer`. */
function difference(a, b, newer, path = "$") {
  if (Object.is(a, b)) return null;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null || Array.isArray(a) !== Array.isArray(b))
    return `${path}: ${JSON.stringify(a)?.slice(0, 80)} instead of ${JSON.stringify(b)?.slice(0, 80)}`;
  for (const k of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (newer.has(k) && !(k in b)) continue;
    const d = !(k in a) ? `${path}.${k} is missing` : !(k in b) ? `${path}.${k} is not expected` : difference(a[k], b[k], newer, `${path}.${k}`);
    if (d) return d;
  }
  return null;
}

async function check(dir) {
  let passed = 0, failed = 0;
  const fail = (name, why) => { failed++; console.log(`FAIL ${name}: ${why}`); };
  const version = basename(resolve(dir)), minor = +version.split(".")[1];
  const newer = new Set(Object.values(structs).flatMap(s => s.fields).filter(f => (f.since ?? 0) > minor).map(f => f.name));
  // A file without a dot in its name belongs to others.
  const cases = part => readdirSync(join(dir, part)).filter(f => f.endsWith(".pcp") && (part === "valid" || f.split(".").length > 2)).sort();
  for (const file of cases("valid")) {
    const name = join("valid", file);
    try {
      const expected = JSON.parse(readFileSync(join(dir, name.replace(/\.pcp$/, ".json")), "utf8"));
      const document = await documentOf(readFileSync(join(dir, name)), expected.contents !== null, join(dir, "valid"));
      const d = difference(document, expected, newer);
      if (d) fail(name, d);
      else passed++;
    } catch (e) { fail(name, e instanceof Unreadable ? e.message : e.stack); }
  }
  for (const file of cases("invalid")) {
    const name = join("invalid", file);
    try {
      const expected = knownSince.has(`${version} ${file}`) ? []
        : [...JSON.parse(readFileSync(join(dir, name.replace(/\.pcp$/, ".json")), "utf8")).codes].sort();
      const { codes, findings } = validate(readFileSync(join(dir, name)), { directory: join(dir, "invalid") });
      if (isDeepStrictEqual(codes, expected)) passed++;
      else fail(name, `[${codes}] instead of [${expected}] (${findings.map(f => f.code + (f.where ? " at " + f.where : "")).join("; ")})`);
    } catch (e) { fail(name, e.stack); }
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed ? 1 : 0;
}

async function main([command, path, option]) {
  switch (path === undefined ? "" : command) {
    case "document":
      process.stdout.write(JSON.stringify(await documentOf(readFileSync(path), option !== "--no-contents", dirname(path)), null, 1) + "\n");
      return 0;
    case "validate": {
      const { codes, findings } = validate(readFileSync(path), { directory: dirname(path) });
      if (option === "--details") for (const f of findings) console.error(`${f.code}${f.where ? ` at ${f.where}` : ""}`);
      process.stdout.write(codes.map(c => c + "\n").join(""));
      return codes.some(isError) ? 1 : 0;
    }
    case "check":
      return check(path);
  }
  console.error("usage: reader.mjs document FILE [--no-contents] | validate FILE [--details] | check DIR");
  return 2;
}
try {
  process.exitCode = await main(process.argv.slice(2));
} catch (e) {
  console.error(e instanceof Unreadable || e.code ? e.message : e.stack);
  process.exitCode = 2;
}
