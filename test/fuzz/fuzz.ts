import assert from "node:assert/strict";
import fc from "fast-check";
import { Prng } from "../sim/prng.ts";
import { comparable } from "../storage/comparable.ts";
import { mutate } from "./mutate.ts";

/** A decoder of something that comes from a disk or a network. */
export interface Decoder {
  readonly name: string;
  readonly any: fc.Arbitrary<unknown>;
  readonly encode: (value: unknown) => Uint8Array;
  /** The value, or `refused` when the decoder says so by its result. */
  readonly decode: (bytes: Buffer) => unknown;
  /** Whether this is the error that the decoder promises for what it does not understand. */
  readonly isTyped: (error: unknown) => boolean;
}

/** Stands for a refusal by value: null, or a result that says so. */
export const refused = Symbol("refused");

/** One line of a table of decoders; `any`, `encode` and `decode` belong together. */
export function decoder<T>(line: {
  readonly name: string;
  readonly any: fc.Arbitrary<T>;
  readonly encode: (value: T) => Uint8Array;
  readonly decode: (bytes: Buffer) => unknown;
  readonly isTyped?: (error: unknown) => boolean;
}): Decoder {
  const { name, any, decode, isTyped = () => false } = line;
  // `encode` is only ever given what `any` made.
  return { name, any, encode: (value) => line.encode(value as T), decode, isTyped };
}

/** No decoder may take longer for the few kilobytes that it is given here, however slow the machine. */
const decodeMsMax = 2000;

/** Encodes samples and decodes them again. */
export function checkRoundTrip({ any, encode, decode }: Decoder, runs: number, seed: number): void {
  for (const value of fc.sample(any, { numRuns: runs, seed })) {
    assert.deepEqual(comparable(decode(Buffer.from(encode(value)))), comparable(value));
  }
}

/** Decodes samples with changed bytes: a value, a refusal, or the typed error, soon. Returns how many were refused. */
export function checkMutations(decoder: Decoder, runs: number, seed: number): number {
  const random = new Prng(seed);
  const samples = fc.sample(decoder.any, { numRuns: 200, seed }).map(decoder.encode);
  let count = 0;
  for (let run = 0; run < runs; run++) {
    const bytes = mutate(random.pick(samples), random.pick(samples), random);
    const startedMs = performance.now();
    count += isRefused(decoder, bytes) ? 1 : 0;
    const tookMs = performance.now() - startedMs;
    assert.ok(tookMs < decodeMsMax, `${tookMs} ms for ${bytes.toString("hex")}`);
  }
  return count;
}

function isRefused({ decode, isTyped, name }: Decoder, bytes: Buffer): boolean {
  try {
    return decode(bytes) === refused;
  } catch (error) {
    const what = error instanceof Error ? error.stack : String(error);
    assert.ok(isTyped(error), `${name} from ${bytes.toString("hex")} threw ${what}`);
    return true;
  }
}
