import { Client, status, type ClientDuplexStream } from "@grpc/grpc-js";
import type { Hello } from "../multiraft/transport.ts";
import type { NodeId } from "../types.ts";
import type { PeerCredentials } from "./credentials.ts";
import { openMetadata, readOpen } from "./handshake.ts";
import { channelOptions, type TransportLimits } from "./limits.ts";
import { peerMethods, type Open } from "./peer-proto.ts";

/** Whom to dial, and as whom. */
export interface DialOptions {
  readonly address: string;
  readonly own: Hello;
  readonly target: NodeId;
  readonly credentials: PeerCredentials;
  readonly limits: TransportLimits;
}

/** What a dialled stream tells its owner. */
export interface DialHandlers {
  /** The other side has accepted. `release` ends the call and its connection. */
  onAccepted(call: ClientDuplexStream<Buffer, Buffer>, open: Open, release: () => void): void;
  /** `isRefusal`: the other side runs and said no; `detail` is its reason. */
  onFailed(failure: { readonly isRefusal: boolean; readonly detail: string }): void;
}

/** A client with a connection of its own. Close it. */
export function openClient(
  address: string,
  credentials: PeerCredentials,
  limits: TransportLimits,
): Client {
  // `dns:` keeps gRPC from reading anything else into the address; IP addresses pass through it.
  return new Client(`dns:${address}`, credentials.channel, channelOptions(limits));
}

/** Opens a Stream: exactly one of the handlers is called, once, unless the returned function cancels it before. */
export function dial(options: DialOptions, handlers: DialHandlers): () => void {
  const { own, target, limits } = options;
  const client = openClient(options.address, options.credentials, limits);
  const { path, requestSerialize, responseDeserialize } = peerMethods.stream;
  const call = client.makeBidiStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    openMetadata(own, target),
  );
  let isSettled = false;
  const settle = (): boolean => {
    const isFirst = !isSettled;
    isSettled = true;
    clearTimeout(timer);
    return isFirst;
  };
  const release = () => {
    call.cancel();
    client.close();
  };
  const fail = (isRefusal: boolean, detail: string) => {
    if (settle()) {
      release();
      handlers.onFailed({ isRefusal, detail });
    }
  };
  const timer = setTimeout(
    () => fail(false, `no answer to the handshake within ${limits.handshakeTimeoutMs} ms`),
    limits.handshakeTimeoutMs,
  );
  call.on("metadata", (metadata) => {
    // Without an Open it is the beginning of a refusal, or not one of ours: status or timer will tell.
    const open = readOpen(metadata);
    if (open !== null && settle()) {
      handlers.onAccepted(call, open, release);
    }
  });
  call.on("error", () => {});
  call.on("status", ({ code, details }) => fail(code === status.FAILED_PRECONDITION, details));
  return () => {
    if (settle()) {
      release();
    }
  };
}
