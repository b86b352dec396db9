import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { startServer, type TestServer } from "./support.ts";

/** Sends raw bytes and resolves to everything that comes back until the server closes. */
function exchange(port: number, bytes: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    let answer = "";
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => (answer += text));
    socket.on("close", () => resolve(answer));
    socket.on("error", (error: Error & { code?: string }) => {
      if (error.code !== "ECONNRESET") {
        reject(error);
      }
    });
  });
}

const head = "PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\n";
const malformed: readonly [what: string, bytes: string | Buffer, status: number][] = [
  [
    "Content-Length beside chunks",
    `${head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
  ],
  ["two lengths", `${head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`, 400],
  ["a signed length", `${head}Content-Length: +1\r\n\r\na`, 400],
  ["a space before the colon", `${head}X-A : b\r\n\r\n`, 400],
  ["a NUL in a header", `${head}X-A: b\0c\r\n\r\n`, 400],
  ["a folded header", `${head}X-A: b\r\n c\r\n\r\n`, 400],
  ["a chunk that is no number", `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n`, 400],
  ["no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400],
  ["a method of nonsense", "!!! / HTTP/1.1\r\nHost: x\r\n\r\n", 400],
  ["no host", "GET /livez HTTP/1.1\r\n\r\n", 400],
  ["headers of 17 KiB", `${head}X-A: ${"b".repeat(17 * 1024)}\r\n\r\n`, 431],
  ["a path of 17 KiB", `GET /v1/kv/${"k".repeat(17 * 1024)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431],
];

describe("what is hardly HTTP", () => {
  let server: TestServer;
  let port = 0;
  before(async () => {
    server = await startServer({ headersTimeoutMs: 300, bodyTimeoutMs: 600 });
    ({ port } = await server.listen());
  });
  after(() => server.close());

  for (const [what, bytes, status] of malformed) {
    test(`${what} is ${status}, and the connection ends`, async () => {
      const answer = await exchange(port, bytes);
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `));
      if (what !== "no host") {
        // That one is answered by Node itself, before anybody is asked.
        assert.match(answer, /"code":"(bad_request|headers_too_large)"/);
      }
      assert.equal((await server.request({ url: "/livez" })).statusCode, 200);
    });
  }

  for (const [what, bytes] of [
    ["a head that does not end", "GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n"],
    ["a body that does not come", `${head}Content-Length: 100\r\n\r\nabc`],
    ["chunks that stop", `${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhe`],
  ] as const) {
    test(`${what} is cut with 408`, async () => {
      const answer = await exchange(port, bytes);
      assert.match(answer, /^HTTP\/1\.1 408 /);
      assert.match(answer, /"code":"request_timeout"/);
      assert.equal(server.app.admission.load.requests, 0);
    });
  }

  test("a silent connection is closed", async () => {
    const answer = await exchange(port, "");
    assert.match(answer, /^(HTTP\/1\.1 408 .*|)/s);
  });

  test("a whole URL as target names the same key", async () => {
    const raw =
      "PUT http://anywhere/v1/kv/whole HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nv";
    assert.match(await exchange(port, raw), /^HTTP\/1\.1 201 /);
    assert.equal((await server.request({ url: "/v1/kv/whole" })).payload, "v");
  });

  test("a dot segment that a client did send is refused", async () => {
    const raw = "GET /v1/kv/a/../b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    const answer = await exchange(port, raw);
    assert.match(answer, /^HTTP\/1\.1 400 /);
    assert.match(answer, /key64/);
  });

  test("pipelined requests are answered in order", async () => {
    const one = (n: number, more = "") =>
      `PUT /v1/kv/p${n} HTTP/1.1\r\nHost: x\r\nX-Request-Id: r${n}\r\nContent-Length: 1\r\n${more}\r\n${n}`;
    const answer = await exchange(port, one(1) + one(2) + one(3, "Connection: close\r\n"));
    const ids = [...answer.matchAll(/X-Request-Id: (\S+)/g)].map(([, id]) => id);
    assert.deepEqual(ids, ["r1", "r2", "r3"]);
  });

  test("a client that leaves in the middle of its body costs nothing", async () => {
    const sockets = await Promise.all(
      Array.from({ length: 20 }, () => {
        return new Promise<Socket>((resolve) => {
          const socket = connect(port, "127.0.0.1", () => {
            socket.write(`${head}Content-Length: 1000\r\n\r\nabc`, () => resolve(socket));
          });
        });
      }),
    );
    sockets.forEach((socket) => socket.destroy());
    while (server.app.admission.load.requests > 0) {
      await new Promise(setImmediate);
    }
    assert.deepEqual(server.app.admission.load, { requests: 0, bodyBytes: 0, watchers: 0 });
  });
});
