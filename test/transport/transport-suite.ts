import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { ReadableStream } from "node:stream/web";
import { setImmediate } from "node:timers/promises";
import type { Hello, SnapshotHeader } from "../../cluster/multiraft/transport.ts";
import { NodeId, ShardId } from "../../cluster/types.ts";
import { emptyFrame, fullFrame, numberedFrame, snapshotMetadata } from "./frames.ts";
import { connect, TestNode, type MakeTransport, type TestNodeOptions } from "./harness.ts";

/** What every Transport promises. `makeNetwork` gives a factory of transports that can reach each other. */
export function testTransport(name: string, makeNetwork: () => MakeTransport): void {
  describe(`Transport contract: ${name}`, () => {
    frameTests(makeNetwork);
    identityTests(makeNetwork);
    incarnationTests(makeNetwork);
    lifeTests(makeNetwork);
    addressTests(makeNetwork);
    snapshotTests(makeNetwork);
    snapshotFailureTests(makeNetwork);
  });
}

/** Starts nodes that are stopped when the test ends. */
function starter(t: TestContext, makeNetwork: () => MakeTransport) {
  const make = makeNetwork();
  return async (options: TestNodeOptions): Promise<TestNode> => {
    const node = new TestNode(options, make);
    t.after(() => node.transport.stop());
    await node.start();
    return node;
  };
}

async function pair(
  t: TestContext,
  makeNetwork: () => MakeTransport,
  options: Partial<TestNodeOptions> = {},
): Promise<[TestNode, TestNode]> {
  const start = starter(t, makeNetwork);
  const n1 = await start({ ...options, id: "n1" });
  const n2 = await start({ ...options, id: "n2" });
  await connect(n1, n2);
  return [n1, n2];
}

function frameTests(makeNetwork: () => MakeTransport): void {
  test("a frame with every kind of message arrives as it was sent, both ways", async (t) => {
    const [n1, n2] = await pair(t, makeNetwork);
    for (const [from, to] of [[n1, n2] as const, [n2, n1] as const]) {
      const frame = fullFrame(from.id, to.id);
      assert.equal(from.transport.send(to.id, frame), true);
      await to.until("the frame", () => to.frames().length > 0);
      assert.deepEqual(to.frames(), [frame]);
    }
  });

  test("an empty frame arrives and is counted", async (t) => {
    const [n1, n2] = await pair(t, makeNetwork);
    assert.equal(n1.transport.send(n2.id, emptyFrame), true);
    await n2.until("the frame", () => n2.frames().length === 1);
    assert.equal(n1.transport.status().get(n2.id)?.sentFrames, 1);
    assert.equal(n2.transport.status().get(n1.id)?.receivedFrames, 1);
  });

  test("10,000 frames arrive in the order in which they were sent", async (t) => {
    const [n1, n2] = await pair(t, makeNetwork);
    const count = 10_000;
    for (let epoch = 0; epoch < count; epoch++) {
      assert.equal(n1.transport.send(n2.id, numberedFrame(epoch)), true);
      if (epoch % 500 === 0) {
        await setImmediate();
      }
    }
    await n2.until("all frames", () => n2.frames().length === count);
    assert.deepEqual(
      n2.frames().map(({ epoch }) => epoch),
      Array.from({ length: count }, (_, epoch) => epoch),
    );
  });

  test("a frame to somebody who is not connected is dropped at once", async (t) => {
    const start = starter(t, makeNetwork);
    const n1 = await start({ id: "n1" });
    const n2 = await start({ id: "n2" });
    assert.equal(n1.transport.send(n2.id, emptyFrame), false);
  });
}

/** Nobody is ever connected in these; each hears why. */
async function expectRefusal(n1: TestNode, n2: TestNode, reason: RegExp): Promise<void> {
  n1.transport.setPeers([n1.peer, n2.peer]);
  n2.transport.setPeers([n1.peer, n2.peer]);
  for (const [node, other] of [[n1, n2] as const, [n2, n1] as const]) {
    await node.until(`a problem like ${reason}`, () => reason.test(node.problemWith(other) ?? ""));
    assert.equal(node.isConnectedTo(other), false);
    assert.equal(node.count("connected", other), 0);
  }
}

