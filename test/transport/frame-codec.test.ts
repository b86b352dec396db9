import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadSync, type MessageTypeDefinition } from "@grpc/proto-loader";
import { InvariantViolation } from "../../cluster/assert.ts";
import { decodeFrame, encodeClose, encodeFrame } from "../../cluster/transport/frame-codec.ts";
import { splitFrame } from "../../cluster/transport/split-frame.ts";
import { WireError, WireWriter } from "../../cluster/transport/wire.ts";
import { NodeId } from "../../cluster/types.ts";
import { emptyFrame, fullFrame, largeFrame } from "./frames.ts";

const route = { from: NodeId("n1"), to: NodeId("n2") };
const full = fullFrame(route.from, route.to);

function generatedCodec(): MessageTypeDefinition<object, object> {
  const path = fileURLToPath(new URL("../../proto/peer.proto", import.meta.url));
  const found = loadSync(path, { longs: Number, enums: Number })["flotilla.peer.v1.Frame"];
  return found as unknown as MessageTypeDefinition<object, object>;
}

/** Small, fast, seeded: uniform in [0, 1). */
function makeRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

test("decoding gives back what was encoded", () => {
  for (const frame of [full, emptyFrame, largeFrame(1, 100_000)]) {
    assert.deepEqual(decodeFrame(encodeFrame(frame, route), route), { type: "frame", frame });
  }
});

test("a goodbye is told from a frame", () => {
  const close = { reason: "stopping", detail: "the node is shutting down" } as const;
  assert.deepEqual(decodeFrame(encodeClose(close), route), { type: "close", close });
});

test("the codec that proto-loader generates from peer.proto reads our bytes, and we read its", () => {
  const generated = generatedCodec();
  const bytes = encodeFrame(full, route);
  const theirs = generated.serialize(generated.deserialize(bytes));
  assert.notDeepEqual(theirs, bytes, "lengths are padded by us and not by it");
  assert.deepEqual(decodeFrame(theirs, route), { type: "frame", frame: full });
});

test("fields and messages of a later release are passed over", () => {
  const writer = new WireWriter(16);
  writer.message(1, null, (message) => {
    message.uint(1, 5);
    message.uint(2, 7);
    message.message(99, null, (body) => body.uint(1, 1));
  });
  writer.uint(5, 12);
  writer.double(100, 1.5);
  writer.bytes(101, new Uint8Array(3));
  assert.deepEqual(decodeFrame(writer.finish(), route), {
    type: "frame",
    frame: { ...emptyFrame, epoch: 12 },
  });
});

test("what is not a frame is refused with a reason", () => {
  const cases: [string, (writer: WireWriter) => void, RegExp][] = [
    ["field order", (w) => (w.uint(5, 1), w.uint(4, 1)), /field 4 comes after field 5/],
    ["wire type", (w) => w.bytes(5, new Uint8Array(1)), /wire type 2 instead of 0/],
    ["field number", (w) => w.uint(0, 1), /field number 0/],
    ["infinite time", (w) => w.double(6, Infinity), /no time span/],
    ["negative time", (w) => w.double(7, -1), /no time span/],
    ["shard", (w) => w.message(2, null, (r) => r.uint(2, 2 ** 31)), /shard 2147483648/],
    ["kind", (w) => w.message(2, null, (r) => r.uint(3, 4)), /unknown kind/],
    ["status", (w) => w.message(3, null, (r) => r.uint(2, 6)), /unknown status/],
    ["leader", (w) => w.message(3, null, (r) => r.string(4, "a b")), /node id is malformed/],
    ["boolean", (w) => shardMessage(w, 3 + 1, (b) => b.uint(1, 2)), /no boolean/],
    ["no result", (w) => shardMessage(w, 8, () => {}), /no known result/],
    ["no snapshot", (w) => shardMessage(w, 11, () => {}), /no metadata/],
    [
      "entry type",
      (w) => shardMessage(w, 7, (b) => b.message(4, null, (entry) => entry.uint(2, 3))),
      /unknown type/,
    ],
    [
      "entry index",
      (w) =>
        shardMessage(w, 7, (b) => {
          b.uint(1, Number.MAX_SAFE_INTEGER);
          b.message(4, null, () => {});
        }),
      /index is too large/,
    ],
  ];
  for (const [name, write, reason] of cases) {
    const writer = new WireWriter(64);
    write(writer);
    assert.throws(
      () => decodeFrame(writer.finish(), route),
      (error) => error instanceof WireError && reason.test(error.message),
      name,
    );
  }
});

function shardMessage(writer: WireWriter, field: number, write: (body: WireWriter) => void): void {
  writer.message(1, null, (message) => message.message(field, null, write));
}

test("mutated bytes are a frame or a WireError, never anything else", () => {
  const seed = Number(process.env["SEED"] ?? Date.now() % 2 ** 31);
  console.log(`SEED=${seed}`);
  const random = makeRandom(seed);
  const valid = encodeFrame(full, route);
  let refused = 0;
  const rounds = 40_000;
  for (let round = 0; round < rounds; round++) {
    const bytes = mutate(valid, random);
    try {
      const received = decodeFrame(bytes, route);
      if (received.type === "frame") {
        // What was accepted is well-formed enough to be sent on.
        decodeFrame(encodeFrame(received.frame, route), route);
      }
    } catch (error) {
      assert.ok(error instanceof WireError, `SEED=${seed}, round ${round}: ${String(error)}`);
      refused++;
    }
  }
  assert.ok(refused > rounds / 10, `only ${refused} of ${rounds} were refused`);
});

function mutate(valid: Buffer, random: () => number): Buffer {
  let bytes = Buffer.from(valid);
  const below = (limit: number) => Math.floor(random() * limit);
  const changes = 1 + below(4);
  for (let change = 0; change < changes; change++) {
    const position = below(bytes.length);
    switch (below(4)) {
      case 0:
        bytes[position] = below(256);
        break;
      case 1:
        bytes[position] = (bytes[position] ?? 0) ^ (1 << below(8));
        break;
      case 2:
        bytes = bytes.subarray(0, Math.max(1, position));
        break;
      default: {
        const length = Math.min(below(16), bytes.length - position);
        bytes = Buffer.concat([
          bytes.subarray(0, position),
          bytes.subarray(position, position + length),
          bytes.subarray(position),
        ]);
      }
    }
  }
  return bytes;
}

test("a frame splits into two that hold all of it, in order", () => {
  const parts = splitFrame(full);
  assert.ok(parts !== null);
  const [first, second] = parts;
  assert.deepEqual([...first.messages, ...second.messages], full.messages);
  assert.deepEqual([...first.requests, ...second.requests], full.requests);
  assert.deepEqual([...first.responses, ...second.responses], full.responses);
  assert.deepEqual([...first.digests, ...second.digests], full.digests);
  assert.deepEqual(
    [second.floor, second.epoch, second.sentMs, second.echoMs],
    [full.floor, full.epoch, full.sentMs, full.echoMs],
  );
});

test("a frame of one item cannot be split", () => {
  assert.equal(splitFrame(largeFrame(1, 10)), null);
  assert.equal(splitFrame(emptyFrame), null);
});

test("a message that is not from and for the two ends of the stream is a bug of the sender", () => {
  const strayed = fullFrame(route.from, NodeId("n3"));
  assert.throws(() => encodeFrame(strayed, route), InvariantViolation);
});
