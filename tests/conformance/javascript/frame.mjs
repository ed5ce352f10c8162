// One Zstandard frame (RFC 8878) as format.md wants it: exactly one, content size stated, no dictionary, window at most 16 MiB.
import { decompress } from "fzstd";
import { xxh64 } from "./hashes.mjs";

const maxWindow = 16 << 20;

/** The decoded bytes, or null where the bytes are not such a frame of this length. */
export function decodeFrame(bytes, length) {
  const n = bytes.length;
  if (n < 6) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, n);
  if (view.getUint32(0, true) !== 0xfd2fb528) return null;
  const descriptor = bytes[4];
  if (descriptor & 8) return null;
  const single = descriptor & 0x20, sizeFlag = descriptor >> 6, dictionaryBytes = [0, 1, 2, 4][descriptor & 3];
  let at = 5, window = 0n;
  if (!single) {
    const w = bytes[at++], base = 1n << BigInt(10 + (w >> 3));
    window = base + (base >> 3n) * BigInt(w & 7);
  }
  const sizeBytes = sizeFlag ? 1 << sizeFlag : single ? 1 : 0;
  if (!sizeBytes || at + dictionaryBytes + sizeBytes > n) return null;
  for (let i = 0; i < dictionaryBytes; i++) if (bytes[at++]) return null;
  let size = 0n;
  for (let i = 0; i < sizeBytes; i++) size |= BigInt(bytes[at++]) << BigInt(8 * i);
  if (sizeBytes === 2) size += 256n;
  if (single) window = size;
  if (size !== BigInt(length) || window > BigInt(maxWindow)) return null;
  const blockLimit = Math.min(Number(window), 128 << 10);
  for (let last = 0; !last;) {
    if (at + 3 > n) return null;
    const head = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
    at += 3;
    last = head & 1;
    const type = (head >> 1) & 3, blockSize = head >> 3;
    if (type === 3 || blockSize > Math.max(blockLimit, 1)) return null;
    at += type === 1 ? 1 : blockSize;
    if (at > n) return null;
  }
  const checksummed = descriptor & 4;
  if (at + (checksummed ? 4 : 0) !== n) return null;
  let out;
  try {
    out = decompress(bytes);
  } catch {
    return null;
  }
  if (out.length !== length) return null;
  if (checksummed && Number(xxh64(out) & 0xffffffffn) !== view.getUint32(at, true)) return null;
  return out;
}
