import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import fastify from "fastify";
import type { Command } from "../../storage/commands.ts";
import type { MemoryService } from "./memory-service.ts";
import { startServer } from "./support.ts";

/**
 * CPU time of one request, ours beside a bare Fastify that stores the same bytes in a Map. Needs wrk. Not a test:
 * `node test/server/http-bench.ts [seconds]`
 */
const seconds = Number(process.argv[2] ?? 2);
const rounds = 5;
const run = promisify(execFile);

interface Target {
  readonly name: string;
  readonly url: string;
}

async function plainFastify(): Promise<Target & { close(): Promise<void> }> {
  const app = fastify();
  const values = new Map<string, unknown>();
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  app.put("/v1/kv/*", async (request, reply) => {
    values.set(request.url, request.body);
    await reply.code(200).header("etag", '"1"').send({ revision: "1", created: false, version: 1 });
  });
  app.get("/v1/kv/*", async (request, reply) => {
    await reply.header("etag", '"1"').send(values.get(request.url));
  });
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  return { name: "plain fastify", url, close: () => app.close() };
}

/** Microseconds of CPU per request in one round. */
async function measure(target: Target, method: "PUT" | "GET", folder: string): Promise<number> {
  const script = join(folder, `${method}.lua`);
  await writeFile(
    script,
    `wrk.method = "${method}"\n${method === "PUT" ? 'wrk.body = string.rep("x", 300)\n' : ""}`,
  );
  const before = process.cpuUsage();
  const args = ["-t1", "-c32", `-d${seconds}s`, "-s", script, `${target.url}/v1/kv/some/key`];
  const { stdout } = await run("wrk", args);
  const { user, system } = process.cpuUsage(before);
  if (stdout.includes("Non-2xx")) {
    throw new Error(stdout);
  }
  return (user + system) / Number(/(\d+) requests in/.exec(stdout)?.[1]);
}

/** The same operation on the key space itself, without HTTP. */
async function measureService(service: MemoryService, method: "PUT" | "GET"): Promise<number> {
  const key = Buffer.from("some/key");
  const context = { requestId: "", deadlineMs: 0, signal: null, trace: "", timings: new Map() };
  const put: Command = {
    type: "put",
    key,
    value: Buffer.alloc(300, "x"),
    contentType: "application/octet-stream",
    ttlMs: null,
    condition: null,
    fence: null,
    wantPrevious: false,
  };
  const count = 20_000;
  const before = process.cpuUsage();
  for (let at = 0; at < count; at++) {
    if (method === "PUT") {
      await service.execute(key, put, context, null);
    } else {
      await service.query(key, { type: "get", key }, { type: "linearizable" }, context);
    }
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / count;
}

const folder = await mkdtemp(join(tmpdir(), "http-bench-"));
const plain = await plainFastify();
const server = await startServer();
const ours = { name: "flotilla", url: (await server.listen()).url };
for (const method of ["PUT", "GET"] as const) {
  // The least of several rounds: other work on the machine only ever adds.
  let [base, own, service] = [Infinity, Infinity, Infinity];
  for (let round = 0; round < rounds; round++) {
    base = Math.min(base, await measure(plain, method, folder));
    own = Math.min(own, await measure(ours, method, folder));
    service = Math.min(service, await measureService(server.service, method));
  }
  const more = ((own - service) / base - 1) * 100;
  console.log(
    `${method}: plain fastify ${base.toFixed(1)} us, flotilla ${own.toFixed(1)} us, of which the state machine ${service.toFixed(1)} us; HTTP alone ${more.toFixed(0)} % more`,
  );
}
await plain.close();
await server.close();
await rm(folder, { recursive: true });
