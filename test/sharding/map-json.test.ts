import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { decodeMap, encodeMap } from "../../cluster/sharding/map-json.ts";
import { planPlacement } from "../../cluster/sharding/placement.ts";
import { ShardId } from "../../cluster/types.ts";
import { fuzzParameters } from "../storage/seed.ts";
import { bytes, change, found, mapOf, node, nodesArbitrary, reasonOf } from "./maps.ts";

const map = change(found({ shardCount: 2, tokensPerShard: 2 }), {
  type: "setRouting",
  routing: [
    { type: "hash", prefix: "a" },
    { type: "segments", prefix: "b/é", count: 2 },
    { type: "shard", prefix: "c", shard: ShardId(1) },
  ],
});

test("A map is canonical JSON: fields in one order, without white space", () => {
  const small = found({ zones: ["a"], shardCount: 1, tokensPerShard: 2 });
  assert.equal(
    new TextDecoder().decode(encodeMap(small)),
    '{"version":1,"epoch":1,"clusterId":"test","replicationFactor":3,"tokensPerShard":2,' +
      '"nodes":[{"id":"n1","peerAddress":"host1:7001","httpAddress":"host1:8001","zone":"a",' +
      '"instanceId":"instance-1","state":"active"}],' +
      '"shards":[{"id":0,"voters":["n1"],"learners":[],"weight":1,"tokens":[]},' +
      '{"id":1,"voters":["n1"],"learners":[],"weight":1,"tokens":[0,2147483648]}],"routing":[]}',
  );
});

test("Every map survives encoding and decoding, and encodes to the same bytes again", () => {
  fc.assert(
    fc.property(nodesArbitrary(9), (nodes) => {
      const grown = change(map, ...nodes.map((each) => ({ type: "putNode", node: each }) as const));
      const placed = change(grown, { type: "setReplicas", replicas: planPlacement(grown) });
      const decoded = mapOf(decodeMap(encodeMap(placed)));
      assert.deepEqual(decoded, placed);
      assert.deepEqual(encodeMap(decoded), encodeMap(placed));
    }),
    fuzzParameters(50),
  );
});

test("Equal maps that were made in different orders are equal bytes", () => {
  const a = { type: "putNode", node: node(7, "a") } as const;
  const b = { type: "putNode", node: node(8, "b") } as const;
  assert.deepEqual(encodeMap(change(map, a, b)), encodeMap(change(map, b, a)));
});

/** What is said when the valid map's JSON is changed by replacing text. */
function refusal(from: string, to: string): string {
  const json = new TextDecoder().decode(encodeMap(map));
  assert.ok(json.includes(from), from);
  return reasonOf(decodeMap(bytes(json.replace(from, to))));
}

describe("A decoder refuses, with a sentence,", () => {
  test("bytes that are not JSON or not UTF-8", () => {
    assert.match(reasonOf(decodeMap(bytes("{"))), /the bytes are not JSON/);
    assert.match(reasonOf(decodeMap(new Uint8Array([0x22, 0xff, 0x22]))), /the bytes are not JSON/);
    assert.match(reasonOf(decodeMap(new Uint8Array())), /the bytes are not JSON/);
  });

  test("JSON that is not an object", () => {
    for (const json of ["null", "[]", "7", '"map"']) {
      assert.match(reasonOf(decodeMap(bytes(json))), /a map is an object/);
    }
  });

  test("another format version", () => {
    assert.match(refusal('"version":1', '"version":2'), /format version 2 is not known/);
  });

  test("missing and unknown fields", () => {
    assert.match(refusal('"epoch":2,', ""), /a map lacks the field epoch/);
    assert.match(refusal('"epoch":2,', '"epoch":2,"extra":0,'), /a map has no field "extra"/);
    assert.match(refusal('"zone":"a",', ""), /a node lacks the field zone/);
    assert.match(refusal('"count":2', '"count":2,"shard":1'), /a rule has no field "shard"/);
  });

  test("fields of the wrong type", () => {
    assert.match(refusal('"epoch":2', '"epoch":"2"'), /epoch is a number/);
    assert.match(refusal('"zone":"a"', '"zone":1'), /zone is a string/);
    assert.match(refusal('"learners":[]', '"learners":null'), /learners is a list/);
    assert.match(refusal('"state":"active"', '"state":"happy"'), /"happy" is not a node state/);
    assert.match(refusal('"id":"n1"', '"id":"n 1"'), /node id is malformed: "n 1"/);
    assert.match(refusal('"id":0', '"id":-1'), /shard id out of range: -1/);
    assert.match(refusal('"type":"hash"', '"type":"range"'), /hash, segments or shard/);
    assert.match(refusal('{"type":"hash","prefix":"a"}', "null"), /hash, segments or shard/);
  });

  test("well-formed maps that contradict themselves", () => {
    assert.match(refusal('"epoch":2', '"epoch":0'), /epoch must be a whole number from 1/);
  });

  test("whatever else arrives, without throwing", () => {
    const anything = fc.oneof(fc.uint8Array(), fc.json().map(bytes));
    fc.assert(
      fc.property(anything, (input) => {
        assert.equal(decodeMap(input).type, "refused");
      }),
      fuzzParameters(500),
    );
  });

  test("a valid map with any one byte changed, unless it is a valid map again", () => {
    const original = encodeMap(map);
    fc.assert(
      fc.property(fc.nat(original.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const damaged = original.slice();
        damaged[at] = (damaged[at] ?? 0) ^ flip;
        const result = decodeMap(damaged);
        if (result.type === "ok") {
          assert.deepEqual(decodeMap(encodeMap(result.map)), result);
        }
      }),
      fuzzParameters(500),
    );
  });
});

test("Node states are kept", () => {
  const states = change(
    map,
    { type: "putNode", node: node(1, "a", "draining") },
    { type: "putNode", node: node(2, "b", "dead") },
  );
  assert.deepEqual(mapOf(decodeMap(encodeMap(states))), states);
});
