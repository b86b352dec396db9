import type { Prng } from "../sim/prng.ts";

/** Bytes that decoders are likely to stumble over: ends of ranges, of varints and of texts, and what JSON and HTTP give a meaning to. */
const interesting = Buffer.from([
  0,
  1,
  2,
  0x7f,
  0x80,
  0xfe,
  0xff,
  ...Buffer.from('"%&+-,./0=[\\]{}~9'),
]);

/** Pieces that are longer than what stands there, or mean more than they seem to. */
const pieces = [
  Buffer.alloc(9, 0xff),
  Buffer.from("ffffffffffffff1f", "hex"),
  Buffer.from("80808080808000", "hex"),
  Buffer.from("7fffffff", "hex"),
  Buffer.from("00000000", "hex"),
  Buffer.from("ed a0 80".replaceAll(" ", ""), "hex"),
  Buffer.from("999999999999999999999"),
  Buffer.from("9007199254740993"),
  Buffer.from("-1"),
  Buffer.from("1e9"),
  Buffer.from("__proto__"),
  Buffer.from("%00"),
  Buffer.from("%F0%9F"),
  Buffer.from("null"),
  Buffer.from("[".repeat(300)),
  Buffer.from("=".repeat(300)),
];

/** `bytes` with one to five changes: bits, bytes and pieces that are changed, lost, repeated, inserted, or taken from `other`. */
export function mutate(bytes: Uint8Array, other: Uint8Array, random: Prng): Buffer {
  let mutated = Buffer.from(bytes);
  for (let changes = random.between(1, 5); changes > 0; changes--) {
    mutated = changeOnce(mutated, other, random);
  }
  return mutated;
}

function changeOnce(bytes: Buffer, other: Uint8Array, random: Prng): Buffer<ArrayBuffer> {
  const at = random.between(0, Math.max(0, bytes.length - 1));
  const length = random.between(1, random.pick([2, 8, 64]));
  const replaced = (count: number, piece: Uint8Array): Buffer<ArrayBuffer> =>
    Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + count)]);
  switch (random.between(0, 7)) {
    case 0:
      return replaced(1, Buffer.from([(bytes[at] ?? 0) ^ (1 << random.between(0, 7))]));
    case 1:
      return replaced(1, Buffer.from([random.pick([...interesting])]));
    case 2:
      return replaced(random.between(0, length), random.pick(pieces));
    case 3:
      return replaced(length, new Uint8Array(0));
    case 4:
      return replaced(0, bytes.subarray(at, at + length));
    case 5:
      return Buffer.from(bytes.subarray(0, at));
    case 6: {
      const from = random.between(0, other.length);
      return replaced(random.between(0, length), other.subarray(from, from + length));
    }
    default:
      return replaced(1, Buffer.from([random.between(0, 255)]));
  }
}
