import { once } from "node:events";
import { status, type ServerReadableStream, type sendUnaryData } from "@grpc/grpc-js";
import { InvariantViolation } from "../assert.ts";
import type { Hello, SnapshotHeader } from "../multiraft/transport.ts";
import type { NodeId } from "../types.ts";
import type { PeerCredentials } from "./credentials.ts";
import { openClient } from "./dial.ts";
import { openMetadata } from "./handshake.ts";
import type { TransportLimits } from "./limits.ts";
import { peerMethods, type SnapshotPart, type SnapshotResult } from "./peer-proto.ts";
import { WireError } from "./wire.ts";

/** A snapshot or a question did not get through; the message says why, the cause has gRPC's own words. */
export class TransportError extends Error {
  override readonly name = "TransportError";
}

/** To whom, what, and how long it may stall. */
export interface SendSnapshotOptions {
  readonly address: string;
  readonly own: Hello;
  readonly target: NodeId;
  readonly header: SnapshotHeader;
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
  readonly credentials: PeerCredentials;
  readonly limits: TransportLimits;
}

/**
 * Sends a snapshot over a connection of its own, so that frames never wait behind it. Reads `chunks` only as fast as the receiver
 * takes them.
 *
 * @throws TransportError
 */
export async function sendSnapshot(options: SendSnapshotOptions): Promise<void> {
  const { address, own, target, credentials, limits, signal } = options;
  signal.throwIfAborted();
  const client = openClient(address, credentials, limits);
  const { path, requestSerialize, responseDeserialize } = peerMethods.snapshot;
  const answered = Promise.withResolvers<void>();
  const call = client.makeClientStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    openMetadata(own, target),
    (error) => {
      if (error === null) {
        answered.resolve();
      } else {
        answered.reject(
          new TransportError(`snapshot to ${target}: ${error.details}`, { cause: error }),
        );
      }
    },
  );
  answered.promise.catch(() => {});
  const cancel = () => call.cancel();
  const stall = new StallTimer(limits.snapshotStallMs, cancel);
  signal.addEventListener("abort", cancel);
  try {
    call.write({ type: "header", header: options.header });
    for await (const part of dataParts(options.chunks, limits.snapshotChunkBytesMax)) {
      signal.throwIfAborted();
      stall.moved();
      if (!call.write(part)) {
        await Promise.race([once(call, "drain"), answered.promise]);
      }
    }
    stall.moved();
    call.write({ type: "end" });
    call.end();
    await answered.promise;
  } finally {
    stall.clear();
    signal.removeEventListener("abort", cancel);
    call.cancel();
    client.close();
  }
}

/** From whom, within which bounds, and who stages the chunks. */
export interface ReceiveSnapshotOptions {
  readonly call: ServerReadableStream<SnapshotPart, SnapshotResult>;
  readonly answer: sendUnaryData<SnapshotResult>;
  readonly limits: TransportLimits;
  /** This node is stopping. */
  readonly signal: AbortSignal;
  readonly handle: (header: SnapshotHeader, chunks: AsyncIterable<Uint8Array>) => Promise<void>;
}

/** Receives one Snapshot call whose sender has been checked. Answers the call in every case. */
export async function receiveSnapshot(options: ReceiveSnapshotOptions): Promise<void> {
  const { call, answer, limits, signal, handle } = options;
  const giveUp = (why: string) => call.destroy(new TransportError(why));
  const stall = new StallTimer(limits.snapshotStallMs, () => giveUp("the snapshot does not move"));
  const onStop = () => giveUp("the receiver is stopping");
  signal.addEventListener("abort", onStop);
  try {
    const parts: AsyncIterator<SnapshotPart> = call[Symbol.asyncIterator]();
    const first = await parts.next();
    if (first.done === true || first.value.type !== "header") {
      throw new WireError("a snapshot begins with its header");
    }
    await handle(first.value.header, receivedChunks(parts, stall));
    answer(null, {});
  } catch (error) {
    if (error instanceof InvariantViolation) {
      throw error;
    }
    const details = error instanceof Error ? error.message : String(error);
    answer({ code: status.ABORTED, details });
  } finally {
    stall.clear();
    signal.removeEventListener("abort", onStop);
  }
}

async function* dataParts(
  chunks: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<SnapshotPart> {
  for await (const chunk of chunks) {
    for (let start = 0; start < chunk.length; start += bytesMax) {
      yield { type: "data", data: chunk.subarray(start, start + bytesMax) };
    }
  }
}

async function* receivedChunks(
  parts: AsyncIterator<SnapshotPart>,
  stall: StallTimer,
): AsyncGenerator<Uint8Array> {
  for (;;) {
    stall.moved();
    const next = await parts.next();
    if (next.done === true) {
      throw new TransportError("the sender has given the snapshot up");
    }
    if (next.value.type === "end") {
      return;
    }
    if (next.value.type !== "data") {
      throw new WireError("a snapshot has one header");
    }
    yield next.value.data;
  }
}

/** Calls back when nothing has moved for a while. */
class StallTimer {
  readonly #timer: NodeJS.Timeout;

  constructor(stallMs: number, onStall: () => void) {
    this.#timer = setTimeout(onStall, stallMs);
  }

  moved(): void {
    this.#timer.refresh();
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}
