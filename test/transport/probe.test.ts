import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { parseAddress, probe } from "../../cluster/transport/probe.ts";

const never = new AbortController().signal;

async function listen(t: TestContext, onSocket: (socket: Socket) => void): Promise<string> {
  const server = createServer((socket) => {
    socket.on("error", () => {}).resume();
    onSocket(socket);
  });
  t.after(() => server.close());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return `127.0.0.1:${port}`;
}

test("addresses are host:port, with brackets around IPv6", () => {
  assert.deepEqual(parseAddress("n1.flotilla:7081"), { host: "n1.flotilla", port: 7081 });
  assert.deepEqual(parseAddress("10.0.0.1:0"), { host: "10.0.0.1", port: 0 });
  assert.deepEqual(parseAddress("[::1]:65535"), { host: "::1", port: 65535 });
  for (const malformed of ["", "n1", "n1:", ":1", "::1:1", "n1:65536", "n1:1 ", "n1:x", "a b:1"]) {
    assert.equal(parseAddress(malformed), null, malformed);
  }
});

test("a server that speaks has answered", async (t) => {
  const address = await listen(t, (socket) => socket.write("hello"));
  assert.equal(await probe(address, 5_000, never), "answered");
});

test("a port without a listener refuses", async () => {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  assert.equal(await probe(`127.0.0.1:${port}`, 5_000, never), "refused");
});

test("a server that hangs up without a word has closed", async (t) => {
  assert.equal(await probe(await listen(t, (s) => s.end()), 5_000, never), "closed");
  assert.equal(await probe(await listen(t, (s) => s.resetAndDestroy()), 5_000, never), "closed");
});

test("a server that says nothing is silent", async (t) => {
  assert.equal(await probe(await listen(t, () => {}), 50, never), "silent");
});

test("a name that does not resolve is unreachable, and so is a malformed address", async () => {
  assert.equal(await probe("no-such-host.invalid:1", 10_000, never), "unreachable");
  assert.equal(await probe("nonsense", 10_000, never), "unreachable");
});

test("a probe ends when it is given up", async (t) => {
  const address = await listen(t, () => {});
  const abort = new AbortController();
  const found = probe(address, 60_000, abort.signal);
  abort.abort();
  assert.equal(await found, "silent");
});
