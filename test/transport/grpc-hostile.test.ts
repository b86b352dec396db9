import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectSocket, createServer, type AddressInfo, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { insecurePeerCredentials } from "../../cluster/transport/credentials.ts";
import { openClient } from "../../cluster/transport/dial.ts";
import { decodeFrame } from "../../cluster/transport/frame-codec.ts";
import { openMetadata } from "../../cluster/transport/handshake.ts";
import { defaultLimits } from "../../cluster/transport/limits.ts";
import { peerMethods } from "../../cluster/transport/peer-proto.ts";
import { NodeId } from "../../cluster/types.ts";
import { fullFrame, largeFrame, numberedFrame } from "./frames.ts";
import { startGrpc } from "./grpc-harness.ts";
import { connect, type TestNode } from "./harness.ts";

/** A Stream to `node` in the name of `peer`, for sending what no transport would send. */
async function openRaw(t: TestContext, node: TestNode, peer: TestNode, confirms = true) {
  const limits = { ...defaultLimits, receiveBytesMax: 64 * 2 ** 20 };
  const client = openClient(node.address, insecurePeerCredentials(), limits);
  const { path, requestSerialize, responseDeserialize } = peerMethods.stream;
  const metadata = openMetadata(peer.hello, node.id);
  const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
  call.on("error", () => {});
  t.after(() => {
    call.cancel();
    client.close();
  });
  await once(call, "metadata");
  if (confirms) {
    call.write(Buffer.alloc(0));
  }
  return call;
}

/** n1, and n2 that is known to n1 but does not connect itself. */
async function startVictim(t: TestContext): Promise<[TestNode, TestNode]> {
  const n1 = await startGrpc(t, { id: "n1" });
  const n2 = await startGrpc(t, { id: "n2" });
  n1.transport.setPeers([{ id: n2.id, address: "127.0.0.1:1" }]);
  return [n1, n2];
}

/** n1 works as before. */
async function expectHealthy(n1: TestNode, n2: TestNode): Promise<void> {
  n1.events.length = 0;
  await connect(n1, n2);
  assert.equal(n2.transport.send(n1.id, numberedFrame(99)), true);
  await n1.until("a frame", () => n1.frames().some(({ epoch }) => epoch === 99));
}

test("bytes that are no frame end the stream with a reason on both sides", async (t) => {
  const [n1, n2] = await startVictim(t);
  const call = await openRaw(t, n1, n2);
  await n1.untilConnected(n2);
  call.write(randomBytes(1000).fill(0xff, 0, 16));
  const [answer] = await once(call, "data");
  const received = decodeFrame(answer, { from: n1.id, to: n2.id });
  assert.equal(received.type === "close" && received.close.reason, "bad_frame");
  await n1.until("the end", () => n1.count("lost", n2) === 1);
  assert.match(n1.events.map((e) => ("problem" in e ? e.problem : "")).join(), /bad_frame/);
  await expectHealthy(n1, n2);
});

test("a stream whose dialler does not confirm is closed and never counts", async (t) => {
  const n1 = await startGrpc(t, { id: "n1" }, { handshakeTimeoutMs: 100 });
  const n2 = await startGrpc(t, { id: "n2" });
  n1.transport.setPeers([{ id: n2.id, address: "127.0.0.1:1" }]);
  const call = await openRaw(t, n1, n2, false);
  call.resume();
  await once(call, "end");
  assert.equal(n1.count("connected", n2), 0);
  await expectHealthy(n1, n2);
});

test("a message beyond the receive limit ends the stream and not the process", async (t) => {
  const [n1, n2] = await startVictim(t);
  const call = await openRaw(t, n1, n2);
  await n1.untilConnected(n2);
  call.write(Buffer.alloc(defaultLimits.receiveBytesMax + 1));
  await n1.until("the end", () => n1.count("lost", n2) + n1.count("gone", n2) > 0);
  await expectHealthy(n1, n2);
});

