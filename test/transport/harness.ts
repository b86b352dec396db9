import { once, EventEmitter } from "node:events";
import assert from "node:assert/strict";
import type {
  Frame,
  Hello,
  Peer,
  SnapshotHeader,
  Transport,
  TransportHandlers,
} from "../../cluster/multiraft/transport.ts";
import { NodeId } from "../../cluster/types.ts";

/** What a test node has seen, in order. */
export type TestEvent =
  | { readonly type: "frame"; readonly peer: NodeId; readonly frame: Frame }
  | { readonly type: "connected"; readonly peer: NodeId }
  | { readonly type: "gone" | "lost"; readonly peer: NodeId }
  | { readonly type: "problem"; readonly peer: NodeId | null; readonly problem: string };

export interface TestNodeOptions {
  readonly id: string;
  readonly instanceId?: string;
  readonly clusterId?: string | null;
  readonly incarnation?: number;
  readonly verifyPeer?: (theirs: Hello) => string | null;
  readonly snapshotReceivesMax?: number;
  /** Listen here again instead of on a new address. */
  readonly address?: string;
}

/** What an implementation's factory is given. */
export interface TransportSetup extends TestNodeOptions {
  readonly own: () => Hello;
  readonly onProblem: (peer: NodeId | null, problem: string) => void;
}

/** Makes a transport, not started; `address` is known once it is. */
export type MakeTransport = (setup: TransportSetup) => {
  readonly transport: Transport;
  readonly address: () => string;
};

const livenessMs = 15_000;

/** A transport with a memory. */
export class TestNode {
  readonly id: NodeId;
  readonly transport: Transport;
  readonly events: TestEvent[] = [];
  readonly #frames: Frame[] = [];
  readonly #address: () => string;
  readonly #own: () => Hello;
  readonly #seen = new EventEmitter();
  onSnapshot: TransportHandlers["onSnapshot"] = async (_from, _header, chunks) => {
    for await (const _chunk of chunks) {
      // Swallowed.
    }
  };

  constructor(options: TestNodeOptions, make: MakeTransport) {
    this.id = NodeId(options.id);
    const { clusterId = "cluster-1" } = options;
    this.#own = () => ({
      nodeId: this.id,
      instanceId: options.instanceId ?? `instance-of-${options.id}`,
      clusterId,
      founders: new Map([[NodeId("n1"), "instance-of-n1"]]),
      incarnation: options.incarnation ?? 1,
      peerAddress: `${options.id}.test:7081`,
      httpAddress: `${options.id}.test:8081`,
    });
    const { transport, address } = make({
      ...options,
      own: this.#own,
      onProblem: (peer, problem) => this.#note({ type: "problem", peer, problem }),
    });
    this.transport = transport;
    this.#address = address;
  }

  get address(): string {
    return this.#address();
  }

  get hello(): Hello {
    return this.#own();
  }

  get peer(): Peer {
    return { id: this.id, address: this.address };
  }

  start(): Promise<void> {
    return this.transport.start({
      onFrame: (peer, frame) => this.#note({ type: "frame", peer, frame }),
      onSnapshot: (from: NodeId, header: SnapshotHeader, chunks) =>
        this.onSnapshot(from, header, chunks),
      onPeerConnected: (peer) => this.#note({ type: "connected", peer }),
      onPeerDisconnected: (peer, evidence) => this.#note({ type: evidence, peer }),
      onHello: () => this.#own(),
    });
  }

  frames(): readonly Frame[] {
    return this.#frames;
  }

  problemWith(peer: TestNode): string | null {
    return this.transport.status().get(peer.id)?.problem ?? null;
  }

  isConnectedTo(peer: TestNode): boolean {
    return this.transport.status().get(peer.id)?.isConnected ?? false;
  }

  /** Waits until `condition` holds, looking whenever something was seen. */
  async until(what: string, condition: () => boolean): Promise<void> {
    const signal = AbortSignal.timeout(livenessMs);
    while (!condition()) {
      try {
        await once(this.#seen, "event", { signal });
      } catch {
        assert.fail(`${this.id}: ${what} did not happen; seen: ${this.describe()}`);
      }
    }
  }

  async untilConnected(peer: TestNode): Promise<void> {
    await this.until(`a connection to ${peer.id}`, () => this.isConnectedTo(peer));
  }

  /** How often `type` was seen about `peer`. */
  count(type: TestEvent["type"], peer: TestNode): number {
    return this.events.filter((event) => event.type === type && event.peer === peer.id).length;
  }

  describe(): string {
    return this.events
      .filter(({ type }) => type !== "frame")
      .map(
        (event) => `${event.type} ${event.peer}${"problem" in event ? `: ${event.problem}` : ""}`,
      )
      .join("; ");
  }

  #note(event: TestEvent): void {
    this.events.push(event);
    if (event.type === "frame") {
      this.#frames.push(event.frame);
    }
    this.#seen.emit("event");
  }
}

/** Makes everybody known to everybody, and waits for the connections. */
export async function connect(...nodes: readonly TestNode[]): Promise<void> {
  const peers = nodes.map((node) => node.peer);
  for (const node of nodes) {
    node.transport.setPeers(peers);
  }
  for (const node of nodes) {
    for (const peer of nodes.filter((other) => other !== node)) {
      await node.untilConnected(peer);
    }
  }
}
