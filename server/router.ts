import type { MultiRaft } from "../cluster/multiraft/multi-raft.ts";
import type { ProposalOutcome } from "../cluster/multiraft/proposals.ts";
import type { Ring } from "../cluster/sharding/ring.ts";
import type { NodeId, ShardId } from "../cluster/types.ts";
import { encodeCommandEnvelope } from "../storage/command-codec.ts";
import type { Command, CommandOutcome, IdempotencyKey, RequestId } from "../storage/commands.ts";
import { decodeOutcome } from "../storage/outcome-codec.ts";
import { decodeQueryResult } from "../storage/query-codec.ts";
import type { Query, QueryResult } from "../storage/queries.ts";
import type { EntryTracing } from "./entry-tracing.ts";
import { ServiceError } from "./errors.ts";
import type { Forwarder } from "./forwarder.ts";
import type { Consistency, RequestContext, Served } from "./http/service.ts";
import type { LeaderWatch } from "./leader-watch.ts";
import type { LocalReads } from "./local-reads.ts";
import { encodeForwardedQuery } from "./forwarded-query.ts";
import type { RequestWindow } from "./request-window.ts";
import type { Timers } from "./timers.ts";
import type { WorkObserver } from "./work-observer.ts";

/** The present cluster map as the router needs it; replaced as a whole when the map changes. */
export interface RoutingTable {
  readonly epoch: number;
  readonly ring: Ring;
  /** Data shards, ascending. */
  readonly shards: readonly ShardId[];
  /** Who should hold each shard: where to ask when the leader is not known. */
  readonly members: ReadonlyMap<ShardId, readonly NodeId[]>;
}

/** The ways that a request may take, and who knows which is open. */
export interface RouterOptions {
  readonly nodeId: NodeId;
  readonly multiRaft: MultiRaft;
  readonly forwarder: Forwarder;
  readonly leaders: LeaderWatch;
  readonly window: RequestWindow;
  readonly localReads: LocalReads;
  readonly clock: () => number;
  readonly timers: Timers;
  readonly isConnected: (peer: NodeId) => boolean;
  readonly work: WorkObserver | null;
  /** Null while tracing is off. */
  readonly tracing: EntryTracing | null;
}

/** How one attempt ended. `retry` is certain: nothing was done. `uncertain`: only the same request may be tried again. */
type Attempt<T> =
  | { readonly type: "done"; readonly value: T; readonly servedBy: NodeId }
  | { readonly type: "retry"; readonly leader: NodeId | null }
  | { readonly type: "uncertain" };

/** A request on its way: what was tried, and what is known of its fate. */
interface Journey {
  readonly shard: ShardId;
  readonly context: RequestContext;
  /** An attempt went out whose outcome is not known. */
  isUncertain: boolean;
}

/** Longest wait for news of a leader before asking again. */
const retryWaitMs = 40;

/**
 * Brings every operation to a replica that can serve it: this node's own, or another's over the peer stream. While a shard has no
 * leader the request waits in here, until its deadline: clients see latency, not errors. A write is applied exactly once whatever is
 * retried, because every forwarded write carries a request id that the state machine knows.
 */
export class Router {
  readonly #options: RouterOptions;
  #table: RoutingTable | null = null;
  #turn = 0;

  constructor(options: RouterOptions) {
    this.#options = options;
  }

  setTable(table: RoutingTable): void {
    this.#table = table;
  }

  /** Throws `starting` while this node does not know the cluster map. */
  get table(): RoutingTable {
    if (this.#table === null) {
      throw new ServiceError("starting", "this node does not know the cluster map yet");
    }
    return this.#table;
  }

  get hasTable(): boolean {
    return this.#table !== null;
  }

  shardOf(key: Uint8Array): ShardId {
    return this.table.ring.shardOf(key);
  }

