import {
  Server,
  status,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServiceError,
} from "@grpc/grpc-js";
import { assert } from "../assert.ts";
import type {
  Frame,
  Hello,
  Peer,
  PeerStatus,
  SnapshotHeader,
  Transport,
  TransportHandlers,
} from "../multiraft/transport.ts";
import type { NodeId } from "../types.ts";
import { insecurePeerCredentials, type PeerCredentials } from "./credentials.ts";
import { openClient } from "./dial.ts";
import type { Close } from "./frame-codec.ts";
import { openMetadata, readOpen, refusal } from "./handshake.ts";
import { channelOptions, defaultLimits, type TransportLimits } from "./limits.ts";
import { PeerLink } from "./peer-link.ts";
import { peerMethods, type Open, type SnapshotPart, type SnapshotResult } from "./peer-proto.ts";
import { probe } from "./probe.ts";
import { receiveSnapshot, sendSnapshot, TransportError } from "./snapshot-stream.ts";

/** Where to listen, who this node is, and who else may come in. */
export interface GrpcTransportOptions {
  /** `host:port` to listen on; port 0 takes any that is free. */
  readonly listenAddress: string;
  /** What this node says of itself at the moment. Streams are refused while it has no cluster id. */
  readonly own: () => Hello;
  /** The host's own check of a peer that wants to connect, after those of the transport: null, or why not. */
  readonly verifyPeer?: (theirs: Hello) => string | null;
  /** For the log: a connection was refused or lost. Called when the reason changes, not at each attempt. `peer` null: a stranger. */
  readonly onProblem?: (peer: NodeId | null, problem: string) => void;
  readonly credentials?: PeerCredentials;
  readonly limits?: Partial<TransportLimits>;
}

/** Transport over gRPC: one stream per pair of nodes, snapshots on streams of their own. */
export class GrpcTransport implements Transport {
  readonly #options: GrpcTransportOptions;
  readonly #limits: TransportLimits;
  readonly #credentials: PeerCredentials;
  readonly #links = new Map<NodeId, PeerLink>();
  readonly #stopping = new AbortController();
  #peers: readonly Peer[] = [];
  #server: Server | null = null;
  #handlers: TransportHandlers | null = null;
  #port = 0;
  #snapshotReceives = 0;
  #strangersProblem = "";
  #stopped: Promise<void> | null = null;

  constructor(options: GrpcTransportOptions) {
    this.#options = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#credentials = options.credentials ?? insecurePeerCredentials();
  }

  /** The port that is listened on; after `start`. */
  get port(): number {
    return this.#port;
  }

