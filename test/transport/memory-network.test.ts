import assert from "node:assert/strict";
import { ReadableStream } from "node:stream/web";
import { test } from "node:test";
import { type NodeId, ShardId, Term } from "../../cluster/types.ts";
import { numberedFrame, snapshotMetadata } from "./frames.ts";
import { TestNode } from "./harness.ts";
import { MemoryNetwork, MemoryTransport, type MemoryNetworkOptions } from "./memory-transport.ts";

/** A network whose events wait until they are run. */
class StepNetwork {
  readonly network: MemoryNetwork;
  readonly #queue: { readonly route: string; readonly event: () => void }[] = [];

  constructor(passes?: MemoryNetworkOptions["passes"]) {
    this.network = new MemoryNetwork({
      schedule: (from, to, event) => this.#queue.push({ route: `${from} ${to}`, event }),
      ...(passes === undefined ? {} : { passes }),
    });
  }

  /** Runs everything that is scheduled, and what follows from it, `pick` choosing the next. */
  settle(pick: (length: number) => number = () => 0): void {
    while (this.#queue.length > 0) {
      const [next] = this.#queue.splice(pick(this.#queue.length), 1);
      next?.event();
    }
  }

  async start(id: string, incarnation = 1): Promise<[TestNode, MemoryTransport]> {
    const address = `${id}:${incarnation}`;
    let made: MemoryTransport | null = null;
    const node = new TestNode({ id, incarnation }, (setup) => {
      made = new MemoryTransport({ ...setup, network: this.network, address });
      return { transport: made, address: () => address };
    });
    await node.start();
    assert.ok(made !== null);
    return [node, made];
  }

  async pair(): Promise<[TestNode, TestNode, MemoryTransport]> {
    const [n1] = await this.start("n1");
    const [n2, transport2] = await this.start("n2");
    n1.transport.setPeers([n1.peer, n2.peer]);
    n2.transport.setPeers([n1.peer, n2.peer]);
    this.settle();
    assert.ok(n1.isConnectedTo(n2) && n2.isConnectedTo(n1));
    return [n1, n2, transport2];
  }
}

function epochs(node: TestNode): readonly number[] {
  return node.frames().map(({ epoch }) => epoch);
}

test("nothing happens before the schedule says so", async () => {
  const steps = new StepNetwork();
  const [n1, n2] = await steps.pair();
  n1.transport.send(n2.id, numberedFrame(1));
  assert.deepEqual(epochs(n2), []);
  assert.ok((n1.transport.status().get(n2.id)?.queuedBytes ?? 0) > 0);
  steps.settle();
  assert.deepEqual(epochs(n2), [1]);
  assert.equal(n1.transport.status().get(n2.id)?.queuedBytes, 0);
});

test("the schedule may reorder frames", async () => {
  const steps = new StepNetwork();
  const [n1, n2] = await steps.pair();
  n1.transport.send(n2.id, numberedFrame(1));
  n1.transport.send(n2.id, numberedFrame(2));
  steps.settle((length) => length - 1);
  assert.deepEqual(epochs(n2), [2, 1]);
});

test("a cut swallows one direction in silence until it is mended", async () => {
  const steps = new StepNetwork();
  const [n1, n2] = await steps.pair();
  steps.network.cut(n1.id, n2.id);
  assert.equal(n1.transport.send(n2.id, numberedFrame(1)), true);
  assert.equal(n2.transport.send(n1.id, numberedFrame(2)), true);
  steps.settle();
  assert.deepEqual([epochs(n1), epochs(n2)], [[2], []]);
  steps.network.mend(n1.id, n2.id);
  n1.transport.send(n2.id, numberedFrame(3));
  steps.settle();
  assert.deepEqual(epochs(n2), [3]);
  assert.equal(n1.count("lost", n2) + n1.count("gone", n2), 0);
});

test("a reset connection comes back, unless the nodes are cut off", async () => {
  const steps = new StepNetwork();
  const [n1, n2] = await steps.pair();
  steps.network.cut(n1.id, n2.id);
  steps.network.reset(n1.id, n2.id);
  steps.settle();
  assert.deepEqual([n1.count("lost", n2), n2.count("lost", n1)], [1, 1]);
  assert.equal(n1.isConnectedTo(n2), false);
  steps.network.mend(n1.id, n2.id);
  steps.settle();
  assert.deepEqual([n1.count("connected", n2), n2.count("connected", n1)], [2, 2]);
});

test("a killed node is gone, its frames under way with it, and its next start connects", async () => {
  const steps = new StepNetwork();
  const [n1, n2, transport2] = await steps.pair();
  n1.transport.send(n2.id, numberedFrame(1));
  transport2.kill();
  steps.settle();
  assert.equal(n1.count("gone", n2), 1);
  assert.deepEqual(epochs(n2), []);
  const [back] = await steps.start("n2", 2);
  back.transport.setPeers([n1.peer]);
  steps.settle();
  assert.ok(n1.isConnectedTo(back) && back.isConnectedTo(n1));
});

test("a snapshot to a node that is killed ends for its sender, though the receiver never says anything again", async () => {
  const steps = new StepNetwork();
  const [n1, n2, transport2] = await steps.pair();
  n2.onSnapshot = () => {
    transport2.kill();
    return new Promise(() => {});
  };
  const header = { shard: ShardId(1), term: Term(1), snapshot: snapshotMetadata };
  const { signal } = new AbortController();
  const sent = n1.transport.sendSnapshot(n2.id, header, ReadableStream.from([]), signal);
  const refused = assert.rejects(sent, /snapshot to n2: it is gone/);
  for (let round = 0; round < 5; round++) {
    steps.settle();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await refused;
});

test("the filter decides which frames are lost", async () => {
  const asked: [NodeId, NodeId][] = [];
  const steps = new StepNetwork((from, to, frame) => {
    asked.push([from, to]);
    return frame.epoch !== 2;
  });
  const [n1, n2] = await steps.pair();
  for (const epoch of [1, 2, 3]) {
    n1.transport.send(n2.id, numberedFrame(epoch));
  }
  steps.settle();
  assert.deepEqual(epochs(n2), [1, 3]);
  assert.deepEqual(asked, Array(3).fill([n1.id, n2.id]));
});
