// XXH3-64, XXH3-128, XXH64 (seed 0) and SHA-256 of bytes.
import { createXXHash3, createXXHash128, createXXHash64, createSHA256 } from "hash-wasm";

const [x3, x128, x64, s256] = await Promise.all([createXXHash3(), createXXHash128(), createXXHash64(), createSHA256()]);

function digest(hasher, parts) {
  hasher.init();
  for (const p of parts)
    for (let i = 0; i < p.length; i += 1 << 20) hasher.update(p.subarray(i, Math.min(p.length, i + (1 << 20))));
  return hasher.digest("binary");
}
const toBigInt = bytes => new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, false);

export const xxh3_64 = (...parts) => toBigInt(digest(x3, parts));
export const xxh3_128 = (...parts) => digest(x128, parts).slice();
export const xxh64 = (...parts) => toBigInt(digest(x64, parts));
export const sha256 = (...parts) => digest(s256, parts).slice();

/** XXH3-128 over bytes that come one after the other. Not to be mixed with other hashes meanwhile. */
export async function streamHash128() {
  const h = await createXXHash128();
  h.init();
  return { update: b => h.update(b), digest: () => h.digest("binary").slice() };
}

/** A digest of 32 bytes by algorithm 1. */
export function digest32(...parts) {
  const out = new Uint8Array(32);
  out.set(xxh3_128(...parts));
  return out;
}
export const hex = bytes => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
export function equal(a, b) {
  return a.length === b.length && Buffer.compare(Buffer.from(a.buffer, a.byteOffset, a.length), Buffer.from(b.buffer, b.byteOffset, b.length)) === 0;
}
