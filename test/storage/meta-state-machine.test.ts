import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  foundingMap,
  type ClusterMap,
  type MapChange,
} from "../../cluster/sharding/cluster-map.ts";
import { encodeMap } from "../../cluster/sharding/map-json.ts";
import type { Configuration } from "../../cluster/types.ts";
import { LogIndex, metaShard, NodeId, Revision, ShardId, Term } from "../../cluster/types.ts";
import { encodeEntryPayload } from "../../storage/entry-payload.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import {
  decodeMetaCommand,
  decodeMetaOutcome,
  encodeMetaCommand,
  encodeMetaOutcome,
  type MetaCommand,
  type MetaOutcome,
} from "../../storage/meta-commands.ts";
import { MetaStateMachine } from "../../storage/meta-state-machine.ts";
import { CodecError } from "../../storage/wire-codec.ts";
import { comparable } from "./comparable.ts";
import { fuzzParameters } from "./seed.ts";

const configuration: Configuration = {
  voters: [NodeId("n1")],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

function node(number: number) {
  return {
    id: NodeId(`n${number}`),
    peerAddress: `host${number}:7081`,
    httpAddress: `http://host${number}:7080`,
    zone: `zone${number % 2}`,
    instanceId: `instance${number}`,
  };
}

function founding(): ClusterMap {
  const result = foundingMap({
    clusterId: "test",
    nodes: [node(1), node(2), node(3)],
    shardCount: 4,
    replicationFactor: 3,
    tokensPerShard: 8,
  });
  assert.equal(result.type, "ok");
  return result.map;
}

const drain: MapChange = { type: "putNode", node: { ...node(2), state: "draining" } };

function change(step: MapChange, ifEpoch: number | null = null): MetaCommand {
  return { type: "change", change: step, ifEpoch };
}

/** Shard 0 without Raft. */
class MetaHarness {
  readonly database: MemoryDatabase;
  readonly store: DatabaseLogStore;
  readonly maps: ClusterMap[] = [];
  machine: MetaStateMachine;

  private constructor(database: MemoryDatabase, store: DatabaseLogStore) {
    this.database = database;
    this.store = store;
    this.machine = this.open();
  }

  static async create(): Promise<MetaHarness> {
    const database = new MemoryDatabase();
    const store = new DatabaseLogStore(database, null);
    await store.recover();
    const batch = store.batch();
    batch.createShard(metaShard, configuration, false);
    await batch.write();
    return new MetaHarness(database, store);
  }

  open(): MetaStateMachine {
    return new MetaStateMachine({
      database: this.database,
      store: this.store,
      onMap: (map) => this.maps.push(map),
    });
  }

  run(...commands: readonly MetaCommand[]): readonly MetaOutcome[] {
    const index = LogIndex(this.machine.appliedIndex + 1);
    const payload = encodeEntryPayload(Revision(0), commands.map(encodeMetaCommand));
    const entry = { index, term: Term(1), type: "command" as const, payload };
    return this.machine.apply(entry, configuration).map(decodeMetaOutcome);
  }

  async persist(): Promise<void> {
    const batch = this.store.batch();
    this.machine.stage(batch);
    await batch.write();
    this.machine.staged();
  }
}

describe("the state machine of the meta shard", () => {
  it("founds a cluster once", async () => {
    const harness = await MetaHarness.create();
    assert.equal(harness.machine.map, null);
    const [before] = harness.run(change(drain));
    assert.deepEqual(before, {
      type: "refused",
      epoch: 0,
      reason: "the cluster is not founded yet",
    });
    const map = founding();
    const outcomes = harness.run({ type: "found", map }, { type: "found", map });
    assert.deepEqual(outcomes, [
      { type: "changed", epoch: 1 },
      { type: "refused", epoch: 1, reason: "the cluster is founded already" },
    ]);
    assert.deepEqual(harness.machine.map, map);
    assert.deepEqual(harness.maps, [map]);
  });

  it("moves by one epoch per change, and refuses one that was decided on an old map", async () => {
    const harness = await MetaHarness.create();
    harness.run({ type: "found", map: founding() });
    const grow: MapChange = { type: "putNode", node: { ...node(4), state: "active" } };
    assert.deepEqual(harness.run(change(drain, 1), change(grow, 1), change(grow)), [
      { type: "changed", epoch: 2 },
      { type: "stale", epoch: 2 },
      { type: "changed", epoch: 3 },
    ]);
    assert.equal(harness.machine.revision, 3);
    assert.deepEqual(
      harness.maps.map((map) => map.epoch),
      [1, 2, 3],
    );
  });

  it("refuses a change that would make the map unusable, and keeps the map", async () => {
    const harness = await MetaHarness.create();
    harness.run({ type: "found", map: founding() });
    const [outcome] = harness.run(change({ type: "removeNode", id: NodeId("n1") }));
    assert.equal(outcome?.type, "refused");
    assert.equal(harness.machine.map?.epoch, 1);
    assert.equal(harness.machine.revision, 1);
  });

  it("is the same after a reopening and after a snapshot", async () => {
    const harness = await MetaHarness.create();
    harness.run({ type: "found", map: founding() }, change(drain));
    await harness.persist();
    const { map, digest, appliedIndex } = harness.machine;
    const reopened = harness.open();
    assert.deepEqual(reopened.map, map);
    assert.equal(reopened.digest, digest);
    assert.equal(await reopened.recomputeDigest(), digest);

    const other = await MetaHarness.create();
    const reader = harness.machine.snapshot();
    const writer = other.machine.receiveSnapshot();
    for await (const chunk of reader.chunks(100)) {
      await writer.write(chunk);
    }
    await reader.close();
    const metadata = await writer.finish();
    const batch = other.store.batch();
    other.machine.install(batch, writer);
    batch.resetLog(metaShard, metadata);
    assert.equal(other.machine.map, null);
    await batch.write();
    other.machine.staged();
    assert.deepEqual(other.machine.map, map);
    assert.deepEqual(other.maps, [map]);
    assert.equal(other.machine.digest, digest);
    assert.equal(other.machine.appliedIndex, appliedIndex);
  });
});

const nodeIds = fc.integer({ min: 1, max: 6 }).map((number) => NodeId(`n${number}`));
const anyShardId = fc.integer({ min: 0, max: 6 }).map(ShardId);
const replicas = {
  id: anyShardId,
  voters: fc.array(nodeIds, { maxLength: 4 }),
  learners: fc.array(nodeIds, { maxLength: 2 }),
};
const anyChange: fc.Arbitrary<MapChange> = fc.oneof(
  fc.record({
    type: fc.constant("putNode" as const),
    node: fc.record({
      id: nodeIds,
      peerAddress: fc.constantFrom("a:1", "b:2", "nonsense"),
      httpAddress: fc.constantFrom("a:3", "b:4", ""),
      zone: fc.string({ maxLength: 8 }),
      instanceId: fc.constantFrom("i1", "i2", "not an id"),
      state: fc.constantFrom("active" as const, "draining" as const, "dead" as const),
    }),
  }),
  fc.record({ type: fc.constant("removeNode" as const), id: nodeIds }),
  fc.record({
    type: fc.constant("setReplicas" as const),
    replicas: fc.array(fc.record(replicas), { maxLength: 3 }),
  }),
  fc.record({
    type: fc.constant("putShard" as const),
    shard: fc.record({
      ...replicas,
      weight: fc.integer({ min: 0, max: 20 }),
      tokens: fc.array(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { maxLength: 5 }),
    }),
  }),
  fc.record({ type: fc.constant("removeShard" as const), id: anyShardId }),
  fc.record({
    type: fc.constant("setRouting" as const),
    routing: fc.array(
      fc.oneof(
        fc.record({ type: fc.constant("hash" as const), prefix: fc.string({ maxLength: 5 }) }),
        fc.record({
          type: fc.constant("segments" as const),
          prefix: fc.string({ maxLength: 5 }),
          count: fc.integer({ min: 0, max: 20 }),
        }),
        fc.record({
          type: fc.constant("shard" as const),
          prefix: fc.string({ maxLength: 5 }),
          shard: anyShardId,
        }),
      ),
      { maxLength: 4 },
    ),
  }),
  fc.record({
    type: fc.constant("setReplicationFactor" as const),
    replicationFactor: fc.integer({ min: 0, max: 10 }),
  }),
);

describe("meta commands", () => {
  it("are read back as they were written", () => {
    const ifEpoch = fc.option(fc.nat());
    fc.assert(
      fc.property(anyChange, ifEpoch, (step, epoch) => {
        const command = change(step, epoch);
        assert.deepEqual(
          comparable(decodeMetaCommand(encodeMetaCommand(command))),
          comparable(command),
        );
      }),
      fuzzParameters(1000),
    );
    const found: MetaCommand = { type: "found", map: founding() };
    assert.deepEqual(decodeMetaCommand(encodeMetaCommand(found)), found);
  });

  it("that are damaged are refused with a CodecError or mean something else, but never crash", () => {
    fc.assert(
      fc.property(anyChange, fc.nat(), fc.nat({ max: 255 }), (step, position, byte) => {
        const bytes = Buffer.from(encodeMetaCommand(change(step)));
        bytes[position % bytes.length] = byte;
        try {
          decodeMetaCommand(bytes);
        } catch (error) {
          assert.ok(error instanceof CodecError);
        }
      }),
      fuzzParameters(3000),
    );
  });

  it("lead every replica to the same bytes, whatever they say", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyChange, { maxLength: 20 }), async (steps) => {
        const [left, right] = [await MetaHarness.create(), await MetaHarness.create()];
        const commands: readonly MetaCommand[] = [
          { type: "found", map: founding() },
          ...steps.map((step) => change(step)),
        ];
        const together = left.run(...commands);
        const apart = commands.flatMap((command) => right.run(command));
        assert.deepEqual(apart, together);
        assert.equal(right.machine.digest, left.machine.digest);
        assert.ok(left.machine.map !== null);
        assert.ok(right.machine.map !== null);
        assert.deepEqual(encodeMap(right.machine.map), encodeMap(left.machine.map));
        const changes = together.filter((outcome) => outcome.type === "changed");
        assert.equal(left.machine.map.epoch, changes.length);
      }),
      fuzzParameters(50),
    );
  });

  it("outcomes are read back as they were written", () => {
    const outcomes: readonly MetaOutcome[] = [
      { type: "changed", epoch: 7 },
      { type: "stale", epoch: 0 },
      { type: "refused", epoch: 3, reason: "no" },
    ];
    for (const outcome of outcomes) {
      assert.deepEqual(decodeMetaOutcome(encodeMetaOutcome(outcome)), outcome);
    }
  });
});
