import type { ServerDuplexStream } from "@grpc/grpc-js";
import { assert } from "../assert.ts";
import type { Frame, Hello, Peer, PeerStatus } from "../multiraft/transport.ts";
import type { UnreachableEvidence } from "../raft/ready.ts";
import type { NodeId } from "../types.ts";
import type { PeerCredentials } from "./credentials.ts";
import { dial } from "./dial.ts";
import { encodeFrame, type Close } from "./frame-codec.ts";
import { refusal } from "./handshake.ts";
import type { TransportLimits } from "./limits.ts";
import type { Open } from "./peer-proto.ts";
import { probe, type ProbeResult } from "./probe.ts";
import { Session, type SessionEnd, type StreamCall } from "./session.ts";
import { splitFrame } from "./split-frame.ts";

/** One peer, and what the link does for it. */
export interface PeerLinkOptions {
  readonly peer: Peer;
  readonly own: () => Hello;
  readonly verifyPeer: (theirs: Hello) => string | null;
  readonly credentials: PeerCredentials;
  readonly limits: TransportLimits;
  readonly onFrame: (frame: Frame) => void;
  readonly onConnected: () => void;
  readonly onDisconnected: (evidence: UnreachableEvidence) => void;
  /** Called when the reason why there is no connection changes. */
  readonly onProblem: (problem: string) => void;
}

/** Pauses before the first attempts after a break: a dying process may still accept for a moment, and then refuses. */
const quickPausesMs = [0, 10, 30, 60];

/** The dialler's first frame: it has accepted the answer to its handshake. */
const confirmation = Buffer.alloc(0);

/** Between a break and the next connection: what is known of why. */
interface Outage {
  readonly isAbrupt: boolean;
  reported: UnreachableEvidence | null;
  readonly timer: NodeJS.Timeout;
}

/**
 * All about one peer: at most one session at a time, whoever dialled it; the attempts to get one; and the evidence of why there is
 * none. README.md has the rules and the reasons.
 */
export class PeerLink {
  readonly #options: PeerLinkOptions;
  readonly #id: NodeId;
  readonly #ownId: NodeId;
  #address: string;
  #session: Session | null = null;
  #isClosed = false;
  /** Gives up the present pause, probe or handshake. Null when there is none: connected or closed. */
  #cancelAttempt: (() => void) | null = null;
  /** A handshake of ours is under way on a connection that the peer has accepted. */
  #isOpening = false;
  /** Attempts since the last connection. */
  #attempts = 0;
  #outage: Outage | null = null;
  /** Latest incarnation of each instance that has connected. */
  readonly #incarnations = new Map<string, number>();
  #problem: string | null = null;
  #sentFrames = 0;
  #sentBytes = 0;
  #receivedFrames = 0;
  #receivedBytes = 0;
  #droppedFrames = 0;
  #connections = 0;

  constructor(options: PeerLinkOptions) {
    this.#options = options;
    this.#id = options.peer.id;
    this.#ownId = options.own().nodeId;
    this.#address = options.peer.address;
  }

  /** Begins to connect. */
  start(): void {
    this.#tryAfter(0);
  }

  get address(): string {
    return this.#address;
  }

  get isConnected(): boolean {
    return this.#session !== null;
  }

  /** The next attempt goes there, at once when there is no connection. A working connection stays: it proves that the peer is alive. */
  setAddress(address: string): void {
    if (address === this.#address) {
      return;
    }
    this.#address = address;
    if (this.#session === null && !this.#isClosed) {
      this.#attempts = 0;
      this.#tryAfter(0);
    }
  }