  /** Runs a command on the shard that holds `routingKey`. */
  async execute(
    routingKey: Uint8Array,
    command: Command,
    context: RequestContext,
    idempotency: IdempotencyKey | null,
  ): Promise<Served<CommandOutcome>> {
    const { clock, work } = this.#options;
    const startedMs = clock();
    const journey: Journey = { shard: this.shardOf(routingKey), context, isUncertain: false };
    const write = new Write(this.#options.window, journey.shard, command, idempotency);
    let result = "internal";
    if (command.type === "put") {
      work?.onValue("put", command.value.length);
    }
    try {
      const { value, servedBy } = await this.#travel(journey, (leader) =>
        leader === this.#options.nodeId
          ? this.#proposeHere(journey, write)
          : this.#forwardWrite(journey, leader, write),
      );
      const outcome = decodeOutcome(value);
      if (outcome.result.type === "stale_request") {
        throw this.#outcomeUnknown(journey);
      }
      result = outcome.result.type;
      return { value: outcome, shard: journey.shard, servedBy, stalenessMs: 0 };
    } catch (error) {
      result = codeOf(error);
      throw error;
    } finally {
      write.close();
      work?.onOperation(command.type, "linearizable", result, clock() - startedMs);
    }
  }

  /** Runs encoded command bytes on a named shard: the meta shard's own traffic. */
  async executeEncoded(
    shard: ShardId,
    bytes: Uint8Array,
    context: RequestContext,
  ): Promise<Uint8Array> {
    const journey: Journey = { shard, context, isUncertain: false };
    const { value } = await this.#travel(journey, (leader) =>
      leader === this.#options.nodeId
        ? this.#proposeBytes(journey, bytes)
        : this.#forwardBytes(journey, leader, bytes),
    );
    return value;
  }

  query(
    routingKey: Uint8Array,
    query: Query,
    consistency: Consistency,
    context: RequestContext,
  ): Promise<Served<QueryResult>> {
    return this.queryShard(this.shardOf(routingKey), query, consistency, context);
  }

  async queryShard(
    shard: ShardId,
    query: Query,
    consistency: Consistency,
    context: RequestContext,
  ): Promise<Served<QueryResult>> {
    const { clock, work } = this.#options;
    const startedMs = clock();
    let result = "ok";
    try {
      return await this.#read(shard, query, consistency, context);
    } catch (error) {
      result = codeOf(error);
      throw error;
    } finally {
      work?.onOperation(query.type, consistency.type, result, clock() - startedMs);
    }
  }

  async #read(
    shard: ShardId,
    query: Query,
    consistency: Consistency,
    context: RequestContext,
  ): Promise<Served<QueryResult>> {
    const { localReads, nodeId, clock } = this.#options;
    if (localReads.hosts(shard)) {
      const startedMs = clock();
      const local = await localReads.read(shard, query, consistency, context.deadlineMs);
      context.timings.set("read", clock() - startedMs);
      if (local !== null) {
        return { ...local, shard, servedBy: nodeId };
      }
    }
    const journey: Journey = { shard, context, isUncertain: false };
    const payload = encodeForwardedQuery(query, consistency, shard);
    const { value, servedBy } = await this.#travel(journey, (target) =>
      this.#forwardRead(journey, target, payload),
    );
    return { value: decodeQueryResult(value), shard, servedBy, stalenessMs: 0 };
  }

  /** Tries until an attempt is done or the deadline has passed. */
  async #travel(
    journey: Journey,
    attempt: (target: NodeId) => Promise<Attempt<Uint8Array>>,
  ): Promise<{ value: Uint8Array; servedBy: NodeId }> {
    const { context, shard } = journey;
    for (;;) {
      const target = this.#target(shard);
      const result: Attempt<Uint8Array> =
        target === null ? { type: "retry", leader: null } : await attempt(target);
      if (result.type === "done") {
        return { value: result.value, servedBy: result.servedBy };
      }
      const { leaders, clock } = this.#options;
      if (result.type === "uncertain") {
        journey.isUncertain = true;
      } else if (result.leader !== null && result.leader !== target) {
        leaders.set(shard, result.leader);
        continue;
      } else if (target !== null && target === leaders.leader(shard) && !this.#hears(shard)) {
        // Nobody else would ever correct what this node believes.
        leaders.set(shard, null);
      }
      const leftMs = context.deadlineMs - clock();
      if (leftMs <= 0 || context.signal?.aborted) {
        throw journey.isUncertain ? this.#outcomeUnknown(journey) : this.#noLeader(journey);
      }
      const waitedFromMs = clock();
      await leaders.changed(shard, Math.min(retryWaitMs, leftMs));
      spend(context, "route", clock() - waitedFromMs);
    }
  }

  /** The leader when it is known and reachable; else some member of the shard, in turn, who may know better. */
  #target(shard: ShardId): NodeId | null {
    const { leaders, nodeId, isConnected } = this.#options;
    const leader = leaders.leader(shard);
    if (leader !== null && (leader === nodeId || isConnected(leader))) {
      return leader;
    }
    if (this.#hears(shard)) {
      return null;
    }
    const members = (this.table.members.get(shard) ?? []).filter(isConnected);
    this.#turn += 1;
    return members[this.#turn % Math.max(1, members.length)] ?? null;
  }

  /** Whether the own replica hears of a new leader as soon as anybody. */
  #hears(shard: ShardId): boolean {
    return this.#options.multiRaft.replica(shard)?.takesPart ?? false;
  }

  #proposeHere(journey: Journey, write: Write): Promise<Attempt<Uint8Array>> {
    return this.#proposeBytes(journey, write.localBytes());
  }

  #proposeBytes(journey: Journey, bytes: Uint8Array): Promise<Attempt<Uint8Array>> {
    const { multiRaft, nodeId, clock, timers, work, tracing } = this.#options;
    const { shard, context } = journey;
    const startedMs = clock();
    const span = tracing?.begin("raft.propose", "internal", context.trace) ?? null;
    const logged =
      span === null
        ? null
        : (index: number): void => tracing?.logged(shard, index, span.traceparent);
    return new Promise((resolve, reject) => {
      const timer = timers.after(Math.max(1, context.deadlineMs - clock()), () =>
        reject(this.#outcomeUnknown(journey)),
      );
      const done = (outcome: ProposalOutcome): void => {
        timer.cancel();
        const durationMs = clock() - startedMs;
        spend(context, "raft", durationMs);
        work?.onProposal(outcome.type, durationMs);
        span?.end(outcome.type === "applied" ? null : outcome.type);
        switch (outcome.type) {
          case "applied":
            resolve({ type: "done", value: outcome.result, servedBy: nodeId });
            return;
          case "dropped":
            resolve(retryAnywhere);
            return;
          case "unknown":
            reject(this.#outcomeUnknown(journey));
            return;
          case "refused":
            if (outcome.reason === "overloaded") {
              refuse();
            } else {
              resolve(retryAnywhere);
            }
        }
      };
      // A copy that went to another node before may still be applied.
      const refuse = (): void => {
        if (journey.isUncertain) {
          resolve({ type: "uncertain" });
        } else {
          reject(this.#overloaded(journey));
        }
      };
      const refusal = multiRaft.propose(shard, bytes, done, logged);
      if (refusal === null) {
        return;
      }
      timer.cancel();
      span?.end(refusal);
      if (refusal === "overloaded") {
        refuse();
      } else {
        resolve(retryAnywhere);
      }
    });
  }

  #forwardWrite(journey: Journey, to: NodeId, write: Write): Promise<Attempt<Uint8Array>> {
    return this.#forwardBytes(journey, to, write.forwardedBytes());
  }

  #forwardBytes(journey: Journey, to: NodeId, payload: Uint8Array): Promise<Attempt<Uint8Array>> {
    return this.#forward(journey, to, "write", payload);
  }

  async #forwardRead(
    journey: Journey,
    to: NodeId,
    payload: Uint8Array,
  ): Promise<Attempt<Uint8Array>> {
    const attempt = await this.#forward(journey, to, "read", payload);
    // A read changes nothing: not knowing is the same as not done.
    return attempt.type === "uncertain" ? retryAnywhere : attempt;
  }

  async #forward(
    journey: Journey,
    to: NodeId,
    kind: "read" | "write",
    payload: Uint8Array,
  ): Promise<Attempt<Uint8Array>> {
    const { forwarder, clock, work, tracing } = this.#options;
    const { shard, context } = journey;
    const startedMs = clock();
    const timeoutMs = Math.ceil(context.deadlineMs - startedMs);
    if (timeoutMs <= 0) {
      return retryAnywhere;
    }
    const span = tracing?.begin("forward", "client", context.trace) ?? null;
    span?.set({ shard, peer: to });
    const trace = span?.traceparent ?? context.trace;
    const epoch = this.table.epoch;
    const outcome = await forwarder.call(to, { shard, kind, epoch, payload, timeoutMs, trace });
    const result = outcome.type === "lost" ? outcome.reason : outcome.response.status;
    spend(context, "forward", clock() - startedMs);
    work?.onForward(to, result);
    span?.end(result === "ok" ? null : result);
    if (outcome.type === "lost") {
      return { type: "uncertain" };
    }
    const { response } = outcome;
    switch (response.status) {
      case "ok":
        return { type: "done", value: response.payload, servedBy: to };
      case "unknown":
        return { type: "uncertain" };
      case "overloaded":
        if (journey.isUncertain) {
          return { type: "uncertain" };
        }
        throw this.#overloaded(journey);
      case "not_leader":
      case "wrong_epoch":
      case "not_ready":
        return { type: "retry", leader: response.leader };
    }
  }

  #noLeader({ shard }: Journey): ServiceError {
    return new ServiceError(
      "no_leader",
      `shard ${shard} had no reachable leader before the request's deadline; nothing was done`,
      { shard, leader: this.#options.leaders.leader(shard), retryAfterMs: 1000 },
    );
  }

  #overloaded({ shard }: Journey): ServiceError {
    return new ServiceError(
      "overloaded",
      `shard ${shard} has too much work queued; nothing was done`,
      { shard, retryAfterMs: 1000 },
    );
  }

  #outcomeUnknown({ shard }: Journey): ServiceError {
    return new ServiceError(
      "outcome_unknown",
      `shard ${shard} did not confirm the operation before its deadline: it may or may not have been applied`,
      { shard, leader: this.#options.leaders.leader(shard) },
    );
  }
}

