/** The simulated cluster broke a promise. */
export class Violation extends Error {
  override readonly name = "Violation";
  /** Short name of the promise, see the table in README.md. */
  readonly promise: string;

  constructor(promise: string, what: string) {
    super(`${promise}: ${what}`);
    this.promise = promise;
  }
}