  async start(handlers: TransportHandlers): Promise<void> {
    assert(this.#server === null, "a transport starts once");
    const server = new Server(channelOptions(this.#limits));
    this.#server = server;
    this.#handlers = handlers;
    server.addService(peerMethods, {
      hello: (call: ServerUnaryCall<Hello, Hello>, answer: sendUnaryData<Hello>) =>
        answer(null, handlers.onHello(call.request)),
      stream: (call: ServerDuplexStream<Buffer, Buffer>) => this.#onStream(call),
      snapshot: (
        call: ServerReadableStream<SnapshotPart, SnapshotResult>,
        answer: sendUnaryData<SnapshotResult>,
      ) => void this.#onSnapshot(call, answer),
    });
    this.#port = await bind(server, this.#options.listenAddress, this.#credentials);
    this.setPeers(this.#peers);
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  setPeers(peers: readonly Peer[]): void {
    this.#peers = peers;
    if (this.#server === null || this.#stopping.signal.aborted) {
      return;
    }
    const wanted = new Map(peers.map((peer) => [peer.id, peer]));
    wanted.delete(this.#options.own().nodeId);
    for (const [id, link] of this.#links) {
      if (!wanted.has(id)) {
        this.#links.delete(id);
        const wasConnected = link.isConnected;
        void link.close({ reason: "not_a_peer", detail: `${id} is no longer a peer` });
        if (wasConnected) {
          this.#handlers?.onPeerDisconnected(id, "lost");
        }
      }
    }
    for (const peer of wanted.values()) {
      const link = this.#links.get(peer.id);
      if (link !== undefined) {
        link.setAddress(peer.address);
      } else {
        const added = this.#link(peer);
        this.#links.set(peer.id, added);
        added.start();
      }
    }
  }

  send(to: NodeId, frame: Frame): boolean {
    return this.#links.get(to)?.send(frame) ?? false;
  }

  async sendSnapshot(
    to: NodeId,
    header: SnapshotHeader,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void> {
    const link = this.#links.get(to);
    if (link === undefined || !link.isConnected) {
      throw new TransportError(`snapshot to ${to}: not connected`);
    }
    await sendSnapshot({
      address: link.address,
      own: this.#options.own(),
      target: to,
      header,
      chunks,
      signal: AbortSignal.any([signal, this.#stopping.signal]),
      credentials: this.#credentials,
      limits: this.#limits,
    });
  }

  async hello(address: string, own: Hello, timeoutMs: number): Promise<Hello> {
    const deadline = Date.now() + timeoutMs;
    const found = await probe(address, timeoutMs, this.#stopping.signal);
    if (found !== "answered") {
      throw new TransportError(`hello to ${address}: ${found}`);
    }
    const { promise, resolve, reject } = Promise.withResolvers<Hello>();
    const client = openClient(address, this.#credentials, this.#limits);
    const { path, requestSerialize, responseDeserialize } = peerMethods.hello;
    const onAnswer = (error: ServiceError | null, theirs?: Hello) => {
      client.close();
      if (theirs === undefined) {
        const why = error?.details ?? "no answer";
        reject(new TransportError(`hello to ${address}: ${why}`, { cause: error }));
      } else {
        resolve(theirs);
      }
    };
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      own,
      { deadline },
      onAnswer,
    );
    return promise;
  }

  status(): ReadonlyMap<NodeId, PeerStatus> {
    return new Map(Array.from(this.#links, ([id, link]) => [id, link.status()]));
  }

  async #stop(): Promise<void> {
    this.#stopping.abort(new TransportError("this node is stopping"));
    const close: Close = { reason: "stopping", detail: "the node is shutting down" };
    await Promise.all(Array.from(this.#links.values(), (link) => link.close(close)));
    this.#links.clear();
    this.#server?.forceShutdown();
  }

  #link(peer: Peer): PeerLink {
    const { id } = peer;
    return new PeerLink({
      peer,
      own: this.#options.own,
      verifyPeer: this.#options.verifyPeer ?? (() => null),
      credentials: this.#credentials,
      limits: this.#limits,
      onFrame: (frame) => this.#handlers?.onFrame(id, frame),
      onConnected: () => this.#handlers?.onPeerConnected(id),
      onDisconnected: (evidence) => this.#handlers?.onPeerDisconnected(id, evidence),
      onProblem: (problem) => this.#options.onProblem?.(id, problem),
    });
  }

  #onStream(call: ServerDuplexStream<Buffer, Buffer>): void {
    const checked = this.#check(readOpen(call.metadata));
    const reason = checked.link?.accept(call, checked.open, () =>
      call.sendMetadata(openMetadata(this.#options.own(), checked.open.hello.nodeId)),
    );
    const refused = checked.reason ?? reason ?? null;
    if (refused !== null) {
      call.emit("error", { code: status.FAILED_PRECONDITION, details: refused });
    }
  }

  async #onSnapshot(
    call: ServerReadableStream<SnapshotPart, SnapshotResult>,
    answer: sendUnaryData<SnapshotResult>,
  ): Promise<void> {
    const { reason, open } = this.#check(readOpen(call.metadata));
    if (reason !== null) {
      answer({ code: status.FAILED_PRECONDITION, details: reason });
    } else if (this.#snapshotReceives >= this.#limits.snapshotReceivesMax) {
      const details = `${this.#snapshotReceives} snapshots are being received already`;
      answer({ code: status.RESOURCE_EXHAUSTED, details });
    } else {
      this.#snapshotReceives++;
      try {
        await receiveSnapshot({
          call,
          answer,
          limits: this.#limits,
          signal: this.#stopping.signal,
          handle: async (header, chunks) => {
            await this.#handlers?.onSnapshot(open.hello.nodeId, header, chunks);
          },
        });
      } finally {
        this.#snapshotReceives--;
      }
    }
  }

  /** Whether a caller is one of our peers. */
  #check(
    open: Open | null,
  ): { reason: null; open: Open; link: PeerLink } | { reason: string; open: null; link: null } {
    const reason = this.#stopping.signal.aborted
      ? "the node is shutting down"
      : refusal(open, this.#options.own());
    const link = open === null ? undefined : this.#links.get(open.hello.nodeId);
    if (reason === null && open !== null && link !== undefined) {
      return { reason, open, link };
    }
    const problem = reason ?? `${open?.hello.nodeId ?? "it"} is not among the peers of this node`;
    if (problem !== this.#strangersProblem) {
      this.#strangersProblem = problem;
      this.#options.onProblem?.(open?.hello.nodeId ?? null, `refused: ${problem}`);
    }
    return { reason: problem, open: null, link: null };
  }
}

function bind(server: Server, address: string, credentials: PeerCredentials): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync(address, credentials.server, (error, port) => {
    if (error === null) {
      resolve(port);
    } else {
      reject(new TransportError(`cannot listen on ${address}`, { cause: error }));
    }
  });
  return promise;
}
