import fc from "fast-check";
import type { Frame } from "../../cluster/multiraft/transport.ts";
import type { Configuration } from "../../cluster/types.ts";
import { LogIndex, NodeId, Revision, ShardId, Term } from "../../cluster/types.ts";
import { Generation } from "../../storage/keys.ts";
import type { ShardHead } from "../../storage/shard-head.ts";
import { fullFrame } from "../transport/frames.ts";

/* Random values of what several decoders have in common. */

export const anyNodeId = fc.constantFrom("n1", "n2", "n3", "a.b-c_D", "x".repeat(64)).map(NodeId);
export const anyShard = fc.nat(2 ** 31 - 1).map(ShardId);
export const anyCount = fc.oneof(fc.nat(300), fc.maxSafeNat());
export const anyRevision = anyCount.map(Revision);
export const anyTerm = anyCount.map(Term);
export const anyIndex = anyCount.map(LogIndex);
export const anyBytes = fc.uint8Array({ maxLength: 60 });
export const anyText = fc.string({ maxLength: 30 });

const members = fc
  .uniqueArray(anyNodeId, { maxLength: 4 })
  .map((ids) => [...ids].sort() as readonly NodeId[]);

export const anyConfiguration: fc.Arbitrary<Configuration> = fc.record({
  voters: fc.uniqueArray(anyNodeId, { minLength: 1, maxLength: 4 }).map((ids) => [...ids].sort()),
  votersOutgoing: members,
  learners: members,
  learnersNext: members,
  autoLeave: fc.boolean(),
});

export const anyGeneration = fc.integer({ min: 1, max: 2 ** 32 - 1 }).map(Generation);

export const anyHead: fc.Arbitrary<ShardHead> = fc.record({
  hardState: fc.record({ term: anyTerm, vote: fc.option(anyNodeId), commit: anyIndex }),
  compactedIndex: anyIndex,
  compactedTerm: anyTerm,
  lastIndex: anyIndex,
  isQuarantined: fc.boolean(),
});

/** Some of every kind of message, request and response, in one of the two directions between two nodes. */
export function anyFrame(from: NodeId, to: NodeId): fc.Arbitrary<Frame> {
  const full = fullFrame(from, to);
  return fc.record({
    messages: fc.subarray([...full.messages]),
    requests: fc.subarray([...full.requests]),
    responses: fc.subarray([...full.responses]),
    digests: fc.subarray([...full.digests]),
    floor: anyRevision,
    epoch: anyCount,
    sentMs: fc.double({ min: 0, max: 1e9, noNaN: true }),
    echoMs: fc.constantFrom(0, 0.5, 1e9),
  });
}
