import type { Revision } from "../cluster/types.ts";
import { encodeCommandEnvelope } from "./command-codec.ts";
import type { Command, ExpireCommand, TtlCheckpointCommand } from "./commands.ts";
import { DeadlineHeap, type Timed } from "./deadline-heap.ts";

/** What can expire: a key, the holder of a lock, a place in its queue. */
export type DeadlineKind = ExpireCommand["kind"];

/** Which deadline is meant. `key` is the user's key or the lock's name; `owner` is empty for keys. */
export interface DeadlineId {
  readonly kind: DeadlineKind;
  readonly key: Uint8Array;
  readonly owner: string;
}

/** How this replica measures time to live; all of it is local and none of it is state. */
export interface DeadlineOptions {
  /** Monotonic milliseconds. */
  readonly clock: () => number;
  /** Longest time between two checkpoints of one record; short lives are checkpointed four times, at most once a second. */
  readonly checkpointIntervalMs: number;
  /** Records in one checkpoint. */
  readonly checkpointRecordsMax: number;
  /** An expiration that was proposed and did not happen is proposed again after this time. */
  readonly reofferMs: number;
  /**
   * A replica that begins to lead lets nothing expire for this time: whoever could not reach a leader gets the chance to renew.
   */
  readonly graceMs: number;
}

interface Deadline extends Timed {
  readonly id: string;
  readonly of: DeadlineId;
  revision: Revision;
  ttlMs: number;
  /** Monotonic milliseconds at which it is over. */
  atMs: number;
}

/** A replica that was not asked for due commands for this long did not lead meanwhile. */
const leadGapMs = 1500;
const checkpointStepMinMs = 1000;
/** Bounds one call of `due` when very many deadlines wake at once. */
const wakesMax = 16_384;

/**
 * When this replica believes that things expire. Not state: each replica notes its own monotonic time when it applies, and only the
 * leader's belief is ever proposed. A deadline is never early: time starts at apply, after a restart with what the last checkpoint
 * left (storage/README.md, "Time to live").
 */
export class Deadlines {
  readonly #options: DeadlineOptions;
  readonly #byId = new Map<string, Deadline>();
  readonly #heap = new DeadlineHeap<Deadline>();
  #askedMs = -Infinity;
  #graceEndMs = -Infinity;

  constructor(options: DeadlineOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#heap.size;
  }

  /** The time to live begins now. */
  set(of: DeadlineId, ttlMs: number, revision: Revision): void {
    this.#put(of, ttlMs, ttlMs, revision);
  }

  /** The deadline of a record that was read from disk; does nothing when this replica has seen it being set. */
  restore(of: DeadlineId, ttlMs: number, remainingMs: number, revision: Revision): void {
    if (!this.#byId.has(idOf(of))) {
      this.#put(of, ttlMs, remainingMs, revision);
    }
  }

  remove(of: DeadlineId): void {
    const deadline = this.#byId.get(idOf(of));
    if (deadline !== undefined) {
      this.#byId.delete(deadline.id);
      this.#heap.remove(deadline);
    }
  }

  /** An expiration had no effect: what this replica believed of that deadline was out of date. */
  removeStale(of: DeadlineId, revision: Revision): void {
    if (this.#byId.get(idOf(of))?.revision === revision) {
      this.remove(of);
    }
  }

  /** A checkpoint says how much was left when it was proposed: no replica need wait longer than that from now. */
  tighten(of: DeadlineId, remainingMs: number): void {
    const deadline = this.#byId.get(idOf(of));
    const atMs = this.#options.clock() + remainingMs;
    if (deadline !== undefined && atMs < deadline.atMs) {
      deadline.atMs = atMs;
      this.#heap.move(deadline, this.#wakeMs(deadline));
    }
  }

  /** Milliseconds left, at least 0; null when this replica knows of no such deadline. */
  remainingMs(of: DeadlineId): number | null {
    const deadline = this.#byId.get(idOf(of));
    return deadline === undefined ? null : this.#remaining(deadline);
  }

  /** Another state has taken the place of the one that the deadlines belong to. */
  clear(): void {
    this.#byId.clear();
    this.#heap.clear();
  }

  /** Encoded commands that a leader should propose now: expirations, and one checkpoint. At most `limit`. */
  due(limit: number): readonly Uint8Array[] {
    const { clock, graceMs, reofferMs, checkpointRecordsMax } = this.#options;
    const now = clock();
    if (now - this.#askedMs > leadGapMs) {
      this.#graceEndMs = now + graceMs;
    }
    this.#askedMs = now;
    const commands: Uint8Array[] = [];
    const remaining: TtlCheckpointCommand["remaining"][number][] = [];
    for (let wakes = 0; wakes < wakesMax; wakes++) {
      const first = this.#heap.first;
      if (first === undefined || first.wakeMs > now || commands.length >= limit) {
        break;
      }
      if (now < first.atMs) {
        if (remaining.length < checkpointRecordsMax && commands.length + 1 < limit) {
          remaining.push(this.#checkpoint(first));
        }
        this.#heap.move(first, this.#wakeMs(first));
      } else if (now < this.#graceEndMs) {
        this.#heap.move(first, this.#graceEndMs);
      } else {
        commands.push(encode({ type: "expire", ...first.of, deadlineRevision: first.revision }));
        this.#heap.move(first, now + reofferMs);
      }
    }
    if (remaining.length > 0) {
      commands.push(encode({ type: "ttl_checkpoint", remaining }));
    }
    return commands;
  }

  #put(of: DeadlineId, ttlMs: number, remainingMs: number, revision: Revision): void {
    const id = idOf(of);
    const atMs = this.#options.clock() + remainingMs;
    const known = this.#byId.get(id);
    if (known !== undefined) {
      known.revision = revision;
      known.ttlMs = ttlMs;
      known.atMs = atMs;
      this.#heap.move(known, this.#wakeMs(known));
      return;
    }
    // The key may be a view of a whole entry, which must not be kept alive for as long as the deadline.
    const own = { ...of, key: Buffer.from(of.key) };
    const deadline: Deadline = { id, of: own, revision, ttlMs, atMs, wakeMs: 0, place: -1 };
    deadline.wakeMs = this.#wakeMs(deadline);
    this.#byId.set(id, deadline);
    this.#heap.add(deadline);
  }

  /** Time of the next thing to do: a checkpoint, or the expiration itself. */
  #wakeMs(deadline: Deadline): number {
    const step = Math.max(
      checkpointStepMinMs,
      Math.min(deadline.ttlMs / 4, this.#options.checkpointIntervalMs),
    );
    return Math.min(deadline.atMs, this.#options.clock() + step);
  }

  #checkpoint(deadline: Deadline): TtlCheckpointCommand["remaining"][number] {
    return {
      ...deadline.of,
      deadlineRevision: deadline.revision,
      remainingMs: this.#remaining(deadline),
    };
  }

  /** Rounded up: never early. */
  #remaining(deadline: Deadline): number {
    return Math.max(0, Math.ceil(deadline.atMs - this.#options.clock()));
  }
}

function encode(command: Command): Uint8Array {
  return encodeCommandEnvelope({ request: null, idempotency: null, command });
}

function idOf({ kind, key, owner }: DeadlineId): string {
  const name = Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
  // The length keeps a name that contains a colon apart from a name and an owner.
  return kind === "key" ? `k${name}` : `${kind}${name.length}:${name}${owner}`;
}
