/** Everything that happened, as a hash, and the last of it as text: equal runs have equal hashes. */
export class Trace {
  readonly #kept: string[] = [];
  readonly #keptMax: number;
  readonly #onLine: (line: string) => void;
  #hash = 0x811c9dc5;
  #count = 0;

  constructor(keptMax: number, onLine: (line: string) => void) {
    this.#keptMax = keptMax;
    this.#onLine = onLine;
  }

  /** Notes an event; FNV-1a over its text. */
  note(nowMs: number, what: string): void {
    const line = `${nowMs.toFixed(3)} ${what}`;
    for (let at = 0; at < line.length; at++) {
      this.#hash = Math.imul(this.#hash ^ line.charCodeAt(at), 0x01000193);
    }
    this.#count += 1;
    this.#onLine(line);
    this.#kept.push(line);
    if (this.#kept.length > 2 * this.#keptMax) {
      this.#kept.splice(0, this.#keptMax);
    }
  }

  get hash(): string {
    return `${(this.#hash >>> 0).toString(16).padStart(8, "0")}-${this.#count}`;
  }

  /** The last events, oldest first. */
  get tail(): readonly string[] {
    return this.#kept.slice(-this.#keptMax);
  }
}