/** Adds to a stage of the request: it may come by more than once. */
function spend({ timings }: RequestContext, stage: string, durationMs: number): void {
  timings.set(stage, (timings.get(stage) ?? 0) + durationMs);
}

function codeOf(error: unknown): string {
  return error instanceof ServiceError ? error.code : "internal";
}

const retryAnywhere: Attempt<never> = { type: "retry", leader: null };

/**
 * One write and its bytes. Proposed on this node it needs no request id: its place in the log tells its fate. Forwarded it gets one, the
 * same for every retry.
 */
class Write {
  readonly #window: RequestWindow;
  readonly #shard: ShardId;
  readonly #command: Command;
  readonly #idempotency: IdempotencyKey | null;
  #request: RequestId | null = null;
  #bytes: Uint8Array | null = null;

  constructor(
    window: RequestWindow,
    shard: ShardId,
    command: Command,
    idempotency: IdempotencyKey | null,
  ) {
    this.#window = window;
    this.#shard = shard;
    this.#command = command;
    this.#idempotency = idempotency;
  }

  /** Once forwarded, always under the same request id: the other copy may still arrive. */
  localBytes(): Uint8Array {
    return this.#bytes ?? this.#encode(null);
  }

  forwardedBytes(): Uint8Array {
    this.#request ??= this.#window.open(this.#shard);
    this.#bytes ??= this.#encode(this.#request);
    return this.#bytes;
  }

  close(): void {
    if (this.#request !== null) {
      this.#window.close(this.#shard, this.#request);
    }
  }

  #encode(request: RequestId | null): Uint8Array {
    return encodeCommandEnvelope({
      request,
      idempotency: this.#idempotency,
      command: this.#command,
    });
  }
}
