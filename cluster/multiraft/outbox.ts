import type { Message } from "../raft/message.ts";
import type { NodeId, Revision, ShardId } from "../types.ts";
import type {
  ForwardRequest,
  ForwardResponse,
  ShardDigest,
  ShardMessage,
  Transport,
} from "./transport.ts";

interface PeerBox {
  messages: ShardMessage[];
  requests: ForwardRequest[];
  responses: ForwardResponse[];
  digests: ShardDigest[];
  /** Send a frame even when it is empty: the node-level heartbeat. */
  isDue: boolean;
  /** `sentMs` of the newest frame that came from the peer, to be echoed once. */
  echoMs: number;
}

/** What travels on every frame beside the content. */
export interface FrameHeader {
  readonly floor: Revision;
  readonly epoch: number;
  readonly nowMs: number;
}

/** Collects what goes to each peer, so that one flush is one frame per peer, whatever the number of shards. */
export class Outbox {
  readonly #boxes = new Map<NodeId, PeerBox>();

  addMessage(shard: ShardId, message: Message): void {
    this.#box(message.to).messages.push({ shard, message });
  }

  addRequest(to: NodeId, request: ForwardRequest): void {
    this.#box(to).requests.push(request);
  }

  addResponse(to: NodeId, response: ForwardResponse): void {
    this.#box(to).responses.push(response);
  }

  addDigest(to: NodeId, digest: ShardDigest): void {
    const box = this.#box(to);
    box.digests.push(digest);
    box.isDue = true;
  }

  /** The next flush sends a frame to this peer in any case. */
  heartbeat(to: NodeId): void {
    this.#box(to).isDue = true;
  }

  /** Remembers when the peer sent its newest frame, so that the next frame to it echoes the time. */
  echo(to: NodeId, sentMs: number): void {
    this.#box(to).echoMs = sentMs;
  }

  /** Whether the next flush sends a frame to this peer. */
  hasFor(peer: NodeId): boolean {
    const box = this.#boxes.get(peer);
    return box !== undefined && !isIdle(box);
  }

  /** Sends one frame to every peer that has something; returns the requests that the transport dropped at once. */
  flush(transport: Transport, header: FrameHeader): { to: NodeId; request: ForwardRequest }[] {
    const dropped: { to: NodeId; request: ForwardRequest }[] = [];
    for (const [to, box] of this.#boxes) {
      if (isIdle(box)) {
        continue;
      }
      const { messages, requests, responses, digests, echoMs } = box;
      box.messages = [];
      box.requests = [];
      box.responses = [];
      box.digests = [];
      box.isDue = false;
      box.echoMs = 0;
      const isQueued = transport.send(to, {
        messages,
        requests,
        responses,
        digests,
        floor: header.floor,
        epoch: header.epoch,
        sentMs: header.nowMs,
        echoMs,
      });
      if (!isQueued) {
        for (const request of requests) {
          dropped.push({ to, request });
        }
      }
    }
    return dropped;
  }

  #box(peer: NodeId): PeerBox {
    let box = this.#boxes.get(peer);
    if (box === undefined) {
      box = {
        messages: [],
        requests: [],
        responses: [],
        digests: [],
        isDue: false,
        echoMs: 0,
      };
      this.#boxes.set(peer, box);
    }
    return box;
  }
}

function isIdle({ messages, requests, responses, isDue }: PeerBox): boolean {
  return messages.length === 0 && requests.length === 0 && responses.length === 0 && !isDue;
}
