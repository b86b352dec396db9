import type { MultiRaft } from "../../cluster/multiraft/multi-raft.ts";
import type { Finding } from "../../cluster/multiraft/state-comparison.ts";
import type { NodeId, ShardId } from "../../cluster/types.ts";
import type { ShardChanges } from "../../server/watch-hub.ts";
import type { ChangeEvent } from "../../storage/commands.ts";
import { uniquePart } from "../checkers/applied-once.ts";
import type { Change } from "../checkers/watches.ts";
import { Violation } from "./failure.ts";
import type { Machine } from "./machine.ts";
import { text } from "./simulated-door.ts";

/**
 * Sees everything that all replicas do, and compares them: what one log entry changes, how a state digests, who leads a term, which entry is
 * committed at an index must be the same for everybody, now and after any restart.
 */
export class Oracle {
  /** What each entry changed, by shard and index. */
  readonly changes = new Map<number, Map<number, readonly Change[]>>();
  /** The replica that was made to differ from the others, if any. */
  #odd: { readonly node: NodeId; readonly shard: ShardId } | null = null;
  #isRenewed = false;
  #foundCount = 0;
  readonly #digests = new Map<string, string>();
  readonly #leaders = new Map<string, NodeId>();
  readonly #committed = new Map<string, number>();
  /** Values that clients write are unique: a second change that writes one is the same write, applied twice. */
  readonly #valuesAt = new Map<string, string>();

  /** From now on this replica is not like the others: they must find out. Once in a life. */
  diverged(node: NodeId, shard: ShardId): void {
    this.#odd = { node, shard };
  }

  /** The replica goes on from a snapshot: whatever was wrong with it is over. */
  renewed(node: NodeId, shard: ShardId): void {
    this.#isRenewed ||= this.#isOdd(node, shard);
  }

  #isOdd(node: NodeId, shard: ShardId): boolean {
    return this.#odd?.node === node && this.#odd.shard === shard && !this.#isRenewed;
  }

  /** Replicas that were made to differ, and how often one was found. */
  get oddOnes(): { readonly made: number; readonly found: number; readonly isOpen: boolean } {
    const made = this.#odd === null ? 0 : 1;
    return { made, found: this.#foundCount, isOpen: made === 1 && !this.#isRenewed };
  }

  /** `node` has found that replicas differ, perhaps late: there is no such thing but what `diverged` told. */
  differs(node: NodeId, shard: ShardId, { type, index, odd }: Finding): void {
    const made = this.#odd;
    const isTrue =
      made !== null &&
      made.shard === shard &&
      type !== "split" &&
      odd.every((id) => id === made.node);
    if (!isTrue) {
      throw new Violation("no-false-alarm", `${node}: ${type} ${odd.join()} at ${shard}/${index}`);
    }
    this.#foundCount += type === "odd" ? 1 : 0;
  }

  /** An odd replica serves nobody any more from the moment on that its node has found it. */
  leaves(multiRaft: MultiRaft, shard: ShardId): void {
    const isServing = multiRaft.replica(shard)?.takesPart ?? false;
    const read = multiRaft.read(shard, () => {});
    const write = multiRaft.propose(shard, new Uint8Array(0), () => {});
    if (isServing || read === null || write === null) {
      throw new Violation("odd-is-silent", `shard ${shard}: ${isServing}, ${read}, ${write}`);
    }
  }

  applied(node: NodeId, { shard, index, events }: ShardChanges): void {
    const known = this.changes.get(shard) ?? new Map<number, readonly Change[]>();
    this.changes.set(shard, known);
    const changes = events.map((event) => ({ key: text(event.key), text: describeChange(event) }));
    const before = known.get(index);
    const [now, then] = [changes, before ?? changes].map((each) => JSON.stringify(each));
    if (now !== then) {
      throw new Violation("same-changes", `${shard}/${index}: ${node} did ${now}, another ${then}`);
    }
    known.set(index, changes);
    if (before === undefined) {
      this.#noteValues(shard, index, events);
    }
  }

  /** Where a value that is written once was written; null when it was not. */
  placeOf(key: string, value: string): string | null {
    return this.#valuesAt.get(`${key}=${value}`) ?? null;
  }

  /** Compares what all replicas say of themselves right now. */
  look(machines: readonly Machine[]): void {
    for (const { id, process } of machines) {
      for (const { shard, raft, machine } of process?.node.multiRaft.replicas() ?? []) {
        if (raft.isLeader) {
          this.#same(this.#leaders, `${shard}/${raft.term}`, id, "one-leader", "leads in");
        }
        const { commitIndex } = raft;
        const term = raft.termAt(commitIndex);
        if (term !== null) {
          this.#same(this.#committed, `${shard}/${commitIndex}`, term, "same-log", "committed at");
        }
        const place = `${shard}/${machine.appliedIndex}`;
        if (!raft.isQuarantined && this.#isOdd(id, shard)) {
          // Its process may have ended after the snapshot was on disk and before it could say so.
          this.#isRenewed = this.#digests.get(place) === machine.digest;
        } else if (!raft.isQuarantined) {
          this.#same(this.#digests, place, machine.digest, "same-digest", "digests at");
        }
      }
    }
  }

  #same<T>(known: Map<string, T>, place: string, value: T, promise: string, what: string): void {
    const before = known.get(place) ?? value;
    known.set(place, before);
    if (before !== value) {
      throw new Violation(promise, `${String(before)} and ${String(value)}: ${what} ${place}`);
    }
  }

  #noteValues(shard: ShardId, index: number, events: ShardChanges["events"]): void {
    for (const { kind, key, record } of events) {
      const token = kind === "put" && record !== null ? uniquePart(text(record.value)) : null;
      if (token === null) {
        continue;
      }
      const place = `${text(key)}=${token}`;
      const before = this.#valuesAt.get(place);
      if (before !== undefined) {
        throw new Violation(
          "applied-once",
          `${place} was written at ${before} and at ${shard}/${index}`,
        );
      }
      this.#valuesAt.set(place, `${shard}/${index}`);
    }
  }
}

/** A change in one line, without what was there before. */
export function describeChange({ kind, key, record, revision }: ChangeEvent): string {
  const value = record === null ? "" : `=${text(record.value)}`;
  return `${kind} ${text(key)}${value}@${revision}`;
}
