import fc from "fast-check";
import type { Hello, SnapshotHeader } from "../../cluster/multiraft/transport.ts";
import { decodeConfiguration, encodeConfiguration } from "../../cluster/raft/membership.ts";
import { decodeFrame, encodeClose, encodeFrame } from "../../cluster/transport/frame-codec.ts";
import {
  decodeOpen,
  encodeOpen,
  peerMethods,
  type SnapshotPart,
} from "../../cluster/transport/peer-proto.ts";
import { WireError } from "../../cluster/transport/wire.ts";
import { NodeId, ShardId } from "../../cluster/types.ts";
import { decodeForwardedQuery, encodeForwardedQuery } from "../../server/forwarded-query.ts";
import type { Consistency } from "../../server/http/service.ts";
import {
  decodeAnswer,
  decodePoll,
  encodeAnswer,
  encodePoll,
  type WatchAnswer,
  type WatchPoll,
} from "../../server/watch-codec.ts";
import { CodecError } from "../../storage/wire-codec.ts";
import { anyQuery } from "../storage/arbitraries.ts";
import {
  anyBytes,
  anyConfiguration,
  anyCount,
  anyFrame,
  anyIndex,
  anyNodeId,
  anyRevision,
  anyShard,
  anyTerm,
  anyText,
} from "./arbitraries.ts";
import { decoder, refused } from "./fuzz.ts";

const isWireError = (error: unknown): boolean => error instanceof WireError;
const isCodecError = (error: unknown): boolean => error instanceof CodecError;
const shard = ShardId(7);

/** Frames between two nodes, in one direction. */
function frames(from: string, to: string) {
  const route = { from: NodeId(from), to: NodeId(to) };
  return decoder({
    name: `a frame from ${from} to ${to}`,
    any: anyFrame(route.from, route.to),
    encode: (frame) => encodeFrame(frame, route),
    decode: (bytes) => {
      const received = decodeFrame(bytes, route);
      // What is accepted is well-formed enough to be sent on.
      return received.type === "frame"
        ? (encodeFrame(received.frame, route), received.frame)
        : received;
    },
    isTyped: isWireError,
  });
}

const anyHello: fc.Arbitrary<Hello> = fc.record({
  nodeId: anyNodeId,
  instanceId: fc.string({ minLength: 1, maxLength: 20 }),
  clusterId: fc.option(fc.string({ minLength: 1, maxLength: 20 })),
  founders: fc
    .uniqueArray(anyNodeId, { maxLength: 3 })
    .map((ids) => new Map([...ids].sort().map((id) => [id, `instance of ${id}`]))),
  incarnation: anyCount,
  peerAddress: anyText,
  httpAddress: anyText,
});
const anyHeader: fc.Arbitrary<SnapshotHeader> = fc.record({
  shard: anyShard,
  term: anyCount,
  snapshot: fc.record({ index: anyIndex, term: anyTerm, configuration: anyConfiguration }),
});
const anyPart: fc.Arbitrary<SnapshotPart> = fc.oneof(
  fc.record({ type: fc.constant("header" as const), header: anyHeader }),
  fc.record({
    type: fc.constant("data" as const),
    data: fc.uint8Array({ minLength: 1, maxLength: 99 }),
  }),
  fc.constant({ type: "end" as const }),
);

const consistency: fc.Arbitrary<Consistency> = fc.oneof(
  fc.record({ type: fc.constantFrom("linearizable", "lease", "stale") }),
  anyRevision.map((revision) => ({ type: "session", revisions: new Map([[shard, revision]]) })),
) as fc.Arbitrary<Consistency>;
const position = fc.record({ index: anyCount, events: anyCount });
const anyPoll: fc.Arbitrary<WatchPoll> = fc.record({
  after: fc.option(position),
  filter: fc.oneof(
    fc.record({ type: fc.constant("key" as const), key: anyBytes }),
    fc.record({ type: fc.constant("prefix" as const), prefix: anyBytes }),
  ),
  wantPrevious: fc.boolean(),
  bytesMax: anyCount,
  waitMs: anyCount,
});
const record = fc.record({
  contentType: anyText,
  createRevision: anyRevision,
  modRevision: anyRevision,
  version: anyCount,
  ttlMs: fc.option(fc.nat()),
  value: anyBytes,
});
const anyAnswer: fc.Arbitrary<WatchAnswer> = fc.oneof(
  fc.constant({ type: "gone" as const }),
  fc.record({
    type: fc.constant("changes" as const),
    chunk: fc.record({
      position,
      changes: fc.array(
        fc.record({
          index: anyCount,
          ordinal: anyCount,
          isLast: fc.boolean(),
          event: fc.record({
            kind: fc.constantFrom("put" as const, "delete" as const, "expire" as const),
            key: anyBytes,
            revision: anyRevision,
            record: fc.option(record),
            previous: fc.option(record),
          }),
        }),
        { maxLength: 3 },
      ),
    }),
  }),
);

/** Decoders of what nodes tell each other. */
export const peerDecoders = [
  frames("n1", "n2"),
  frames("n2", "n1"),
  decoder({
    name: "a goodbye",
    any: fc.record({
      reason: fc.constantFrom("stopping" as const, "replaced" as const, "bad_frame" as const),
      detail: anyText,
    }),
    encode: encodeClose,
    decode: (bytes) => {
      const received = decodeFrame(bytes, { from: NodeId("n1"), to: NodeId("n2") });
      return received.type === "close" ? received.close : received;
    },
    isTyped: isWireError,
  }),
  decoder({
    name: "the opening of a stream",
    any: fc.record({ hello: anyHello, target: anyText }),
    encode: encodeOpen,
    decode: decodeOpen,
    isTyped: isWireError,
  }),
  decoder({
    name: "a hello",
    any: anyHello,
    encode: peerMethods.hello.requestSerialize,
    decode: peerMethods.hello.requestDeserialize,
    isTyped: isWireError,
  }),
  decoder({
    name: "an answer to a hello",
    any: anyHello,
    encode: peerMethods.hello.responseSerialize,
    decode: peerMethods.hello.responseDeserialize,
    isTyped: isWireError,
  }),
  decoder({
    name: "a part of a snapshot",
    any: anyPart,
    encode: peerMethods.snapshot.requestSerialize,
    decode: peerMethods.snapshot.requestDeserialize,
    isTyped: isWireError,
  }),
  decoder({
    name: "a configuration in the log",
    any: anyConfiguration,
    encode: encodeConfiguration,
    decode: (bytes) => decodeConfiguration(bytes) ?? refused,
  }),
  decoder({
    name: "a forwarded query",
    any: fc.record({ query: anyQuery, consistency }),
    encode: ({ query, consistency: how }) => encodeForwardedQuery(query, how, shard),
    decode: (bytes) => decodeForwardedQuery(bytes, shard),
    isTyped: isCodecError,
  }),
  decoder({
    name: "a watch poll",
    any: anyPoll,
    encode: encodePoll,
    decode: decodePoll,
    isTyped: isCodecError,
  }),
  decoder({
    name: "an answer to a watch poll",
    any: anyAnswer,
    encode: encodeAnswer,
    decode: decodeAnswer,
    isTyped: isCodecError,
  }),
];
