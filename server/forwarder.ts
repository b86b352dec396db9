import type { NodeId, ShardId } from "../cluster/types.ts";
import type { ForwardRequest, ForwardResponse } from "../cluster/multiraft/transport.ts";
import { crc32c } from "../storage/checksum.ts";
import type { Identity } from "../storage/identity-file.ts";
import type { Timer, Timers } from "./timers.ts";

/** What came of sending a request to another node. `lost`: no answer; the other node may or may not have acted. */
export type ForwardOutcome =
  | { readonly type: "answered"; readonly response: ForwardResponse }
  | {
      readonly type: "lost";
      readonly reason: "timeout" | "disconnected" | "superseded" | "stopped";
    };

/** One request to another node; `timeoutMs` from now. */
export interface ForwardCall {
  readonly shard: ShardId;
  readonly kind: ForwardRequest["kind"];
  readonly epoch: number;
  readonly payload: Uint8Array;
  readonly timeoutMs: number;
  readonly trace: string;
}

interface Pending {
  readonly to: NodeId;
  readonly call: ForwardCall;
  readonly done: (outcome: ForwardOutcome) => void;
  readonly timer: Timer;
}

/** Requests that other nodes work on for us, each with a deadline. A broken connection ends its requests at once. */
export class Forwarder {
  readonly #send: (to: NodeId, request: ForwardRequest) => void;
  readonly #timers: Timers;
  readonly #pending = new Map<number, Pending>();
  #lastId: number;

  /** @param idsAfter see `idsOfStart` */
  constructor(timers: Timers, send: (to: NodeId, request: ForwardRequest) => void, idsAfter = 0) {
    this.#timers = timers;
    this.#send = send;
    this.#lastId = idsAfter;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** Sends the request with the next frame. Never rejects. */
  call(to: NodeId, call: ForwardCall): Promise<ForwardOutcome> {
    return new Promise((done) => {
      this.#lastId += 1;
      const id = this.#lastId;
      const timer = this.#timers.after(call.timeoutMs, () => this.#finish(id, lostByTimeout));
      this.#pending.set(id, { to, call, done, timer });
      this.#send(to, { id, ...call });
    });
  }

  onResponse(response: ForwardResponse): void {
    this.#finish(response.id, { type: "answered", response });
  }

  onPeerDisconnected(peer: NodeId): void {
    for (const [id, pending] of this.#pending) {
      if (pending.to === peer) {
        this.#finish(id, { type: "lost", reason: "disconnected" });
      }
    }
  }

  /** The shard has another leader: whoever was asked before may be cut off, and waiting for it would only use up the deadline. */
  onLeaderChange(shard: ShardId, leader: NodeId | null): void {
    if (leader === null) {
      return;
    }
    for (const [id, { to, call }] of this.#pending) {
      // Any replica serves a watch.
      if (call.shard === shard && to !== leader && call.kind !== "watch") {
        this.#finish(id, { type: "lost", reason: "superseded" });
      }
    }
  }

  /** Ends all requests as lost. */
  stop(): void {
    for (const id of [...this.#pending.keys()]) {
      this.#finish(id, { type: "lost", reason: "stopped" });
    }
  }

  #finish(id: number, outcome: ForwardOutcome): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) {
      return;
    }
    this.#pending.delete(id);
    pending.timer.cancel();
    pending.done(outcome);
  }
}

const lostByTimeout: ForwardOutcome = { type: "lost", reason: "timeout" };

const startsMax = 2 ** 20;
const idsPerStart = 2 ** 32;

/**
 * Where the ids of one start of a node begin: the answer to a request of an earlier start may still come, over the connection of this one,
 * and must not be taken for the answer to another request. Starts of one data directory never share ids; a wiped one hardly ever does.
 */
export function idsOfStart({ instanceId, incarnation }: Identity): number {
  const start = (crc32c(Buffer.from(instanceId)) + incarnation) % startsMax;
  return start * idsPerStart;
}
