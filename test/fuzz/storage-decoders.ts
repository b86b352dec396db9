import fc from "fast-check";
import { changeMap } from "../../cluster/sharding/cluster-map.ts";
import type { MapChange } from "../../cluster/sharding/cluster-map.ts";
import { decodeMap, encodeMap } from "../../cluster/sharding/map-json.ts";
import type { RoutingRule } from "../../cluster/sharding/routing.ts";
import type { EntryType } from "../../cluster/types.ts";
import { LogIndex, ShardId } from "../../cluster/types.ts";
import {
  type AppliedRecord,
  decodeAppliedRecord,
  encodeAppliedRecord,
} from "../../storage/applied-record.ts";
import { crc32c, sealBytes, sealRecord } from "../../storage/checksum.ts";
import { decodeCommandEnvelope, encodeCommandEnvelope } from "../../storage/command-codec.ts";
import { decodeEntryPayload, encodeEntryPayload } from "../../storage/entry-payload.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { decodeJournalRecord, encodeJournalRecord, type LogChange } from "../../storage/journal.ts";
import { appliedKey, journalKey } from "../../storage/keys.ts";
import {
  decodeMetaCommand,
  decodeMetaOutcome,
  encodeMetaCommand,
  encodeMetaOutcome,
  type MetaCommand,
  type MetaOutcome,
} from "../../storage/meta-commands.ts";
import { decodeOutcome, encodeOutcome } from "../../storage/outcome-codec.ts";
import {
  decodeQuery,
  decodeQueryResult,
  encodeQuery,
  encodeQueryResult,
} from "../../storage/query-codec.ts";
import {
  decodeHead,
  decodeTrailer,
  encodeHead,
  encodeTrailer,
} from "../../storage/snapshot-format.ts";
import { CodecError } from "../../storage/wire-codec.ts";
import { change, found, node, nodesArbitrary } from "../sharding/maps.ts";
import { anyEnvelope, anyOutcome, anyQuery, anyQueryResult } from "../storage/arbitraries.ts";
import {
  anyBytes,
  anyConfiguration,
  anyCount,
  anyGeneration,
  anyHead,
  anyIndex,
  anyNodeId,
  anyRevision,
  anyShard,
  anyTerm,
  anyText,
} from "./arbitraries.ts";
import { decoder, refused } from "./fuzz.ts";

const shard = ShardId(7);
const isCodecError = (error: unknown): boolean => error instanceof CodecError;
const isStoreFailure = (error: unknown): boolean => error instanceof StoreFailure;

const anyMap = nodesArbitrary(5).map((nodes) =>
  change(
    found({ shardCount: 2, tokensPerShard: 2 }),
    ...nodes.map((each) => ({ type: "putNode", node: each }) as const),
  ),
);

const replicas = {
  id: anyShard,
  voters: fc.array(anyNodeId, { maxLength: 4 }),
  learners: fc.array(anyNodeId, { maxLength: 2 }),
};
const rule: fc.Arbitrary<RoutingRule> = fc.oneof(
  fc.record({ type: fc.constant("hash" as const), prefix: anyText }),
  fc.record({ type: fc.constant("segments" as const), prefix: anyText, count: anyCount }),
  fc.record({ type: fc.constant("shard" as const), prefix: anyText, shard: anyShard }),
);
const mapChange: fc.Arbitrary<MapChange> = fc.oneof(
  fc.record({
    type: fc.constant("putNode" as const),
    node: fc.constantFrom(node(1, "a"), node(9, "z", "draining"), node(4, "", "dead")),
  }),
  fc.record({ type: fc.constant("removeNode" as const), id: anyNodeId }),
  fc.record({
    type: fc.constant("setReplicas" as const),
    replicas: fc.array(fc.record(replicas), { maxLength: 3 }),
  }),
  fc.record({
    type: fc.constant("putShard" as const),
    shard: fc.record({ ...replicas, weight: anyCount, tokens: fc.array(anyCount) }),
  }),
  fc.record({ type: fc.constant("removeShard" as const), id: anyShard }),
  fc.record({
    type: fc.constant("setRouting" as const),
    routing: fc.array(rule, { maxLength: 3 }),
  }),
  fc.record({ type: fc.constant("setReplicationFactor" as const), replicationFactor: anyCount }),
);
const anyMetaCommand: fc.Arbitrary<MetaCommand> = fc.oneof(
  fc.record({ type: fc.constant("found" as const), map: anyMap }),
  fc.record({
    type: fc.constant("change" as const),
    change: mapChange,
    ifEpoch: fc.option(fc.nat()),
  }),
);
const anyMetaOutcome: fc.Arbitrary<MetaOutcome> = fc.oneof(
  fc.record({ type: fc.constantFrom("changed" as const, "stale" as const), epoch: anyCount }),
  fc.record({ type: fc.constant("refused" as const), epoch: anyCount, reason: anyText }),
);

