import type { ClientDuplexStream, ServerDuplexStream } from "@grpc/grpc-js";
import type { Frame, Hello } from "../multiraft/transport.ts";
import { decodeFrame, encodeClose, type Close, type Received } from "./frame-codec.ts";
import type { TransportLimits } from "./limits.ts";
import type { Route } from "./message-codec.ts";
import { WireError } from "./wire.ts";

/** Either end of a Stream call. */
export type StreamCall = ClientDuplexStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>;

/** How a session ended: with the peer's last word, or without one. */
export type SessionEnd =
  | { readonly type: "goodbye"; readonly close: Close }
  | {
      readonly type: "broken";
      /** The peer had been heard shortly before: somebody closed the connection, it did not fade away. */
      readonly isAbrupt: boolean;
    };

/** One open stream and what it carries. */
export interface SessionOptions {
  readonly call: StreamCall;
  /** What the peer said of itself in the handshake. */
  readonly theirs: Hello;
  /** From the peer to us. */
  readonly route: Route;
  readonly limits: TransportLimits;
  readonly onFrame: (frame: Frame, bytes: number) => void;
  /** Called once, unless `close` was called before. */
  readonly onEnd: (end: SessionEnd) => void;
  /** Frees what the call stands on, at once and by force. */
  readonly release: () => void;
}

/** One accepted Stream between two incarnations. Frames go out through a queue that is bounded in bytes. */
export class Session {
  readonly theirs: Hello;
  readonly #options: SessionOptions;
  #isOpen = true;
  #queuedBytes = 0;
  #heardMs = performance.now();
  readonly #ended = Promise.withResolvers<void>();

  constructor(options: SessionOptions) {
    this.#options = options;
    this.theirs = options.theirs;
    const { call } = options;
    // The client's end speaks of its fate by `status`, the server's by the others; whichever comes first counts.
    call.on("error", () => this.#onCallEnd());
    call.on("status", () => this.#onCallEnd());
    call.on("cancelled", () => this.#onCallEnd());
    call.on("end", () => this.#onCallEnd());
    call.on("close", () => this.#onCallEnd());
    call.on("data", (bytes: Buffer) => this.#onData(bytes));
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Queues an encoded frame; false when it was dropped. */
  send(bytes: Buffer): boolean {
    if (!this.#isOpen || this.#queuedBytes + bytes.length > this.#options.limits.queueBytesMax) {
      return false;
    }
    this.#write(bytes);
    return true;
  }

  /** Says goodbye and hangs up. Resolves when the other side has heard it, or after a moment. Idempotent. */
  async close(close: Close): Promise<void> {
    if (this.#isOpen) {
      this.#isOpen = false;
      this.#write(encodeClose(close));
      this.#options.call.end();
    }
    const timer = setTimeout(() => this.#ended.resolve(), this.#options.limits.closeMs);
    await this.#ended.promise;
    clearTimeout(timer);
    this.#options.release();
  }

  #write(bytes: Buffer): void {
    this.#queuedBytes += bytes.length;
    // The stream holds on to the bytes until HTTP/2 has room for them: this is the queue, and the callback its far end.
    this.#options.call.write(bytes, () => {
      this.#queuedBytes -= bytes.length;
    });
  }

  #onData(bytes: Buffer): void {
    if (!this.#isOpen) {
      return;
    }
    this.#heardMs = performance.now();
    let received: Received;
    try {
      received = decodeFrame(bytes, this.#options.route);
    } catch (error) {
      if (!(error instanceof WireError)) {
        throw error;
      }
      const close: Close = { reason: "bad_frame", detail: error.message };
      void this.close(close);
      this.#options.onEnd({ type: "goodbye", close });
      return;
    }
    if (received.type === "frame") {
      this.#options.onFrame(received.frame, bytes.length);
    } else {
      this.#finish({ type: "goodbye", close: received.close });
    }
  }

  #onCallEnd(): void {
    const silenceMs = performance.now() - this.#heardMs;
    const isAbrupt = silenceMs < this.#options.limits.keepaliveTimeoutMs;
    this.#finish({ type: "broken", isAbrupt });
  }

  #finish(end: SessionEnd): void {
    this.#ended.resolve();
    if (!this.#isOpen) {
      return;
    }
    this.#isOpen = false;
    this.#options.call.end();
    this.#options.release();
    this.#options.onEnd(end);
  }
}
