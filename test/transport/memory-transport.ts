import { assert } from "../../cluster/assert.ts";
import type {
  Frame,
  Hello,
  Peer,
  PeerStatus,
  SnapshotHeader,
  Transport,
  TransportHandlers,
} from "../../cluster/multiraft/transport.ts";
import type { UnreachableEvidence } from "../../cluster/raft/ready.ts";
import type { NodeId } from "../../cluster/types.ts";
import { decodeFrame, encodeFrame } from "../../cluster/transport/frame-codec.ts";
import { refusal } from "../../cluster/transport/handshake.ts";

export interface MemoryNetworkOptions {
  /**
   * Decides when something happens that goes from one node to another: calls `event` later, never within the call. Events that are
   * called in the order in which they were scheduled make a network that keeps its order. The network itself knows no time.
   */
  readonly schedule: (from: NodeId, to: NodeId, event: () => void) => void;
  /** False: the frame is lost. Asked when it is sent. */
  readonly passes?: (from: NodeId, to: NodeId, frame: Frame) => boolean;
}

/** All nodes of a cluster inside one process. Given the same calls and the same schedule, the same things happen in the same order. */
export class MemoryNetwork {
  readonly #options: MemoryNetworkOptions;
  readonly #listeners = new Map<string, MemoryTransport>();
  readonly #cuts = new Set<string>();

  constructor(options: MemoryNetworkOptions) {
    this.#options = options;
  }

  /** What `from` sends to `to` is swallowed from now on; neither is told. Not the other way round. */
  cut(from: NodeId, to: NodeId): void {
    this.#cuts.add(cutKey(from, to));
  }

  /** Undoes `cut`, both ways. */
  mend(one: NodeId, other: NodeId): void {
    this.#cuts.delete(cutKey(one, other));
    this.#cuts.delete(cutKey(other, one));
    this.reconsider();
  }

  /** Breaks the connection between two living nodes: both see it as `lost`, and connect again unless they are cut off. */
  reset(one: NodeId, other: NodeId): void {
    for (const transport of this.#listeners.values()) {
      const id = transport.identity().nodeId;
      if (id === one || id === other) {
        transport.drop(id === one ? other : one, "lost");
      }
    }
    this.reconsider();
  }

  isCut(from: NodeId, to: NodeId): boolean {
    return this.#cuts.has(cutKey(from, to));
  }

