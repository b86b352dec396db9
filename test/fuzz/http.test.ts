import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { Prng } from "../sim/prng.ts";
import { seed } from "../storage/seed.ts";
import { startServer } from "../server/support.ts";
import { mutate } from "./mutate.ts";

const runs = Number(process.env["FUZZ_RUNS"] ?? 3000);
const answerMsMax = 5000;

const b64 = (text: string): string => Buffer.from(text).toString("base64url");

interface Sample {
  readonly line: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

function request(line: string, headers: Sample["headers"] = {}, body = ""): Sample {
  return { line, headers, body };
}

/** A request as it is sent, framed as it should be. */
function bytesOf({ line, headers, body }: Sample): Buffer {
  const bytes = Buffer.from(body, "latin1");
  const all = { host: "a", ...headers, "content-length": `${bytes.length}` };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = Buffer.from(`${line} HTTP/1.1\r\n${lines.join("")}\r\n`, "latin1");
  return Buffer.concat([head, bytes]);
}

/** The request with changes in its target, in one header, in its body, or anywhere at all. */
function mutateRequest(sample: Sample, other: Sample, random: Prng): Buffer {
  const change = (text: string, from: string): string =>
    mutate(Buffer.from(text, "latin1"), Buffer.from(from, "latin1"), random).toString("latin1");
  const inLine = (text: string): string => text.replace(/[\r\n\0]/g, ".");
  const [method = "", target = ""] = sample.line.split(" ");
  const [header] = random.sample(Object.keys(sample.headers), 1);
  switch (random.between(0, 3)) {
    case 0: {
      const changed = inLine(change(target.slice(1), other.line)).replaceAll(" ", "+");
      return bytesOf({ ...sample, line: `${method} /${changed}` });
    }
    case 1:
      if (header !== undefined) {
        const value = inLine(
          change(sample.headers[header] ?? "", Object.values(other.headers).join()),
        );
        return bytesOf({ ...sample, headers: { ...sample.headers, [header]: value } });
      }
      return bytesOf({ ...sample, body: change(sample.body, other.body) });
    case 2:
      return bytesOf({ ...sample, body: change(sample.body, other.body) });
    default:
      return mutate(bytesOf(sample), bytesOf(other), random);
  }
}

const json = { "content-type": "application/json" };
const batch = {
  operations: [
    { op: "get", key: "a" },
    { op: "put", key64: b64("b"), value: "MTIz", encoding: "base64", ttl: "30s", if_match: "*" },
    { op: "put", key: "c", value: "1", content_type: "text/plain", if_none_match: "7", prev: true },
    { op: "delete", key: "d/e", if_match: "12", prev: false },
  ],
};
const transaction = {
  compare: [
    { key: "{t}a", target: "value", result: "equal", value: "1" },
    { key: "{t}a", target: "mod_revision", result: "greater", revision: "7" },
    { key: "{t}b", target: "version", result: "less", value: 3 },
  ],
  success: [{ op: "put", key: "{t}a", value: "2" }],
  failure: [{ op: "get", key: "{t}b" }],
};
const stored = { "content-type": "text/plain", "idempotency-key": "k1", "if-match": '"1", W/"2"' };

/** A request of every kind, all of it understood. */
const samples: readonly Sample[] = [
  request("PUT /v1/kv/a%2Fb?ttl=30s&prev=true", stored, "value"),
  request("PUT /v1/kv/c?ttl=keep", { "flotilla-fence": "l%201=12", "if-none-match": "*" }, "1"),
  request("GET /v1/kv/a/b?consistency=session&timeout=1s", { "flotilla-session": "1-a.2-zz" }),
  request(`HEAD /v1/kv?key64=${b64("ab")}&consistency=stale`, { "if-none-match": '"5"' }),
  request("DELETE /v1/kv/a?prev=1", {
    "if-match": "*",
    traceparent: `00-${"a1".repeat(16)}-${"b2".repeat(8)}-01`,
  }),
  request("POST /v1/kv/n?op=increment&by=-12&ttl=5m"),
  request("POST /v1/kv/n?op=append", {}, "tail"),
  request("POST /v1/kv/n?op=touch&ttl=7d"),
  request("GET /v1/kv?prefix=a&end=b&delimiter=%2F&limit=10&max_bytes=1000&keys_only"),
  request(`GET /v1/kv?prefix=a&limit=2&cursor=${Buffer.from("\x01ab").toString("base64url")}`),
  request("POST /v1/batch", json, JSON.stringify(batch)),
  request("POST /v1/txn", json, JSON.stringify(transaction)),
  request("POST /v1/locks/l", json, JSON.stringify({ owner: "o", ttl: "9s", value: "v" })),
  request("PUT /v1/locks/l", json, JSON.stringify({ owner: "o", ttl: "9s", token: "1" })),
  request("DELETE /v1/locks/l?owner=o&token=1"),
  request("GET /v1/locks?prefix=l&limit=3"),
  request("GET /v1/watch?prefix=a&after=v1~1.5-2~3.7&initial=true"),
  request("GET /v1/watch?key=a", { "last-event-id": "v1~0.1~2.99" }),
  request("GET /v1/cluster/ring/a"),
];

/** Status of the answer; 0 when the server hung up without one. */
function ask(port: number, bytes: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    const give = (status: number): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(status);
    };
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error("no answer"));
    }, answerMsMax);
    let received = "";
    socket.on("data", (part) => {
      received += part.toString("latin1");
      const status = /^HTTP\/1\.1 (\d{3})/.exec(received)?.[1];
      if (status !== undefined && received.includes("\r\n\r\n")) {
        give(Number(status));
      }
    });
    socket.on("error", () => give(0));
    socket.on("close", () => give(0));
    // Whatever length was announced, nothing more comes.
    socket.end(bytes);
  });
}

test(`Requests with changed bytes are answered, and never by 500 (SEED=${seed})`, async () => {
  const server = await startServer();
  const { port } = await server.listen();
  try {
    for (const sample of samples) {
      assert.ok((await ask(port, bytesOf(sample))) < 500, sample.line);
    }
    const random = new Prng(seed);
    const statuses = new Map<number, number>();
    for (let run = 0; run < runs / 2; run++) {
      const bytes = mutateRequest(random.pick(samples), random.pick(samples), random);
      const status = await ask(port, bytes).catch((error: unknown) => String(error));
      assert.ok(
        typeof status === "number" && status < 500,
        `${status} to ${JSON.stringify(bytes.toString("latin1"))}`,
      );
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    assert.ok((statuses.get(400) ?? 0) > runs / 20, JSON.stringify([...statuses]));
    assert.ok((statuses.get(200) ?? 0) > runs / 50, JSON.stringify([...statuses]));
    assert.deepEqual(server.logged, []);
  } finally {
    await server.close();
  }
});