function identityTests(makeNetwork: () => MakeTransport): void {
  test("nodes of two clusters do not connect, and each says why", async (t) => {
    const start = starter(t, makeNetwork);
    const n1 = await start({ id: "n1", clusterId: "blue" });
    const n2 = await start({ id: "n2", clusterId: "red" });
    await expectRefusal(n1, n2, /belongs to cluster (blue|red), n[12] to (blue|red)/);
  });

  test("a node without a cluster does not connect, and says so", async (t) => {
    const start = starter(t, makeNetwork);
    const n1 = await start({ id: "n1", clusterId: null });
    const n2 = await start({ id: "n2" });
    await expectRefusal(n1, n2, /no cluster yet|none yet/);
  });

  test("a node at another node's address is not mistaken for it", async (t) => {
    const start = starter(t, makeNetwork);
    const n1 = await start({ id: "n1" });
    const n3 = await start({ id: "n3" });
    n3.transport.setPeers([n1.peer]);
    n1.transport.setPeers([{ id: NodeId("n2"), address: n3.address }]);
    await n1.until("a problem", () =>
      /this is n3, not n2/.test(n1.transport.status().get(NodeId("n2"))?.problem ?? ""),
    );
    assert.equal(n1.events.filter(({ type }) => type === "connected").length, 0);
  });

  test("the host's check decides about a node with a new data directory", async (t) => {
    const start = starter(t, makeNetwork);
    const verifyPeer = (theirs: Hello) =>
      theirs.nodeId === "n2" && theirs.instanceId !== "instance-of-n2" ? "n2 was wiped" : null;
    const n1 = await start({ id: "n1", verifyPeer });
    const n2 = await start({ id: "n2", instanceId: "another" });
    n1.transport.setPeers([n1.peer, n2.peer]);
    n2.transport.setPeers([n1.peer, n2.peer]);
    await n1.until("the reason at n1", () => /n2 was wiped/.test(n1.problemWith(n2) ?? ""));
    await n2.until("the reason at n2", () => /n2 was wiped/.test(n2.problemWith(n1) ?? ""));
    assert.deepEqual([n1.count("connected", n2), n2.count("connected", n1)], [0, 0]);
  });
}

function incarnationTests(makeNetwork: () => MakeTransport): void {
  test("a newer incarnation takes over, and the older one cannot come back", async (t) => {
    const start = starter(t, makeNetwork);
    const n1 = await start({ id: "n1" });
    const older = await start({ id: "n2", incarnation: 1 });
    await connect(n1, older);
    const newer = await start({ id: "n2", incarnation: 2 });
    newer.transport.setPeers([n1.peer]);
    await newer.untilConnected(n1);
    await n1.until("the switch", () => n1.count("connected", older) === 2);
    assert.equal(n1.count("gone", older), 1);
    await older.until("being told", () => older.count("lost", n1) + older.count("gone", n1) > 0);
    await older.until("the refusal", () => /is over/.test(older.problemWith(n1) ?? ""));
    assert.equal(n1.transport.send(newer.id, numberedFrame(7)), true);
    await newer.until("the frame", () => newer.frames().length === 1);
    assert.equal(older.frames().length, 0);
  });

  test("a node is asked who it is, also before there is a cluster", async (t) => {
    const start = starter(t, makeNetwork);
    const n1 = await start({ id: "n1", clusterId: null });
    const n2 = await start({ id: "n2", clusterId: null });
    assert.deepEqual(await n1.transport.hello(n2.address, n1.hello, 5_000), n2.hello);
  });

  test("asking an address where nobody listens fails", async (t) => {
    const start = starter(t, makeNetwork);
    const n1 = await start({ id: "n1" });
    const n2 = await start({ id: "n2" });
    const address = n2.address;
    await n2.transport.stop();
    await assert.rejects(n1.transport.hello(address, n1.hello, 5_000), /hello to/);
  });
}

