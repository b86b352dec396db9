import { Metadata } from "@grpc/grpc-js";
import type { Hello } from "../multiraft/transport.ts";
import type { NodeId } from "../types.ts";
import { decodeOpen, encodeOpen, type Open } from "./peer-proto.ts";
import { WireError } from "./wire.ts";

const openKey = "flotilla-open-bin";

/** Says who we are and whom we mean, in the metadata of a call or of its answer. */
export function openMetadata(own: Hello, target: NodeId): Metadata {
  const metadata = new Metadata();
  metadata.set(openKey, encodeOpen({ hello: own, target }));
  return metadata;
}

/** What the other side says of itself; null when it says nothing that we understand. */
export function readOpen(metadata: Metadata): Open | null {
  const value = metadata.get(openKey)[0];
  if (!Buffer.isBuffer(value)) {
    return null;
  }
  try {
    return decodeOpen(value);
  } catch (error) {
    if (error instanceof WireError) {
      return null;
    }
    throw error;
  }
}

/** Why these two must not speak to each other, as a sentence; null when they may. */
export function refusal(open: Open | null, own: Hello): string | null {
  if (open === null) {
    return "the handshake is not that of a Flotilla node";
  }
  const theirs = open.hello;
  if (own.clusterId === null) {
    return `${own.nodeId} belongs to no cluster yet`;
  }
  if (theirs.clusterId !== own.clusterId) {
    return `${own.nodeId} belongs to cluster ${own.clusterId}, ${theirs.nodeId} to ${theirs.clusterId ?? "none yet"}`;
  }
  if (open.target !== own.nodeId) {
    return `this is ${own.nodeId}, not ${open.target}`;
  }
  if (theirs.nodeId === own.nodeId) {
    return `two nodes are called ${own.nodeId}`;
  }
  return null;
}
