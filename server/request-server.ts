import type { MultiRaft } from "../cluster/multiraft/multi-raft.ts";
import type { ProposalOutcome } from "../cluster/multiraft/proposals.ts";
import type { ForwardRequest, ForwardResponse } from "../cluster/multiraft/transport.ts";
import { metaShard, type NodeId } from "../cluster/types.ts";
import { decodeCommandEnvelope } from "../storage/command-codec.ts";
import { decodeMetaCommand } from "../storage/meta-commands.ts";
import { encodeQueryResult } from "../storage/query-codec.ts";
import { ServiceError } from "./errors.ts";
import type { WatchService } from "./watch-service.ts";
import { decodeForwardedQuery } from "./forwarded-query.ts";
import type { EntryTracing } from "./entry-tracing.ts";
import type { LeaderWatch } from "./leader-watch.ts";
import type { LocalReads } from "./local-reads.ts";
import type { WorkObserver } from "./work-observer.ts";

/** What it takes to serve other nodes' requests. */
export interface RequestServerOptions {
  readonly multiRaft: MultiRaft;
  readonly localReads: LocalReads;
  readonly leaders: LeaderWatch;
  readonly watches: Pick<WatchService, "answer">;
  readonly clock: () => number;
  /** Epoch since which keys are where they are; requests routed by an older map are refused. */
  readonly ringEpoch: () => number;
  readonly work: WorkObserver | null;
  /** Null while tracing is off. */
  readonly tracing: EntryTracing | null;
}

/** Runs what other nodes ask of this one: commands for groups that it leads, reads and watches of shards that it holds. */
export class RequestServer {
  readonly #options: RequestServerOptions;

  constructor(options: RequestServerOptions) {
    this.#options = options;
  }

  onRequest(from: NodeId, request: ForwardRequest): void {
    if (request.kind === "trace") {
      this.#options.tracing?.noted(request);
      return;
    }
    if (request.epoch < this.#options.ringEpoch()) {
      this.#options.work?.onWrongMap();
      this.#respond(from, request, "wrong_epoch", nothing);
      return;
    }
    if (request.kind === "write") {
      if (isReadableCommand(request)) {
        this.#propose(from, request);
      } else {
        this.#respond(from, request, "not_ready", nothing);
      }
      return;
    }
    const answered =
      request.kind === "watch" ? this.#watch(from, request) : this.#read(from, request);
    answered.catch((error: unknown) => {
      const isOverload = error instanceof ServiceError && error.code === "overloaded";
      this.#respond(from, request, isOverload ? "overloaded" : "not_ready", nothing);
    });
  }

  #propose(from: NodeId, request: ForwardRequest): void {
    const { multiRaft, work, tracing, clock } = this.#options;
    const { shard } = request;
    const startedMs = clock();
    const span = tracing?.begin("raft.propose", "server", request.trace) ?? null;
    const logged =
      span === null ? null : (index: number) => tracing?.logged(shard, index, span.traceparent);
    const done = (outcome: ProposalOutcome): void => {
      work?.onProposal(outcome.type, clock() - startedMs);
      span?.end(outcome.type === "applied" ? null : outcome.type);
      switch (outcome.type) {
        case "applied":
          this.#respond(from, request, "ok", outcome.result);
          return;
        case "dropped":
          this.#respond(from, request, "not_leader", nothing);
          return;
        case "unknown":
          this.#respond(from, request, "unknown", nothing);
          return;
        case "refused":
          this.#respond(
            from,
            request,
            outcome.reason === "overloaded" ? "overloaded" : "not_leader",
            nothing,
          );
      }
    };
    const refusal = multiRaft.propose(shard, request.payload, done, logged);
    if (refusal !== null) {
      span?.end(refusal);
      const status = refusal === "overloaded" ? "overloaded" : "not_leader";
      this.#respond(from, request, status, nothing);
    }
  }

  async #read(from: NodeId, request: ForwardRequest): Promise<void> {
    const { localReads, clock } = this.#options;
    const { query, consistency } = decodeForwardedQuery(request.payload, request.shard);
    const deadlineMs = clock() + request.timeoutMs;
    const isHere = localReads.hosts(request.shard);
    const read = isHere
      ? await localReads.read(request.shard, query, consistency, deadlineMs)
      : null;
    if (read === null) {
      this.#respond(from, request, "not_ready", nothing);
    } else {
      this.#respond(from, request, "ok", encodeQueryResult(read.value));
    }
  }

  async #watch(from: NodeId, request: ForwardRequest): Promise<void> {
    const answer = await this.#options.watches.answer(request.shard, request.payload);
    if (answer === null) {
      this.#respond(from, request, "not_ready", nothing);
    } else {
      this.#respond(from, request, "ok", answer);
    }
  }

  #respond(
    to: NodeId,
    request: ForwardRequest,
    status: ForwardResponse["status"],
    payload: Uint8Array,
  ): void {
    const { multiRaft, leaders } = this.#options;
    const revision = multiRaft.floor;
    const leader = leaders.leader(request.shard);
    multiRaft.respond(to, { id: request.id, status, payload, leader, revision });
  }
}

const nothing = new Uint8Array(0);

/** What is in the log must be readable by every replica: a command of a newer version than this one stays outside. */
function isReadableCommand({ shard, payload }: ForwardRequest): boolean {
  try {
    if (shard === metaShard) {
      decodeMetaCommand(payload);
    } else {
      decodeCommandEnvelope(payload);
    }
    return true;
  } catch {
    return false;
  }
}
