import type { ChannelOptions } from "@grpc/grpc-js";

/** Sizes and times of the transport. Every queue, wait and retry has its limit here. */
export interface TransportLimits {
  /** A received message beyond this is refused by gRPC and ends its stream. */
  readonly receiveBytesMax: number;
  /** A frame beyond this is split between its items; a single item beyond it is not sent. Below `receiveBytesMax`. */
  readonly frameBytesMax: number;
  /** Encoded frames that wait for one peer's connection; more are dropped. */
  readonly queueBytesMax: number;
  /** HTTP/2 window of a connection and of each stream on it: bytes under way before the receiver must have read some. */
  readonly windowBytes: number;
  readonly snapshotChunkBytesMax: number;
  /** Snapshots received at a time; more are refused, and their senders try again later. */
  readonly snapshotReceivesMax: number;
  /** A snapshot that does not move for this long is given up, on either side. */
  readonly snapshotStallMs: number;
  readonly probeTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  /** HTTP/2 ping after this much time, and the time for its answer. */
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
  /** Bounds of the random pause between two attempts to reach a peer. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** A broken connection is reported as `lost` when this long has not shown more. */
  readonly evidenceMs: number;
  /** Time for saying goodbye before connections are cut. */
  readonly closeMs: number;
}

const KiB = 1024;
const MiB = 1024 * KiB;

/** What a node uses where it is not told otherwise. */
export const defaultLimits: TransportLimits = {
  receiveBytesMax: 16 * MiB,
  frameBytesMax: 15 * MiB,
  queueBytesMax: 64 * MiB,
  windowBytes: 4 * MiB,
  snapshotChunkBytesMax: 256 * KiB,
  snapshotReceivesMax: 2,
  snapshotStallMs: 30_000,
  probeTimeoutMs: 1_000,
  handshakeTimeoutMs: 2_000,
  keepaliveMs: 10_000,
  keepaliveTimeoutMs: 5_000,
  backoffMinMs: 100,
  backoffMaxMs: 500,
  evidenceMs: 100,
  closeMs: 250,
};

/** gRPC's own settings. Each channel has a connection of its own, made anew for every attempt: so names are resolved anew. */
export function channelOptions(limits: TransportLimits): ChannelOptions {
  return {
    "grpc.keepalive_time_ms": limits.keepaliveMs,
    "grpc.keepalive_timeout_ms": limits.keepaliveTimeoutMs,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.initial_reconnect_backoff_ms": limits.backoffMinMs,
    "grpc.max_reconnect_backoff_ms": limits.backoffMaxMs,
    "grpc.max_receive_message_length": limits.receiveBytesMax,
    "grpc.max_send_message_length": limits.receiveBytesMax,
    "grpc-node.flow_control_window": limits.windowBytes,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_http_proxy": 0,
    "grpc.enable_retries": 0,
    "grpc.service_config_disable_resolution": 1,
    "grpc.enable_channelz": 0,
  };
}
