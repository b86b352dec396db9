const slabBytes = 64 * 1024;
/** Larger ones get memory of their own: they would waste the rest of a slab. */
const ownBytesMin = 8 * 1024;

let slab = new Uint8Array(slabBytes);
let used = 0;

/**
 * A copy of bytes that stay for long, as the payloads of log entries do, in memory that holds nothing else. A view of the buffer that they
 * came in would keep all of that buffer: a node's log took two and a half times its size.
 */
export function keepBytes(bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  if (length >= ownBytesMin) {
    return new Uint8Array(bytes);
  }
  if (used + length > slabBytes) {
    slab = new Uint8Array(slabBytes);
    used = 0;
  }
  const kept = slab.subarray(used, used + length);
  kept.set(bytes);
  used += length;
  return kept;
}