function lifeTests(makeNetwork: () => MakeTransport): void {
  test("five nodes that start at the same moment are all connected to each other", async (t) => {
    const start = starter(t, makeNetwork);
    const ids = ["n1", "n2", "n3", "n4", "n5"];
    const nodes = await Promise.all(ids.map((id) => start({ id })));
    await connect(...nodes);
    for (const from of nodes) {
      for (const to of nodes.filter((node) => node !== from)) {
        const seen = to.frames().length;
        assert.equal(from.transport.send(to.id, numberedFrame(1)), true);
        await to.until("the frame", () => to.frames().length > seen);
      }
    }
  });

  test("a node that stops is gone at once, and connects again when it is back", async (t) => {
    const start = starter(t, makeNetwork);
    const n1 = await start({ id: "n1" });
    const n2 = await start({ id: "n2" });
    await connect(n1, n2);
    await n2.transport.stop();
    await n1.until("the evidence", () => n1.count("gone", n2) === 1);
    assert.equal(n1.count("lost", n2), 0);
    assert.equal(n1.transport.send(n2.id, emptyFrame), false);

    const back = await start({ id: "n2", incarnation: 2, address: n2.address });
    back.transport.setPeers([n1.peer, back.peer]);
    await n1.untilConnected(back);
    assert.equal(n1.transport.send(back.id, numberedFrame(2)), true);
    await back.until("a frame", () => back.frames().length === 1);
    assert.equal(n1.transport.status().get(n2.id)?.reconnects, 1);
  });
}

function addressTests(makeNetwork: () => MakeTransport): void {
  test("a node that moves is found at its new address", async (t) => {
    const start = starter(t, makeNetwork);
    const n1 = await start({ id: "n1" });
    const n2 = await start({ id: "n2" });
    await connect(n1, n2);
    await n2.transport.stop();
    await n1.until("the evidence", () => n1.count("gone", n2) === 1);
    const moved = await start({ id: "n2", incarnation: 2 });
    assert.notEqual(moved.address, n2.address);
    // Only n1 learns the new address; the moved node has yet to learn who its peers are.
    n1.transport.setPeers([n1.peer, moved.peer]);
    moved.transport.setPeers([{ id: n1.id, address: "127.0.0.1:1" }]);
    await n1.untilConnected(moved);
    await moved.untilConnected(n1);
  });

  test("a node that moved and knows its peers connects although they do not know where it is", async (t) => {
    const start = starter(t, makeNetwork);
    const n1 = await start({ id: "n1" });
    const n2 = await start({ id: "n2" });
    await connect(n1, n2);
    await n2.transport.stop();
    const moved = await start({ id: "n2", incarnation: 2 });
    moved.transport.setPeers([n1.peer]);
    await n1.untilConnected(moved);
  });

  test("a peer that is no longer listed is disconnected, on both sides", async (t) => {
    const [n1, n2] = await pair(t, makeNetwork);
    n1.transport.setPeers([n1.peer]);
    await n2.until("the end", () => n2.count("lost", n1) === 1);
    assert.equal(n1.count("lost", n2), 1);
    assert.equal(n1.transport.send(n2.id, emptyFrame), false);
    n1.transport.setPeers([n1.peer, n2.peer]);
    await n1.untilConnected(n2);
    await n2.untilConnected(n1);
  });

  test("stopping twice is stopping once, and nothing is delivered afterwards", async (t) => {
    const [n1, n2] = await pair(t, makeNetwork);
    n1.transport.send(n2.id, emptyFrame);
    await Promise.all([n2.transport.stop(), n2.transport.stop()]);
    const seen = n2.events.length;
    await n2.transport.stop();
    n1.transport.send(n2.id, emptyFrame);
    n2.transport.setPeers([n1.peer]);
    await n1.until("the evidence", () => n1.count("gone", n2) === 1);
    assert.equal(n2.events.length, seen);
    assert.equal(n2.transport.send(n1.id, emptyFrame), false);
  });
}

const header: SnapshotHeader = { shard: ShardId(3), term: 9, snapshot: snapshotMetadata };

/** Of a snapshot that nobody gives up. */
const never = new AbortController().signal;

async function* chunksOf(count: number, bytes: number, onChunk: () => void = () => {}) {
  for (let position = 0; position < count; position++) {
    onChunk();
    yield new Uint8Array(bytes).fill(position);
    // A source that has everything at hand must not keep the others from running.
    await setImmediate();
  }
}

