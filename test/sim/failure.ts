/** The simulated world saw something that must never happen. */
export class SimulationFailure extends Error {
  override readonly name = "SimulationFailure";
  /** Short name of the broken promise, see the table in README.md. */
  readonly invariant: string;

  constructor(invariant: string, what: string) {
    super(`${invariant}: ${what}`);
    this.invariant = invariant;
  }
}

/** Stops the run when `condition` does not hold. `what` is only asked then: checks run at every step and must cost little. */
export function check(condition: boolean, invariant: string, what: () => string): void {
  if (!condition) {
    throw new SimulationFailure(invariant, what());
  }
}
