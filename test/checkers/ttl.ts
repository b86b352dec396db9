/** A key that was written once, with a time to live, and nobody else touched. Times in true milliseconds. */
export interface MortalKey {
  readonly key: string;
  readonly ttlMs: number;
  /** When the write was asked for: it was applied later. */
  readonly writtenAfterMs: number;
  /** When the write was answered. */
  readonly answeredAtMs: number;
  readonly looks: readonly Look[];
}

/** One linearizable read of the key. */
export interface Look {
  readonly callMs: number;
  readonly returnMs: number;
  readonly isThere: boolean;
}

/** What is wrong, as sentences: a key that was gone before its time, or that came back. `drift` is how much faster clocks may run. */
export function checkMortals(keys: readonly MortalKey[], drift: number): readonly string[] {
  const wrong: string[] = [];
  for (const { key, ttlMs, writtenAfterMs, answeredAtMs, looks } of keys) {
    const earliest = writtenAfterMs + ttlMs * (1 - drift);
    let goneAt = Infinity;
    for (const { callMs, returnMs, isThere } of looks) {
      if (!isThere && callMs >= answeredAtMs) {
        goneAt = Math.min(goneAt, returnMs);
        if (returnMs < earliest) {
          wrong.push(`${key} was gone at ${returnMs}, before ${earliest}`);
        }
      } else if (isThere && callMs > goneAt) {
        wrong.push(`${key} was there at ${callMs} although it was gone at ${goneAt}`);
      }
    }
  }
  return wrong;
}