  passes(from: NodeId, to: NodeId, frame: Frame): boolean {
    return !this.isCut(from, to) && (this.#options.passes?.(from, to, frame) ?? true);
  }

  schedule(from: NodeId, to: NodeId, event: () => void): void {
    this.#options.schedule(from, to, event);
  }

  listen(address: string, transport: MemoryTransport): void {
    assert(!this.#listeners.has(address), `somebody listens on ${address} already`);
    this.#listeners.set(address, transport);
  }

  unlisten(address: string): void {
    this.#listeners.delete(address);
  }

  at(address: string): MemoryTransport | null {
    return this.#listeners.get(address) ?? null;
  }

  /** Connects whoever wants to be connected and can be. Nobody tries again by itself: call it when an identity has changed. */
  reconsider(): void {
    for (const transport of [...this.#listeners.values()]) {
      for (const peer of transport.peers()) {
        if (!transport.isConnected(peer.id)) {
          this.schedule(transport.identity().nodeId, peer.id, () => transport.dial(peer.id));
        }
      }
    }
  }
}

export interface MemoryTransportOptions {
  readonly network: MemoryNetwork;
  readonly address: string;
  readonly own: () => Hello;
  readonly verifyPeer?: (theirs: Hello) => string | null;
  readonly onProblem?: (peer: NodeId | null, problem: string) => void;
  readonly queueBytesMax?: number;
  readonly snapshotReceivesMax?: number;
}

interface Connection {
  readonly remote: MemoryTransport;
  /** The same object at both ends: tells this connection from those before and after it. */
  readonly link: object;
  readonly theirs: Hello;
  queuedBytes: number;
}

interface Counters {
  problem: string | null;
  sentFrames: number;
  sentBytes: number;
  receivedFrames: number;
  receivedBytes: number;
  droppedFrames: number;
  connections: number;
}

/** Transport without a wire: for tests and simulations. Frames go through the real codec, so nothing is shared by accident. */
export class MemoryTransport implements Transport {
  readonly #options: MemoryTransportOptions;
  readonly #network: MemoryNetwork;
  readonly #connections = new Map<NodeId, Connection>();
  readonly #counters = new Map<NodeId, Counters>();
  readonly #incarnations = new Map<string, number>();
  /** Who sends a snapshot to this node, and is to be told when it is gone. */
  readonly #incoming = new Set<() => void>();
  #peers = new Map<NodeId, Peer>();
  #handlers: TransportHandlers | null = null;
  #snapshotReceives = 0;
  #isStopped = false;

  constructor(options: MemoryTransportOptions) {
    this.#options = options;
    this.#network = options.network;
  }

  start(handlers: TransportHandlers): Promise<void> {
    this.#handlers = handlers;
    this.#network.listen(this.#options.address, this);
    this.#network.reconsider();
    return Promise.resolve();
  }

  stop(): Promise<void> {
    this.kill();
    return Promise.resolve();
  }

  /** What `kill -9` does: peers learn that the process is gone, and here nothing happens any more. Idempotent. */
  kill(): void {
    if (this.#isStopped) {
      return;
    }
    this.#isStopped = true;
    this.#network.unlisten(this.#options.address);
    const own = this.identity().nodeId;
    for (const [peer, { remote, link }] of this.#connections) {
      this.#network.schedule(own, peer, () => {
        if (!this.#network.isCut(own, peer)) {
          remote.#lose(own, link, "gone");
        }
      });
    }
    this.#connections.clear();
    this.#incoming.forEach((giveUp) => giveUp());
  }

  setPeers(peers: readonly Peer[]): void {
    const own = this.identity().nodeId;
    this.#peers = new Map(peers.filter(({ id }) => id !== own).map((peer) => [peer.id, peer]));
    for (const [id, { remote, link }] of [...this.#connections]) {
      if (!this.#peers.has(id)) {
        this.drop(id, "lost");
        this.#network.schedule(own, id, () => remote.#lose(own, link, "lost"));
      }
    }
    if (this.#isRunning()) {
      this.#network.reconsider();
    }
  }

  send(to: NodeId, frame: Frame): boolean {
    const counters = this.#count(to);
    const connection = this.#connections.get(to);
    if (connection === undefined || !this.#isRunning()) {
      counters.droppedFrames++;
      return false;
    }
    const own = this.identity().nodeId;
    const bytes = encodeFrame(frame, { from: own, to });
    if (connection.queuedBytes + bytes.length > (this.#options.queueBytesMax ?? Infinity)) {
      counters.droppedFrames++;
      return false;
    }
    counters.sentFrames++;
    counters.sentBytes += bytes.length;
    if (this.#network.passes(own, to, frame)) {
      connection.queuedBytes += bytes.length;
      this.#network.schedule(own, to, () => {
        connection.queuedBytes -= bytes.length;
        connection.remote.#receive(own, connection.link, bytes);
      });
    }
    return true;
  }

  async sendSnapshot(
    to: NodeId,
    header: SnapshotHeader,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void> {
    signal.throwIfAborted();
    const own = this.identity().nodeId;
    const remote = this.#connections.get(to)?.remote;
    if (remote === undefined) {
      throw new Error(`snapshot to ${to}: not connected`);
    }
    const check = () => {
      signal.throwIfAborted();
      if (this.#network.isCut(own, to) || !remote.#isRunning() || !this.#isRunning()) {
        throw new Error(`snapshot to ${to}: the connection broke`);
      }
    };
    const arrive = (): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#network.schedule(own, to, resolve);
      return promise;
    };
    await arrive();
    check();
    const { promise: broken, reject } = Promise.withResolvers<never>();
    const giveUp = () =>
      this.#network.schedule(to, own, () => reject(new Error(`snapshot to ${to}: it is gone`)));
    remote.#incoming.add(giveUp);
    try {
      // A receiver that dies may leave its own promises open for ever: nothing of a dead process runs.
      await Promise.race([
        remote.#receiveSnapshot(own, header, deliver(chunks, check, arrive)),
        broken,
      ]);
    } finally {
      remote.#incoming.delete(giveUp);
    }
    check();
  }

  /** Never silent: who cannot be reached is refused at once, so no time is needed. */
  hello(address: string, own: Hello): Promise<Hello> {
    const { promise, resolve, reject } = Promise.withResolvers<Hello>();
    const to = this.#network.at(address)?.identity().nodeId ?? own.nodeId;
    this.#network.schedule(own.nodeId, to, () => {
      const remote = this.#network.at(address);
      const handlers = remote === null ? null : remote.#handlers;
      if (this.#network.isCut(own.nodeId, to) || handlers === null) {
        reject(new Error(`hello to ${address}: connection refused`));
      } else {
        resolve(handlers.onHello(own));
      }
    });
    return promise;
  }

  /** For the network: who this is. */
  identity(): Hello {
    return this.#options.own();
  }

  status(): ReadonlyMap<NodeId, PeerStatus> {
    const entries = Array.from(this.#peers.values(), ({ id, address }): [NodeId, PeerStatus] => {
      const { connections, ...counters } = this.#count(id);
      const connection = this.#connections.get(id);
      const status = {
        address,
        isConnected: connection !== undefined,
        queuedBytes: connection?.queuedBytes ?? 0,
        reconnects: Math.max(0, connections - 1),
        ...counters,
      };
      return [id, status];
    });
    return new Map(entries);
  }

  /** For the network: whom this node wants to be connected to. */
  peers(): readonly Peer[] {
    return [...this.#peers.values()];
  }

  isConnected(peer: NodeId): boolean {
    return this.#connections.has(peer);
  }

  /** For the network: tries to connect to a peer; both ends are connected afterwards, or none. */
  dial(to: NodeId): void {
    const peer = this.#peers.get(to);
    if (peer === undefined || this.#connections.has(to) || !this.#isRunning()) {
      return;
    }
    const own = this.identity();
    const remote = this.#network.at(peer.address);
    if (
      remote === null ||
      this.#network.isCut(own.nodeId, to) ||
      this.#network.isCut(to, own.nodeId)
    ) {
      this.#noteProblem(to, "connection refused");
      return;
    }
    const theirs = remote.identity();
    const reason = remote.#refusal(own, to) ?? this.#refusal(theirs, own.nodeId);
    if (reason !== null) {
      this.#noteProblem(to, reason);
      remote.#noteProblem(own.nodeId, reason);
      return;
    }
    const link = {};
    remote.#connect(this, own, link);
    this.#connect(remote, theirs, link);
  }

  /** For the network: ends the connection to a peer on this side. */
  drop(peer: NodeId, evidence: UnreachableEvidence): void {
    if (this.#connections.delete(peer) && this.#isRunning()) {
      this.#handlers?.onPeerDisconnected(peer, evidence);
    }
  }

  #isRunning(): boolean {
    return this.#handlers !== null && !this.#isStopped;
  }

  #connect(remote: MemoryTransport, theirs: Hello, link: object): void {
    const id = theirs.nodeId;
    const old = this.#connections.get(id);
    if (old !== undefined) {
      this.drop(id, "gone");
      this.#network.schedule(this.identity().nodeId, id, () =>
        old.remote.#lose(this.identity().nodeId, old.link, "lost"),
      );
    }
    this.#connections.set(id, { remote, link, theirs, queuedBytes: 0 });
    this.#incarnations.set(theirs.instanceId, theirs.incarnation);
    const counters = this.#count(id);
    counters.connections++;
    counters.problem = null;
    this.#handlers?.onPeerConnected(id);
  }

  /** The far end of this connection is no more. */
  #lose(peer: NodeId, link: object, evidence: UnreachableEvidence): void {
    if (this.#connections.get(peer)?.link === link) {
      this.drop(peer, evidence);
      this.#network.reconsider();
    }
  }

  #receive(from: NodeId, link: object, bytes: Buffer): void {
    if (this.#connections.get(from)?.link !== link || !this.#isRunning()) {
      return;
    }
    const counters = this.#count(from);
    counters.receivedFrames++;
    counters.receivedBytes += bytes.length;
    const received = decodeFrame(bytes, { from, to: this.identity().nodeId });
    if (received.type === "frame") {
      this.#handlers?.onFrame(from, received.frame);
    }
  }

  async #receiveSnapshot(
    from: NodeId,
    header: SnapshotHeader,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    if (this.#snapshotReceives >= (this.#options.snapshotReceivesMax ?? 2)) {
      throw new Error(`${this.#snapshotReceives} snapshots are being received already`);
    }
    this.#snapshotReceives++;
    try {
      await this.#handlers?.onSnapshot(from, header, chunks);
    } finally {
      this.#snapshotReceives--;
    }
  }

  #refusal(theirs: Hello, target: NodeId): string | null {
    const own = this.identity();
    const reason = refusal({ hello: theirs, target }, own);
    if (reason !== null) {
      return reason;
    }
    if (!this.#peers.has(theirs.nodeId)) {
      return `${theirs.nodeId} is not among the peers of this node`;
    }
    const latest = this.#incarnations.get(theirs.instanceId) ?? 0;
    if (theirs.incarnation < latest) {
      return `incarnation ${theirs.incarnation} of ${theirs.nodeId} is over, ${latest} has been here`;
    }
    return this.#options.verifyPeer?.(theirs) ?? null;
  }

  #count(peer: NodeId): Counters {
    let counters = this.#counters.get(peer);
    if (counters === undefined) {
      counters = {
        problem: null,
        sentFrames: 0,
        sentBytes: 0,
        receivedFrames: 0,
        receivedBytes: 0,
        droppedFrames: 0,
        connections: 0,
      };
      this.#counters.set(peer, counters);
    }
    return counters;
  }

  #noteProblem(peer: NodeId, problem: string): void {
    const counters = this.#count(peer);
    if (counters.problem !== problem) {
      counters.problem = problem;
      this.#options.onProblem?.(peer, problem);
    }
  }
}

/** The sender's chunks as the receiver gets them: later, copied, and only while the connection stands. */
async function* deliver(
  chunks: AsyncIterable<Uint8Array>,
  check: () => void,
  arrive: () => Promise<void>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    await arrive();
    check();
    yield chunk.slice();
  }
  check();
}

function cutKey(from: NodeId, to: NodeId): string {
  return `${from} ${to}`;
}
