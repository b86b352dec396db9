import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import fastify from "fastify";
import { startServer } from "./support.ts";

/**
 * CPU time of one request, ours beside a bare Fastify that stores the same bytes in a Map. Needs wrk. Not a test:
 * `node test/server/http-bench.ts [seconds]`
 */
const seconds = Number(process.argv[2] ?? 5);
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
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1]);
  const failed = /Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? "0";
  const micros = (user + system) / requests;
  console.log(
    `${target.name.padEnd(14)} ${method} ${micros.toFixed(1)} us CPU, ${Math.round(requests / seconds)} /s, ${failed} failed`,
  );
  return micros;
}

const folder = await mkdtemp(join(tmpdir(), "http-bench-"));
const plain = await plainFastify();
const server = await startServer();
const { url } = await server.listen();
const ours = { name: "flotilla", url };
for (const method of ["PUT", "GET"] as const) {
  await measure(plain, method, folder);
  await measure(ours, method, folder);
  const [base, own] = [await measure(plain, method, folder), await measure(ours, method, folder)];
  console.log(`${method}: ${((own / base - 1) * 100).toFixed(0)} % more than plain fastify`);
}
await plain.close();
await server.close();
await rm(folder, { recursive: true });