/** What travels inside entries and between routers, and lies in states. */
const messages = [
  decoder({
    name: "a command",
    any: anyEnvelope,
    encode: encodeCommandEnvelope,
    decode: decodeCommandEnvelope,
    isTyped: isCodecError,
  }),
  decoder({
    name: "an outcome",
    any: anyOutcome,
    encode: encodeOutcome,
    decode: decodeOutcome,
    isTyped: isCodecError,
  }),
  decoder({
    name: "a query",
    any: anyQuery,
    encode: encodeQuery,
    decode: decodeQuery,
    isTyped: isCodecError,
  }),
  decoder({
    name: "an answer to a query",
    any: anyQueryResult,
    encode: encodeQueryResult,
    decode: decodeQueryResult,
    isTyped: isCodecError,
  }),
  decoder({
    name: "the payload of an entry",
    any: fc.record({ floor: anyRevision, commands: fc.array(anyBytes, { maxLength: 5 }) }),
    encode: ({ floor, commands }) => encodeEntryPayload(floor, commands),
    decode: decodeEntryPayload,
    isTyped: isCodecError,
  }),
  decoder({
    name: "a meta command, which can also be carried out",
    any: anyMetaCommand,
    encode: encodeMetaCommand,
    decode: (bytes) => {
      const command = decodeMetaCommand(bytes);
      if (command.type === "change") {
        changeMap(found({ shardCount: 2, tokensPerShard: 2 }), command.change);
      }
      return command;
    },
    isTyped: isCodecError,
  }),
  decoder({
    name: "a meta outcome",
    any: anyMetaOutcome,
    encode: encodeMetaOutcome,
    decode: decodeMetaOutcome,
    isTyped: isCodecError,
  }),
  decoder({
    name: "a cluster map",
    any: anyMap,
    encode: encodeMap,
    decode: (bytes) => {
      const result = decodeMap(bytes);
      return result.type === "ok" ? result.map : refused;
    },
  }),
];

/** Some entries that follow one another. */
const anyEntries = fc
  .tuple(
    fc.nat(2 ** 40),
    fc.array(
      fc.record({
        term: anyTerm,
        type: fc.constantFrom<EntryType>("command", "noop", "config"),
        payload: anyBytes,
      }),
      { maxLength: 3 },
    ),
  )
  .map(([first, list]) => list.map((each, at) => ({ ...each, index: LogIndex(first + at) })));
const anyLogChange: fc.Arbitrary<LogChange> = fc.record({
  head: anyHead,
  isReset: fc.boolean(),
  appended: anyEntries,
  repeated: anyEntries,
});
const anyTurn = fc
  .array(fc.tuple(anyShard, fc.option(anyLogChange)), { maxLength: 4 })
  .map((changes) => new Map(changes));
const turnKey = journalKey(8);

/** A record whose only change is these bytes, under a good seal. */
function recordAround(bytes: Uint8Array): Buffer {
  const contents = Buffer.alloc(12 + 1 + 4 + 4);
  contents.writeUInt32BE(shard, 0);
  contents.writeUInt32BE(bytes.length, 4);
  contents.writeUInt32BE(crc32c(bytes), 8);
  contents.writeUInt8(1, 12);
  contents.writeUInt32BE(1, 13);
  contents.writeUInt32BE(crc32c(contents, crc32c(turnKey), 0, 17), 17);
  return Buffer.concat([bytes, contents]);
}
const anyApplied: fc.Arbitrary<AppliedRecord> = fc.record({
  generation: anyGeneration,
  index: anyIndex,
  term: anyTerm,
  revision: anyRevision,
  configuration: anyConfiguration,
  extra: anyBytes,
});

/**
 * Records of the store. Their seals notice any damage; `sealedAnew` stands for a program that wrote nonsense under a good seal.
 */
const records = [
  decoder({
    name: "a turn of the journal",
    any: anyTurn,
    encode: (turn) => Buffer.from(encodeJournalRecord(turnKey, turn)),
    decode: (bytes) => decodeJournalRecord(turnKey, bytes) ?? refused,
  }),
  decoder({
    name: "a change of a log, sealed anew",
    any: anyLogChange,
    encode: (change) => {
      const record = encodeJournalRecord(turnKey, new Map([[shard, change]]));
      return Buffer.from(record.subarray(0, -21));
    },
    decode: (bytes) => {
      const change = decodeJournalRecord(turnKey, recordAround(bytes))?.get(shard);
      return change === "damaged" ? refused : change;
    },
  }),
  decoder({
    name: "an applied record",
    any: anyApplied,
    encode: (record) => encodeAppliedRecord(shard, record),
    decode: (bytes) => decodeAppliedRecord(shard, bytes),
    isTyped: isStoreFailure,
  }),
  decoder({
    name: "an applied record, sealed anew",
    any: anyApplied,
    encode: (record) => encodeAppliedRecord(shard, record).subarray(0, -sealBytes),
    decode: (bytes) => decodeAppliedRecord(shard, sealRecord(appliedKey(shard), bytes)),
    isTyped: isStoreFailure,
  }),
  decoder({
    name: "the header of a snapshot",
    any: fc.record({
      shard: anyShard,
      state: anyApplied.map(({ generation: _, ...state }) => state),
    }),
    encode: encodeHead,
    decode: decodeHead,
    isTyped: isStoreFailure,
  }),
  decoder({
    name: "the trailer of a snapshot",
    any: fc.record({ records: anyCount }),
    encode: encodeTrailer,
    decode: decodeTrailer,
    isTyped: isStoreFailure,
  }),
];

/** Decoders of storage/ and of what it stores. */
export const storageDecoders = [...messages, ...records];
