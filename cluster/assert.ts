/** A broken promise of this program to itself. Nothing may catch it: the process stops, because whatever it would do next is wrong. */
export class InvariantViolation extends Error {
  override readonly name = "InvariantViolation";
}

/**
 * Stops the program when something that must always hold does not. On in production.
 * For programmer errors only: input from clients, peers and disks is checked and refused, never asserted.
 *
 * @param whatBroke the sentence that an operator reads last; cite the invariant's number where it has one
 */
export function assert(condition: boolean, whatBroke: string): asserts condition {
  if (!condition) {
    throw new InvariantViolation(whatBroke);
  }
}

/** Marks the branch that a complete switch never takes; the compiler proves it, the throw guards it. */
export function unreachable(value: never): never {
  throw new InvariantViolation(`unreachable case: ${JSON.stringify(value)}`);
}
