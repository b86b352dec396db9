import { credentials, ServerCredentials, type ChannelCredentials } from "@grpc/grpc-js";

/**
 * How peers prove who they are. The only place that makes gRPC credentials: encryption between peers comes in here. Mind probe.ts
 * then: it relies on a server that speaks first, which a TLS server does not.
 */
export interface PeerCredentials {
  readonly server: ServerCredentials;
  readonly channel: ChannelCredentials;
}

/** Plain TCP: for loopback and for networks that are closed to others. */
export function insecurePeerCredentials(): PeerCredentials {
  return { server: ServerCredentials.createInsecure(), channel: credentials.createInsecure() };
}
