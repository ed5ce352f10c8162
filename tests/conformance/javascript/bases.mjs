// Checkpoints from which others take over pages (series.md): finding them beside the file, and comparing.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Container, Unreadable } from "./container.mjs";
import { Message, Decoder } from "./message.mjs";
import { digest32, sha256, equal, hex } from "./hashes.mjs";

/** A file as far as a base is needed: its container, state and id as computed; throws where it is damaged. */
function load(bytes) {
  const codes = [];
  const container = new Container(bytes, code => codes.push(code));
  container.judgePages(2 ** 28);
  if (codes.length || !container.manifestBytes || !container.chunkTableIntact) throw new Unreadable("damaged: " + codes.join(" "));
  const message = new Message(container.manifestBytes);
  if (!message.checkLayout()) throw new Unreadable("damaged: manifest.layout");
  const root = message.struct(0), form = message.canonicalForm(root.at + root.data);
  const manifest = new Decoder(message, () => {}, { minor: container.header.minor }).root("Manifest");
  return { container, state: manifest.state, id: digest32(form, container.checksums()).subarray(0, 16) };
}

/** The ids that the footers of the checkpoint files of a directory claim, without looking at anything else. */
function* claims(directory) {
  for (const name of readdirSync(directory).sort()) {
    if (!name.endsWith(".pcp") || name.startsWith(".")) continue;
    const bytes = readFileSync(join(directory, name));
    if (bytes.length < 416) continue;
    const length = bytes.readUInt32LE(bytes.length - 24);
    if (length < 160 || length > bytes.length) continue;
    yield [bytes.subarray(bytes.length - length + 48, bytes.length - length + 64), bytes];
  }
}

/** The base that an entry of State.bases names: { base } or { code } of what is wrong. */
export function findBase(container, reference, directory) {
  const found = [];
  let claimed = false;
  for (const [id, bytes] of claims(directory)) {
    if (!equal(id, reference.id)) continue;
    claimed = true;
    try {
      const base = load(new Uint8Array(bytes)), { header: h, footer: f } = base.container;
      if (equal(h.traceUuid, container.header.traceUuid) && h.pageSize === container.header.pageSize &&
          h.chunkPages === reference.chunkPages && f.pageCount === reference.pageCount && h.event === reference.event &&
          equal(base.id, reference.id) && sealFits(base.container, reference.seal)) found.push(base);
    } catch (e) { if (!(e instanceof Unreadable)) throw e; }
  }
  if (!found.length) return { code: claimed ? "base.unusable" : "base.missing" };
  for (const other of found.slice(1))
    for (let p = 0n; p < reference.pageCount; p++)
      if (!equal(found[0].container.page(Number(p)), other.container.page(Number(p)))) return { code: "base.ambiguous" };
  return { base: found[0] };
}

function sealFits(container, seal) {
  if (!seal.length) return true;
  return container.seal !== undefined && equal(sha256(container.seal), seal);
}

/** Judges what lies beside the file; `tails` are last pages of memory objects: { source, number, used, where }. */
export function judgeBeside(container, state, directory, tails, say) {
  const own = container.footer.checkpointId.subarray(0, 16);
  state.bases.slice(0, 64).forEach((reference, i) => {
    const where = `state.bases[${i}]`;
    if (reference.id.length !== 16 || ![0, 32].includes(reference.seal.length) || equal(reference.id, own)) return;
    const { base, code } = findBase(container, reference, directory);
    if (code) { say(code, where); return; }
    if (base.state?.bases.some(b => equal(b.id, own))) say("base.cycle", where);
    for (const t of tails)
      if (t.source === i && base.container.page(t.number)?.subarray(t.used).some(b => b)) say("object.tail", t.where);
  });
}
export { hex };
