/** The seed of random tests: `SEED` from the environment, or a new one. */
export const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));

/** Parameters for fast-check: its report names seed and path of a failure; `SEED=n` runs the same cases again. */
export function fuzzParameters(numRuns: number): {
  readonly seed: number;
  readonly numRuns: number;
} {
  return { seed, numRuns };
}