  /** False when nothing of the frame will leave: what it asks for is certainly not done. A frame that is too large leaves in parts. */
  send(frame: Frame): boolean {
    const session = this.#session;
    if (session === null) {
      this.#droppedFrames++;
      return false;
    }
    const bytes = encodeFrame(frame, { from: this.#ownId, to: this.#id });
    if (bytes.length > this.#options.limits.frameBytesMax) {
      const parts = splitFrame(frame);
      if (parts === null) {
        this.#droppedFrames++;
        return false;
      }
      const [first, second] = parts;
      const isFirstSent = this.send(first);
      return this.send(second) || isFirstSent;
    }
    if (!session.send(bytes)) {
      this.#droppedFrames++;
      return false;
    }
    this.#sentFrames++;
    this.#sentBytes += bytes.length;
    return true;
  }

  /**
   * The peer has dialled us. Null: the stream will be this link's session as soon as the peer has accepted our answer too. Otherwise why
   * not, as a sentence.
   *
   * @param accept answers the handshake; called before anything else is done with the stream
   */
  accept(call: ServerDuplexStream<Buffer, Buffer>, open: Open, accept: () => void): string | null {
    const reason = this.#refusal(open);
    if (reason !== null) {
      this.#noteProblem(`refused its stream: ${reason}`);
      return reason;
    }
    if (this.#isOpening) {
      if (this.#isPreferredDialler()) {
        return `${this.#ownId} is dialling ${this.#id}: that stream goes first`;
      }
      this.#cancelAttempt?.();
      this.#tryAgain();
    }
    accept();
    const hangUp = () => call.end();
    const timer = setTimeout(hangUp, this.#options.limits.handshakeTimeoutMs).unref();
    call.once("end", hangUp);
    call.once("data", () => {
      clearTimeout(timer);
      call.off("end", hangUp);
      if (this.#isClosed || this.#refusal(open) !== null) {
        hangUp();
      } else {
        this.#connect(call, open.hello, () => {});
      }
    });
    return null;
  }

  /** Says goodbye and stays disconnected. Idempotent. Tells nobody: whoever closes a link knows it. */
  async close(close: Close): Promise<void> {
    this.#isClosed = true;
    this.#cancelAttempt?.();
    this.#cancelAttempt = null;
    this.#endOutage();
    const session = this.#session;
    this.#session = null;
    await session?.close(close);
  }

  status(): PeerStatus {
    return {
      address: this.#address,
      isConnected: this.isConnected,
      queuedBytes: this.#session?.queuedBytes ?? 0,
      sentFrames: this.#sentFrames,
      sentBytes: this.#sentBytes,
      receivedFrames: this.#receivedFrames,
      receivedBytes: this.#receivedBytes,
      droppedFrames: this.#droppedFrames,
      reconnects: Math.max(0, this.#connections - 1),
      problem: this.#problem,
    };
  }

  /** When both dial at the same moment, the stream of the node with the smaller id stays. */
  #isPreferredDialler(): boolean {
    return this.#ownId < this.#id;
  }

  #refusal(open: Open): string | null {
    const theirs = open.hello;
    const reason = refusal(open, this.#options.own());
    if (reason !== null) {
      return reason;
    }
    if (theirs.nodeId !== this.#id) {
      return `${theirs.nodeId} answers at the address of ${this.#id}`;
    }
    const latest = this.#incarnations.get(theirs.instanceId) ?? 0;
    if (theirs.incarnation < latest) {
      return `incarnation ${theirs.incarnation} of ${this.#id} is over, ${latest} has been here`;
    }
    return this.#options.verifyPeer(theirs);
  }

  #connect(call: StreamCall, theirs: Hello, release: () => void): void {
    assert(!this.#isClosed, "a closed link connects to nobody");
    this.#cancelAttempt?.();
    this.#cancelAttempt = null;
    this.#replaceSession(theirs);
    this.#endOutage();
    this.#attempts = 0;
    this.#problem = null;
    this.#connections++;
    this.#incarnations.set(theirs.instanceId, theirs.incarnation);
    const session: Session = new Session({
      call,
      theirs,
      route: { from: this.#id, to: this.#ownId },
      limits: this.#options.limits,
      release,
      onFrame: (frame, bytes) => {
        if (this.#session === session) {
          this.#receivedFrames++;
          this.#receivedBytes += bytes;
          this.#options.onFrame(frame);
        }
      },
      onEnd: (end) => {
        if (this.#session === session) {
          this.#onSessionEnd(end);
        }
      },
    });
    this.#session = session;
    this.#options.onConnected();
  }

  /** Makes room for a new session, and reports the end of the old one. */
  #replaceSession(theirs: Hello): void {
    const old = this.#session;
    if (old !== null) {
      this.#session = null;
      void old.close({ reason: "replaced", detail: "a newer stream takes over" });
      const isSameProcess =
        old.theirs.instanceId === theirs.instanceId &&
        old.theirs.incarnation === theirs.incarnation;
      this.#options.onDisconnected(isSameProcess ? "lost" : "gone");
    } else if (this.#outage !== null) {
      this.#report("lost");
    }
  }

  #onSessionEnd(end: SessionEnd): void {
    this.#session = null;
    this.#attempts = 0;
    this.#outage = {
      isAbrupt: end.type === "broken" && end.isAbrupt,
      reported: null,
      timer: setTimeout(() => this.#report("lost"), this.#options.limits.evidenceMs),
    };
    if (end.type === "goodbye") {
      this.#noteProblem(`${end.close.reason}: ${end.close.detail}`);
      this.#report(end.close.reason === "stopping" ? "gone" : "lost");
      this.#attempts = quickPausesMs.length;
    } else {
      this.#noteProblem("the connection broke");
    }
    this.#tryAfter(this.#pauseMs());
  }

  #pauseMs(): number {
    const quick = quickPausesMs[this.#attempts];
    if (quick !== undefined) {
      return quick;
    }
    const { backoffMinMs, backoffMaxMs } = this.#options.limits;
    const doublings = this.#attempts - quickPausesMs.length + 1;
    const upper = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(doublings, 10));
    return backoffMinMs + Math.random() * (upper - backoffMinMs);
  }

  #tryAfter(pauseMs: number): void {
    this.#cancelAttempt?.();
    const timer = setTimeout(() => void this.#try(), pauseMs);
    this.#cancelAttempt = () => clearTimeout(timer);
  }

  async #try(): Promise<void> {
    const abort = new AbortController();
    this.#cancelAttempt = () => abort.abort();
    const result = await probe(this.#address, this.#options.limits.probeTimeoutMs, abort.signal);
    if (abort.signal.aborted) {
      return;
    }
    this.#weigh(result);
    // The other side's dial is as good as ours; leaving it the first moments after a break keeps both from dialling at once.
    const isFree = this.#isPreferredDialler() || this.#outage === null;
    const mayDial = isFree || this.#attempts >= quickPausesMs.length;
    if (result === "answered" && mayDial) {
      this.#dial();
      return;
    }
    if (result !== "answered") {
      this.#noteProblem(`connecting to ${this.#address}: ${result}`);
    }
    this.#tryAgain();
  }

  #tryAgain(): void {
    // Without a break there is nothing to find out quickly.
    const isQuick = this.#outage !== null && this.#attempts < quickPausesMs.length;
    this.#attempts = isQuick
      ? this.#attempts + 1
      : Math.max(this.#attempts + 1, quickPausesMs.length);
    this.#tryAfter(this.#pauseMs());
  }

  #dial(): void {
    const { credentials, limits } = this.#options;
    this.#isOpening = true;
    const cancel = dial(
      { address: this.#address, own: this.#options.own(), target: this.#id, credentials, limits },
      {
        onAccepted: (call, open, release) => {
          this.#isOpening = false;
          const reason = this.#refusal(open);
          if (reason === null) {
            call.write(confirmation);
            this.#connect(call, open.hello, release);
          } else {
            release();
            this.#fail(reason, true);
          }
        },
        onFailed: ({ detail, isRefusal }) => {
          this.#isOpening = false;
          this.#fail(detail, isRefusal);
        },
      },
    );
    this.#cancelAttempt = () => {
      this.#isOpening = false;
      cancel();
    };
  }

  #fail(problem: string, isRefusal: boolean): void {
    this.#noteProblem(problem);
    if (isRefusal) {
      this.#attempts = Math.max(this.#attempts, quickPausesMs.length);
    }
    this.#tryAgain();
  }

  /** What a probe says about the peer's process; see README.md, "Evidence". */
  #weigh(result: ProbeResult): void {
    const outage = this.#outage;
    if (outage === null) {
      return;
    }
    if (result === "refused" || (result === "unreachable" && outage.isAbrupt)) {
      this.#report("gone");
    }
  }

  /** Once for `lost`, and once for `gone`, which may follow `lost` but not the other way round. */
  #report(evidence: UnreachableEvidence): void {
    const outage = this.#outage;
    if (outage === null || outage.reported === "gone" || outage.reported === evidence) {
      return;
    }
    clearTimeout(outage.timer);
    outage.reported = evidence;
    this.#options.onDisconnected(evidence);
  }

  #endOutage(): void {
    clearTimeout(this.#outage?.timer);
    this.#outage = null;
  }

  #noteProblem(problem: string): void {
    if (problem !== this.#problem) {
      this.#problem = problem;
      this.#options.onProblem(problem);
    }
  }
}