function snapshotTests(makeNetwork: () => MakeTransport): void {
  test("a snapshot arrives byte for byte, whatever the size of its chunks", async (t) => {
    const [n1, n2] = await pair(t, makeNetwork);
    const sizes = [1, 0, 256 * 1024, 256 * 1024 + 1, 1_000_000];
    const chunks = sizes.map((size, position) => new Uint8Array(size).fill(position + 1));
    const received: Uint8Array[] = [];
    n2.onSnapshot = async (from, theirs, parts) => {
      assert.equal(from, n1.id);
      assert.deepEqual(theirs, header);
      for await (const part of parts) {
        received.push(part.slice());
      }
    };
    await n1.transport.sendSnapshot(n2.id, header, ReadableStream.from(chunks), never);
    assert.equal(Buffer.concat(received).equals(Buffer.concat(chunks)), true);
  });

  test("the receiver's refusal of a snapshot reaches the sender", async (t) => {
    const [n1, n2] = await pair(t, makeNetwork);
    n2.onSnapshot = () => Promise.reject(new Error("term 9 is over"));
    const sent = n1.transport.sendSnapshot(n2.id, header, chunksOf(3, 1000), never);
    await assert.rejects(sent, /term 9 is over/);
  });

  test("a receiver that takes its time slows the sender down", async (t) => {
    const [n1, n2] = await pair(t, makeNetwork);
    const bytes = 256 * 1024;
    const count = 200;
    let produced = 0;
    let furthestAhead = 0;
    n2.onSnapshot = async (_from, _header, parts) => {
      let consumed = 0;
      for await (const part of parts) {
        consumed += part.length;
        furthestAhead = Math.max(furthestAhead, produced * bytes - consumed);
        await setImmediate();
        await setImmediate();
      }
      assert.equal(consumed, count * bytes);
    };
    const chunks = chunksOf(count, bytes, () => produced++);
    await n1.transport.sendSnapshot(n2.id, header, chunks, never);
    assert.ok(furthestAhead < (count * bytes) / 2, `${furthestAhead} bytes ahead`);
  });
}

function snapshotFailureTests(makeNetwork: () => MakeTransport): void {
  test("a snapshot that its sender gives up ends on both sides", async (t) => {
    const [n1, n2] = await pair(t, makeNetwork);
    const abort = new AbortController();
    const received = Promise.withResolvers<void>();
    n2.onSnapshot = async (_from, _header, parts) => {
      try {
        for await (const _part of parts) {
          abort.abort(new Error("another leader"));
        }
        received.resolve();
      } catch (error) {
        received.reject(error);
        throw error;
      }
    };
    const sent = n1.transport.sendSnapshot(n2.id, header, chunksOf(1_000, 50_000), abort.signal);
    await Promise.all([assert.rejects(sent), assert.rejects(received.promise)]);
  });

  test("a node that stops in the middle of a snapshot fails it on both sides", async (t) => {
    const [n1, n2] = await pair(t, makeNetwork);
    const received = Promise.withResolvers<void>();
    let stopped: Promise<void> | null = null;
    n2.onSnapshot = async (_from, _header, parts) => {
      try {
        for await (const _part of parts) {
          stopped ??= n2.transport.stop();
        }
        received.resolve();
      } catch (error) {
        received.reject(error);
        throw error;
      }
    };
    const sent = n1.transport.sendSnapshot(n2.id, header, chunksOf(1_000, 50_000), never);
    await Promise.all([assert.rejects(sent), assert.rejects(received.promise)]);
    await stopped;
  });

  test("too many snapshots at a time are refused", async (t) => {
    const [n1, n2] = await pair(t, makeNetwork, { snapshotReceivesMax: 1 });
    const first = Promise.withResolvers<void>();
    const arrived = Promise.withResolvers<void>();
    n2.onSnapshot = async () => {
      arrived.resolve();
      await first.promise;
    };
    const sent = n1.transport.sendSnapshot(n2.id, header, chunksOf(1, 10), never);
    await arrived.promise;
    const second = n1.transport.sendSnapshot(n2.id, header, chunksOf(1, 10), never);
    await assert.rejects(second, /1 snapshots are being received already/);
    first.resolve();
    await sent;
  });

  test("a snapshot to somebody who is not a peer fails", async (t) => {
    const start = starter(t, makeNetwork);
    const n1 = await start({ id: "n1" });
    const sent = n1.transport.sendSnapshot(NodeId("n9"), header, chunksOf(1, 10), never);
    await assert.rejects(sent, /snapshot to n9/);
  });
}
