import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { describe, test, type TestContext } from "node:test";
import { freePorts } from "../e2e/support.ts";
import { Prng } from "../sim/prng.ts";
import { FaultyNetwork } from "./network.ts";

/** What node b hears and says, and how node a dials it. */
interface Setting {
  readonly network: FaultyNetwork;
  readonly dial: () => Promise<Socket>;
  /** The next connection that reaches b. */
  readonly accepted: () => Promise<Socket>;
}

describe("The network between nodes", { skip: process.platform !== "linux" }, () => {
  test("passes on what is said, in both directions, until the end", async (context) => {
    const { dial, accepted } = await setUp(context);
    const [a, b] = await Promise.all([dial(), accepted()]);
    assert.equal(await said(a, b, "to b"), "to b");
    assert.equal(await said(b, a, "to a"), "to a");
    a.end();
    await once(b, "end");
  });

  test("holds what goes one way and lets pass what goes the other, until it is healed", async (context) => {
    const { network, dial, accepted } = await setUp(context);
    const [a, b] = await Promise.all([dial(), accepted()]);
    network.change("a", "b", { isCut: true });
    const heard = said(a, b, "held");
    assert.equal(await said(b, a, "passes"), "passes");
    assert.equal(await Promise.race([heard, said(b, a, "passes again")]), "passes again");
    network.heal();
    assert.equal(await heard, "held");
  });

  test("makes no connection through a partition before it is healed", async (context) => {
    const { network, dial, accepted } = await setUp(context);
    network.change("b", "a", { isCut: true });
    const a = await dial();
    const arrived = accepted();
    network.heal();
    assert.equal(await said(a, await arrived, "late"), "late");
  });

  test("delays, and repeats what is lost, in order", async (context) => {
    const { network, dial, accepted } = await setUp(context);
    const [a, b] = await Promise.all([dial(), accepted()]);
    network.change("a", "b", { delayMsMin: 30, delayMsMax: 50, lossRate: 0.3 });
    const startMs = performance.now();
    const all = "0123456789";
    const heard = saidSoFar(b, all.length);
    for (const letter of all) {
      a.write(letter);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(await heard, all);
    assert.ok(performance.now() - startMs >= 30);
  });

  test("refuses for a node that is down, and breaks connections that are cut", async (context) => {
    const { network, dial, accepted } = await setUp(context);
    const [a, b] = await Promise.all([dial(), accepted()]);
    const broken = [a, b].map((end) => new Promise((resolve) => end.once("close", resolve)));
    network.cutConnections("b");
    await Promise.all(broken);
    network.down("b");
    await assert.rejects(dial(), { code: "ECONNREFUSED" });
    await network.up("b");
    const [again, there] = await Promise.all([dial(), accepted()]);
    assert.equal(await said(again, there, "back"), "back");
  });
});

async function setUp(context: TestContext): Promise<Setting> {
  const seed = Number(process.env["SEED"] ?? 1);
  const port = await freePorts(3);
  const server = createServer();
  const sockets: Socket[] = [];
  server.on("connection", (socket: Socket) => sockets.push(socket.on("error", () => undefined)));
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  // This process dials, so it is node a.
  const nodes = [
    { id: "a", port: 0, publicPort: port + 2, pid: () => process.pid },
    { id: "b", port, publicPort: port + 1, pid: () => null },
  ];
  const network = new FaultyNetwork(nodes, new Prng(seed));
  await network.up("b");
  context.after(() => {
    network.close();
    sockets.forEach((socket) => socket.destroy());
    server.close();
  });
  return {
    network,
    dial: async () => {
      const socket = connect(port + 1, "127.0.0.1").on("error", () => undefined);
      sockets.push(socket);
      await once(socket, "connect");
      return socket;
    },
    accepted: async () => {
      const [socket] = (await once(server, "connection")) as [Socket];
      return socket;
    },
  };
}

function said(from: Socket, to: Socket, text: string): Promise<string> {
  from.write(text);
  return saidSoFar(to, text.length);
}

async function saidSoFar(to: Socket, length: number): Promise<string> {
  let heard = "";
  while (heard.length < length) {
    const [bytes] = (await once(to, "data")) as [Buffer];
    heard += bytes.toString("latin1");
  }
  return heard;
}
