import type { KvInput, KvOutput } from "../checkers/kv-model.ts";
import type { Operation } from "../checkers/linearizability.ts";
import type { FencedWrite, Grant } from "../checkers/locks.ts";
import type { Look, MortalKey } from "../checkers/ttl.ts";

/** What a client knows of an operation in the end. `failed`: certainly nothing was done. */
export type Ending<T> =
  | { readonly type: "done"; readonly value: T }
  | { readonly type: "failed"; readonly reason: string }
  | { readonly type: "unknown"; readonly reason: string };

/** Everything that clients asked and were told. */
export class History {
  readonly #operations = new Map<string, Operation<KvInput, KvOutput>[]>();
  readonly grants: Grant[] = [];
  readonly fencedWrites: FencedWrite[] = [];
  readonly mortals: (MortalKey & { looks: Look[] })[] = [];
  #clock = 0;
  readonly counts = { done: 0, failed: 0, unknown: 0 };

  /** The next position in the order of calls and returns. */
  tick(): number {
    this.#clock += 1;
    return this.#clock;
  }

  /** Notes an operation that was called at `call` and has ended now. */
  ended(key: string, call: number, input: KvInput, ending: Ending<KvOutput>): void {
    this.counts[ending.type] += 1;
    if (ending.type === "failed") {
      return;
    }
    const operations = this.#operations.get(key) ?? [];
    this.#operations.set(key, operations);
    operations.push(
      ending.type === "done"
        ? { call, return: this.tick(), input, output: ending.value }
        : { call, return: null, input, output: null },
    );
  }

  get keys(): readonly string[] {
    return [...this.#operations.keys()].sort();
  }

  of(key: string): readonly Operation<KvInput, KvOutput>[] {
    return this.#operations.get(key) ?? [];
  }
}
