// Judges a whole file: container, manifest as a message, agreement of the two, checksums, and the rules of the model.
import { Container, Unreadable } from "./container.mjs";
import { Message, Decoder } from "./message.mjs";
import { digest32, sha256, equal, hex } from "./hashes.mjs";
import { judgeState } from "./rules.mjs";

const maxManifest = 32 << 20; // "readers may set less": this one makes an object of every struct

/** { codes, findings, container, manifest }: everything found in the bytes of a file, whose bases lie in the directory. */
export function validate(bytes, { limit, directory } = {}) {
  const findings = [], counts = new Map();
  const say = (code, where) => {
    const n = (counts.get(code) ?? 0) + 1;
    counts.set(code, n);
    if (n <= 20) findings.push({ code, where });
  };
  const container = new Container(bytes, say);
  const maxBytes = limit ?? Math.min(16 * 2 ** 30, Math.max(2 ** 28, 256 * bytes.length));
  container.judgePages(maxBytes);
  let manifest;
  if (container.manifestBytes) {
    if (container.manifestBytes.length > maxManifest) throw new Unreadable(`the manifest has ${container.manifestBytes.length} bytes, more than this reader takes`);
    const message = new Message(container.manifestBytes);
    if (!message.checkLayout()) say("manifest.layout");
    else {
      if (!message.canonical) say("manifest.canonical");
      const decoder = new Decoder(message, say, { judgeUndefined: container.fullyKnown, newer: !container.fullyKnown, minor: container.header.minor });
      manifest = decoder.root("Manifest");
      if (!decoder.sawNewer) for (const where of decoder.undefinedAt) say("value.undefined", where);
      const state = manifest?.state;
      if (state) {
        agreement(container, state, say);
        identity(container, message, say);
        judgeState(container, state, say, directory);
      }
    }
  }
  return { codes: [...counts.keys()].sort(), findings, container, manifest };
}

function agreement({ header: h, footer: f }, state, say) {
  const differs = what => say("header.manifest-mismatch", what);
  const stream = state.pageStream, position = state.position, clone = position?.clone;
  const uuid = state.trace?.uuid.length === 16 ? hex(state.trace.uuid) : "0".repeat(32);
  if (hex(h.traceUuid) !== uuid) differs("trace uuid");
  if (h.machine !== state.machine) differs("machine");
  if (h.elfClass !== state.elfClass) differs("ELF class");
  if (h.dataEncoding !== state.dataEncoding) differs("data encoding");
  if (stream) {
    if (h.pageSize !== stream.pageSize) differs("page size");
    if (h.chunkPages !== stream.chunkPages) differs("chunk pages");
    if (f.pageCount !== stream.pageCount) say("footer.page-count", "pageStream.pageCount");
  }
  const event = clone?.event ?? 0n, ticks = clone?.ticks ?? 0n;
  if (h.event !== event) differs("event");
  if (h.ticks !== ticks) differs("ticks");
  if (h.currentTask !== (clone?.task ?? 0)) differs("current task");
  const which = position?.which;
  if (typeof which === "number") return; // an arm that a later version brought, or an error of its own
  const kind = position ? { atEvent: 1, forwardTo: 2, between: 3 }[which] : 0;
  if (h.positionKind !== kind) differs("position kind");
  const mark = which === "forwardTo" ? position.forwardTo : null;
  if (h.markEvent !== (mark?.event ?? event)) differs("mark event");
  if (h.markTicks !== (mark?.ticks ?? ticks)) differs("mark ticks");
  if (h.order !== (position?.between?.order ?? 0)) differs("order");
  if (h.instructions !== (position?.between?.instructions ?? 0n)) differs("instructions");
}

function identity(container, message, say) {
  const root = message.struct(0), form = message.canonicalForm(root.at + root.data);
  if (container.chunkTableIntact && !equal(digest32(form, container.checksums()), container.footer.checkpointId)) say("footer.checkpoint-id");
  if (container.chunkTableIntact && container.seal && !equal(sha256(form), container.seal.subarray(8, 40))) say("seal.state");
}