test("garbage on the port, and connections that say nothing, disturb nobody", async (t) => {
  const [n1, n2] = await startVictim(t);
  const port = Number(n1.address.split(":")[1]);
  const payloads = [
    randomBytes(100_000),
    Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), randomBytes(10_000)]),
  ];
  for (const payload of payloads) {
    const socket = connectSocket(port, "127.0.0.1");
    socket.on("error", () => {});
    const closed = once(socket, "close");
    socket.write(payload);
    socket.resume();
    socket.end();
    await closed;
  }
  const silent = connectSocket(port, "127.0.0.1");
  t.after(() => silent.destroy());
  await once(silent, "connect");
  await expectHealthy(n1, n2);
});

test("a call without a handshake is refused with a sentence", async (t) => {
  const [n1] = await startVictim(t);
  const client = openClient(n1.address, insecurePeerCredentials(), defaultLimits);
  t.after(() => client.close());
  const { path, requestSerialize, responseDeserialize } = peerMethods.stream;
  const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  const [error] = await once(call, "error");
  assert.match(String(error), /FAILED_PRECONDITION: the handshake is not that of a Flotilla node/);
});

test("a stranger is refused by name", async (t) => {
  const n1 = await startGrpc(t, { id: "n1" });
  const n9 = await startGrpc(t, { id: "n9" });
  n9.transport.setPeers([n1.peer]);
  const reason = /n9 is not among the peers of this node/;
  await n9.until("the reason", () => reason.test(n9.problemWith(n1) ?? ""));
  await n1.until("the reason", () => reason.test(n1.describe()));
});

test("a frame beyond the limit is sent in parts; one item beyond it is not sent", async (t) => {
  const limits = { frameBytesMax: 2_500 };
  const n1 = await startGrpc(t, { id: "n1" }, limits);
  const n2 = await startGrpc(t, { id: "n2" }, limits);
  await connect(n1, n2);
  const frame = fullFrame(n1.id, n2.id);
  assert.equal(n1.transport.send(n2.id, frame), true);
  assert.equal(n1.transport.send(n2.id, largeFrame(77, 3_000)), false);
  assert.equal(n1.transport.send(n2.id, numberedFrame(78)), true);
  await n2.until("the last frame", () => n2.frames().at(-1)?.epoch === 78);
  const parts = n2.frames().slice(0, -1);
  assert.ok(parts.length > 1);
  assert.deepEqual(
    parts.flatMap(({ messages }) => messages),
    frame.messages,
  );
  assert.deepEqual(
    parts.flatMap(({ requests }) => requests),
    frame.requests,
  );
  assert.equal(n1.transport.status().get(n2.id)?.droppedFrames, 1);
});

test("a frame of which a part has left does not count as one that was not sent", async (t) => {
  const limits = { frameBytesMax: 2_500, queueBytesMax: 3_000 };
  const n1 = await startGrpc(t, { id: "n1" }, limits);
  const n2 = await startGrpc(t, { id: "n2" }, limits);
  await connect(n1, n2);
  const frame = largeFrame(1, 2_000);
  const responses = frame.responses.flatMap((each) => [each, { ...each, id: each.id + 1 }]);
  assert.equal(n1.transport.send(n2.id, { ...frame, responses }), true);
  await n2.until("the first part", () => n2.frames().length > 0);
  const arrived = n2.frames().flatMap((part) => part.responses.map(({ id }) => id));
  assert.deepEqual(arrived, [1]);
  assert.equal(n1.transport.status().get(n2.id)?.droppedFrames, 1);
});

test("a listener that never answers costs a deadline and no more", async (t) => {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on("error", () => {}).resume();
    socket.on("close", () => open.delete(socket));
  });
  t.after(() => server.close());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const address = `127.0.0.1:${port}`;
  const n1 = await startGrpc(t, { id: "n1" }, { probeTimeoutMs: 50 });
  await assert.rejects(n1.transport.hello(address, n1.hello, 100), /hello to .*: silent/);
  n1.transport.setPeers([{ id: NodeId("n2"), address }]);
  for (let attempt = 0; attempt < 5; attempt++) {
    await once(server, "connection");
  }
  assert.ok(open.size <= 2, `${open.size} connections are open`);
  await n1.until("the problem", () => /: silent/.test(n1.describe()));
});

test("a port that is taken is an error of start", async (t) => {
  const n1 = await startGrpc(t, { id: "n1" });
  await assert.rejects(startGrpc(t, { id: "n2", address: n1.address }), /cannot listen on/);
});
