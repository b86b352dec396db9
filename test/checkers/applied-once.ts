/** A value that a key got at some place in the order of its changes. */
export interface ValueWritten {
  readonly key: string;
  readonly value: string;
  readonly revision: number;
}

/**
 * What only one write of a client carries, of the value that it made: clients write unique texts with a dot in them, and of a text that grows
 * only the newest part (from the last `<`) is new. Null: many writes make such a value.
 */
export function uniquePart(value: string): string | null {
  const part = value.slice(Math.max(0, value.lastIndexOf("<")));
  return part.includes(".") ? part : null;
}

/** Writes that were applied twice, as sentences. The same change may be listed many times. */
export function checkAppliedOnce(values: readonly ValueWritten[]): readonly string[] {
  const wrong: string[] = [];
  const revisions = new Map<string, number>();
  for (const { key, value, revision } of values) {
    const part = uniquePart(value);
    const place = `${key}=${part}`;
    const known = revisions.get(place) ?? revision;
    if (part !== null && known !== revision) {
      wrong.push(`${place} was written at ${known} and at ${revision}`);
    }
    revisions.set(place, known);
  }
  return wrong;
}
