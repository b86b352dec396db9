import type { NodeId, ShardId } from "../types.ts";
import { Term } from "../types.ts";
import type { MultiRaftEvents, MultiRaftLimits, SnapshotTransfer } from "./options.ts";
import type { Replica } from "./replica.ts";
import type { SnapshotHeader, Transport } from "./transport.ts";

/** The node around the transfers: who holds a shard here, how bytes travel, whom to wake when they have arrived. */
export interface SnapshotHost {
  readonly nodeId: NodeId;
  readonly transport: Transport;
  readonly limits: MultiRaftLimits;
  readonly events: MultiRaftEvents;
  /** Monotonic milliseconds. */
  readonly clock: () => number;
  /** Runs the turn soon: Raft has new input for this shard. */
  wake(shard: ShardId): void;
  replica(shard: ShardId): Replica | null;
}

/** Moves the bytes of snapshots between replicas, beside the frames. Raft only hears when a transfer ended. */
export class Snapshots {
  readonly #host: SnapshotHost;
  readonly #sending = new Map<string, AbortController>();
  readonly #receiving = new Map<ShardId, AbortController>();

  constructor(host: SnapshotHost) {
    this.#host = host;
  }

  get sendingCount(): number {
    return this.#sending.size;
  }

  get receivingCount(): number {
    return this.#receiving.size;
  }

  isReceiving(shard: ShardId): boolean {
    return this.#receiving.has(shard);
  }

  /** Raft wants `to` to have a snapshot. At most one transfer per replica and peer, and a bounded number per node; over that, Raft asks again. */
  send(replica: Replica, to: NodeId): void {
    const key = `${replica.shard}/${to}`;
    if (this.#sending.has(key)) {
      return;
    }
    if (this.#sending.size >= this.#host.limits.snapshotSendsMax) {
      replica.raft.reportSnapshot(to, "failed");
      return;
    }
    const abort = new AbortController();
    this.#sending.set(key, abort);
    const meter = new Meter(this.#host.clock);
    void this.#transfer(replica, to, abort.signal, meter).then((error) => {
      this.#sending.delete(key);
      replica.raft.reportSnapshot(to, error === null ? "sent" : "failed");
      this.#host.events.onSnapshot(replica.shard, "send", error, meter.read());
      this.#host.wake(replica.shard);
    });
  }

  /** Never rejects: a transfer that failed is an ordinary event, told by its error. */
  async #transfer(
    replica: Replica,
    to: NodeId,
    signal: AbortSignal,
    meter: Meter,
  ): Promise<Error | null> {
    const reader = replica.machine.snapshot();
    try {
      const header: SnapshotHeader = {
        shard: replica.shard,
        term: replica.raft.term,
        snapshot: reader.metadata,
      };
      const chunks = reader.chunks(this.#host.limits.snapshotChunkBytes);
      await this.#host.transport.sendSnapshot(to, header, meter.counted(chunks), signal);
      return null;
    } catch (error) {
      return asError(error);
    } finally {
      await reader.close();
    }
  }

  /** Stages a snapshot that a leader sends, then tells Raft. Rejects when it is not wanted or not sound. */
  async receive(
    from: NodeId,
    header: SnapshotHeader,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const replica = this.#host.replica(header.shard);
    if (replica === null) {
      throw new Error(`shard ${header.shard} has no replica here`);
    }
    if (header.term < replica.raft.term) {
      throw new Error(`snapshot of term ${header.term} is older than term ${replica.raft.term}`);
    }
    if (this.#receiving.has(header.shard)) {
      throw new Error(`shard ${header.shard} already receives a snapshot`);
    }
    const abort = new AbortController();
    this.#receiving.set(header.shard, abort);
    const writer = replica.machine.receiveSnapshot();
    const meter = new Meter(this.#host.clock);
    try {
      for await (const chunk of meter.counted(chunks)) {
        abort.signal.throwIfAborted();
        await writer.write(chunk);
      }
      const snapshot = await writer.finish();
      abort.signal.throwIfAborted();
      const to = this.#host.nodeId;
      const term = Term(header.term);
      replica.offerSnapshot({ type: "InstallSnapshot", from, to, term, snapshot }, writer);
      this.#host.events.onSnapshot(header.shard, "receive", null, meter.read());
      this.#host.wake(header.shard);
    } catch (error) {
      await writer.abort();
      this.#host.events.onSnapshot(header.shard, "receive", asError(error), meter.read());
      throw error;
    } finally {
      this.#receiving.delete(header.shard);
    }
  }

  /** Ends all transfers. */
  stop(): void {
    for (const abort of [...this.#sending.values(), ...this.#receiving.values()]) {
      abort.abort(new Error("the node is stopping"));
    }
  }
}

/** Measures one transfer, from its making on. */
class Meter {
  readonly #clock: () => number;
  readonly #startedMs: number;
  #bytes = 0;

  constructor(clock: () => number) {
    this.#clock = clock;
    this.#startedMs = clock();
  }

  async *counted(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      this.#bytes += chunk.length;
      yield chunk;
    }
  }

  read(): SnapshotTransfer {
    return { durationMs: this.#clock() - this.#startedMs, bytes: this.#bytes };
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
