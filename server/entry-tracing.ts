import type { MultiRaft } from "../cluster/multiraft/multi-raft.ts";
import type { ForwardRequest } from "../cluster/multiraft/transport.ts";
import type { ShardId } from "../cluster/types.ts";
import type { Span, SpanKind, Tracer } from "./tracing.ts";

/** Entries whose way is followed at one time; more are not: traces are samples. */
const openEntriesMax = 256;

/** An entry on its way, on one node. */
interface TracedEntry {
  readonly index: number;
  /** Until the entry is durable here. */
  append: Span | null;
  /** Until it is committed; of the leader only. */
  commit: Span | null;
  /** Until it is applied here. */
  readonly apply: Span | null;
}

/**
 * Follows sampled entries through the log of every node: durable, committed, applied. The leader tells its followers which entry
 * belongs to which trace by a request of kind `trace` in the same frame that carries the entry; logs and entries know nothing of it.
 * Looks at a group only after it moved, and only while an entry of it is being followed.
 */
export class EntryTracing {
  readonly #tracer: Tracer;
  readonly #multiRaft: () => MultiRaft;
  readonly #open = new Map<ShardId, TracedEntry[]>();
  #count = 0;

  constructor(tracer: Tracer, multiRaft: () => MultiRaft) {
    this.#tracer = tracer;
    this.#multiRaft = multiRaft;
  }

  /** A span under `parent`; null when that is not sampled. */
  begin(name: string, kind: SpanKind, parent: string): Span | null {
    return this.#tracer.begin(name, kind, parent);
  }

  /** A command proposed here became an entry: follow it, and ask the other members to do so. */
  logged(shard: ShardId, index: number, traceparent: string): void {
    const replica = this.#multiRaft().replica(shard);
    const commit = this.#tracer.begin("raft.commit", "internal", traceparent);
    if (replica === null || commit === null) {
      return;
    }
    this.#follow(shard, index, traceparent, commit);
    for (const member of replica.otherMembers()) {
      this.#multiRaft().request(member, note(shard, index, commit.traceparent));
    }
  }

  /** The leader says that an entry is traced. */
  noted(request: ForwardRequest): void {
    const index = Number(new TextDecoder().decode(request.payload));
    if (Number.isSafeInteger(index) && this.#multiRaft().replica(request.shard) !== null) {
      this.#follow(request.shard, index, request.trace, null);
      this.progressed(request.shard);
    }
  }

  /** The group moved. */
  progressed(shard: ShardId): void {
    const entries = this.#open.get(shard);
    if (entries === undefined) {
      return;
    }
    const replica = this.#multiRaft().replica(shard);
    const open = entries.filter((entry) => {
      if (replica === null) {
        abandon(entry);
        return false;
      }
      if (replica.raft.persistedIndex >= entry.index) {
        entry.append = ended(entry.append);
      }
      if (replica.raft.commitIndex >= entry.index) {
        entry.commit = ended(entry.commit);
      }
      const isApplied = replica.machine.appliedIndex >= entry.index;
      if (isApplied) {
        entry.apply?.end();
      }
      return !isApplied || entry.append !== null;
    });
    this.#count -= entries.length - open.length;
    if (open.length === 0) {
      this.#open.delete(shard);
    } else {
      this.#open.set(shard, open);
    }
  }

  /** A batch was written: some of the entries that are followed may be durable now. */
  written(): void {
    if (this.#open.size > 0) {
      // The groups learn of the write after whoever reports it.
      queueMicrotask(() => {
        for (const shard of [...this.#open.keys()]) {
          this.progressed(shard);
        }
      });
    }
  }

  #follow(shard: ShardId, index: number, parent: string, commit: Span | null): void {
    if (this.#count >= openEntriesMax) {
      commit?.end("too many entries are traced at once");
      return;
    }
    const facts = { shard, index };
    const append = this.#tracer.begin("raft.append", "internal", parent);
    const apply = this.#tracer.begin("raft.apply", "internal", parent);
    for (const span of [append, commit, apply]) {
      span?.set(facts);
    }
    const entries = this.#open.get(shard) ?? [];
    entries.push({ index, append, commit, apply });
    this.#open.set(shard, entries);
    this.#count += 1;
  }
}

function ended(span: Span | null): null {
  span?.end();
  return null;
}

function abandon({ append, commit, apply }: TracedEntry): void {
  for (const span of [append, commit, apply]) {
    span?.end("the replica left this node");
  }
}

function note(shard: ShardId, index: number, trace: string): ForwardRequest {
  const payload = new TextEncoder().encode(String(index));
  // Nobody answers a note: it needs no id and no deadline.
  return { id: 0, shard, kind: "trace", epoch: 0, timeoutMs: 0, payload, trace };
}
