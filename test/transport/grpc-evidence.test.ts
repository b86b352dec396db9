import assert from "node:assert/strict";
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect as connectSocket, createServer, type AddressInfo, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { NodeId } from "../../cluster/types.ts";
import { largeFrame, numberedFrame } from "./frames.ts";
import { startGrpc } from "./grpc-harness.ts";
import { connect, type TestNode } from "./harness.ts";

const script = fileURLToPath(new URL("peer-process.ts", import.meta.url));

/** A peer of `node` in another process, connected; nothing of it is left when the test ends. */
async function startProcess(t: TestContext, id: string, node: TestNode): Promise<ChildProcess> {
  const child = fork(script, [id, node.id, node.address]);
  t.after(() => child.kill("SIGKILL"));
  const [{ address }] = await once(child, "message");
  node.transport.setPeers([{ id: NodeId(id), address: String(address) }]);
  await node.until("the connection", () => isConnected(node, id));
  return child;
}

function isConnected(node: TestNode, id: string): boolean {
  return node.transport.status().get(NodeId(id))?.isConnected ?? false;
}

// The node with the smaller id redials at once, the other one only knocks: both must find out.
for (const id of ["n1", "n9"]) {
  test(`a killed process is gone, and never just lost (node n5 sees ${id} die)`, async (t) => {
    const node = await startGrpc(t, { id: "n5" });
    const child = await startProcess(t, id, node);
    child.kill("SIGKILL");
    await node.until("the break", () => node.events.some(({ type }) => type === "problem"));
    const brokeMs = performance.now();
    await node.until("the evidence", () => node.events.some(({ type }) => type === "gone"));
    t.diagnostic(`evidence ${(performance.now() - brokeMs).toFixed(1)} ms after the break`);
    assert.equal(node.events.filter(({ type }) => type === "lost").length, 0);
  });
}

test("a paused process is not gone; what is sent to it is bounded, and arrives when it goes on", async (t) => {
  const queueBytesMax = 8 * 2 ** 20;
  const node = await startGrpc(t, { id: "n5" }, { queueBytesMax });
  const child = await startProcess(t, "n9", node);
  child.kill("SIGSTOP");
  t.after(() => child.kill("SIGCONT"));
  const to = NodeId("n9");
  const epochs: number[] = [];
  child.on("message", ({ epoch }: { epoch: number }) => epochs.push(epoch));
  let sent = 0;
  while (node.transport.send(to, largeFrame(sent, 500_000))) {
    sent++;
    assert.ok(sent < 1_000, "the queue has no end");
    await new Promise((resolve) => setImmediate(resolve));
  }
  const status = node.transport.status().get(to);
  assert.ok(status !== undefined);
  assert.ok(status.queuedBytes <= queueBytesMax, `${status.queuedBytes} bytes are queued`);
  assert.equal(status.droppedFrames, 1);
  assert.equal(isConnected(node, "n9"), true);
  child.kill("SIGCONT");
  while (epochs.length < sent) {
    await once(child, "message");
  }
  assert.deepEqual(
    epochs,
    Array.from({ length: sent }, (_, epoch) => epoch),
  );
  assert.equal(node.transport.send(to, numberedFrame(1)), true);
});

/** A way to `target` that can break, or swallow everything. */
async function startProxy(t: TestContext, target: string) {
  const sockets = new Set<Socket>();
  let isSwallowing = false;
  const server = createServer((near) => {
    const far = connectSocket(Number(target.split(":")[1]), "127.0.0.1");
    for (const [from, to] of [[near, far] as const, [far, near] as const]) {
      sockets.add(from);
      from.on("data", (bytes) => (isSwallowing ? undefined : to.write(bytes)));
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    for (const socket of sockets) {
      socket.resetAndDestroy();
    }
  };
  t.after(() => {
    cut();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    address: `127.0.0.1:${port}`,
    cut,
    swallow: (swallow: boolean) => {
      isSwallowing = swallow;
    },
  };
}

test("a reset connection to a living peer is lost, not gone, and comes back", async (t) => {
  const n1 = await startGrpc(t, { id: "n1" });
  const n2 = await startGrpc(t, { id: "n2" });
  const proxy = await startProxy(t, n2.address);
  n1.transport.setPeers([{ id: n2.id, address: proxy.address }]);
  n2.transport.setPeers([{ id: n1.id, address: "127.0.0.1:1" }]);
  await Promise.all([n1.untilConnected(n2), n2.untilConnected(n1)]);
  for (let round = 1; round <= 3; round++) {
    proxy.cut();
    await n1.until("the loss", () => n1.count("lost", n2) === round);
    await n1.until("the return", () => n1.count("connected", n2) === round + 1);
    await n2.until("the return", () => n2.count("connected", n1) === round + 1);
  }
  assert.equal(n1.count("gone", n2), 0);
});

test("a peer that falls silent is lost after the keepalive, and comes back", async (t) => {
  const limits = { keepaliveMs: 100, keepaliveTimeoutMs: 100, probeTimeoutMs: 200 };
  const n1 = await startGrpc(t, { id: "n1" }, limits);
  const n2 = await startGrpc(t, { id: "n2" }, limits);
  const proxy = await startProxy(t, n2.address);
  n1.transport.setPeers([{ id: n2.id, address: proxy.address }]);
  n2.transport.setPeers([{ id: n1.id, address: "127.0.0.1:1" }]);
  await n1.untilConnected(n2);
  proxy.swallow(true);
  await n1.until("the loss", () => n1.count("lost", n2) === 1);
  await n1.until("silence", () => /: silent/.test(n1.problemWith(n2) ?? ""));
  assert.equal(n1.count("gone", n2), 0);
  proxy.swallow(false);
  await n1.untilConnected(n2);
});

test("a lost peer whose process ends later is gone then", async (t) => {
  const n1 = await startGrpc(t, { id: "n1" });
  const n2 = await startGrpc(t, { id: "n2" });
  await connect(n1, n2);
  n2.transport.setPeers([]);
  await n1.until("the loss", () => n1.count("lost", n2) === 1);
  await n2.transport.stop();
  await n1.until("the better evidence", () => n1.count("gone", n2) === 1);
  assert.deepEqual(
    n1.events.filter(({ type }) => type === "lost" || type === "gone").map(({ type }) => type),
    ["lost", "gone"],
  );
});

test("after stop nothing keeps a process alive", async () => {
  const child = fork(script, ["exit"]);
  const [code] = await once(child, "exit");
  assert.equal(code, 0);
});
