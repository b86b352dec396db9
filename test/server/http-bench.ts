import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import fastify from "fastify";
import type { MemoryService } from "./memory-service.ts";
import { startServer } from "./support.ts";

/**
 * CPU time of one request: a bare Fastify that stores the same bytes in a Map, our HTTP with a service that answers at once, and our HTTP
 * over the real state machines. Needs wrk. Not a test:
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

/** From now on every operation gets the answer that the first one of its kind gets: what is left is HTTP. */
function answerAtOnce(service: MemoryService): void {
  const execute = service.execute.bind(service);
  const query = service.query.bind(service);
  let outcome: ReturnType<typeof execute> | null = null;
  let result: ReturnType<typeof query> | null = null;
  service.execute = (...request) => (outcome ??= execute(...request));
  service.query = (...request) => (result ??= query(...request));
}

const folder = await mkdtemp(join(tmpdir(), "http-bench-"));
const plain = await plainFastify();
const server = await startServer();
const ours = { name: "flotilla", url: (await server.listen()).url };
const bare = await startServer();
answerAtOnce(bare.service);
const http = { name: "flotilla's HTTP", url: (await bare.listen()).url };
for (const method of ["PUT", "GET"] as const) {
  // The least of several rounds: other work on the machine only ever adds.
  const least = new Map<Target, number>();
  for (let round = 0; round < rounds; round++) {
    for (const target of [plain, http, ours]) {
      const micros = await measure(target, method, folder);
      least.set(target, Math.min(micros, least.get(target) ?? Infinity));
    }
  }
  const base = least.get(plain) ?? NaN;
  for (const [{ name }, micros] of least) {
    const more = ((micros / base - 1) * 100).toFixed(0);
    console.log(
      `${method} ${name.padEnd(16)} ${micros.toFixed(1)} us CPU, ${more} % more than plain`,
    );
  }
}
await bare.close();
await plain.close();
await server.close();
await rm(folder, { recursive: true });
