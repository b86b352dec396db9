import assert from "node:assert/strict";
import { test } from "node:test";
import { startCluster } from "./support.ts";

/** The code of a connection that nobody accepted, as fetch wraps it. */
function isRefused(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : null;
  return cause instanceof Error && "code" in cause && cause.code === "ECONNREFUSED";
}

test("a rolling restart under load fails no request of a client that retries once when refused", async (context) => {
  const { cluster, urls } = await startCluster(context);
  const failures: string[] = [];
  let answered = 0;
  let isOver = false;
  context.after(() => {
    isOver = true;
  });

  /** One request; another node is asked once when the first does not accept connections. */
  async function request(count: number, init: RequestInit): Promise<Response> {
    const path = `/v1/kv/rolling-${count % 100}`;
    try {
      return await fetch(`${urls[count % urls.length]}${path}`, init);
    } catch (error) {
      if (!isRefused(error)) {
        throw error;
      }
      return await fetch(`${urls[(count + 1) % urls.length]}${path}`, init);
    }
  }

  async function client(offset: number): Promise<void> {
    for (let count = offset; !isOver; count += 1) {
      const init = count % 3 === 0 ? {} : { method: "PUT", body: `value ${count}` };
      try {
        const response = await request(count, init);
        await response.arrayBuffer();
        if (response.status >= 500) {
          failures.push(`${response.status} from ${response.url}`);
        }
        answered += 1;
      } catch (error) {
        const cause = error instanceof Error ? String(error.cause) : "";
        failures.push(`${String(error)} ${cause}`);
      }
    }
  }

  const clients = Array.from({ length: 8 }, (_, offset) => client(offset));
  for (const { id } of cluster.nodes) {
    await cluster.stop(id);
    await cluster.restart(id);
    await cluster.ready(30_000, [id]);
  }
  isOver = true;
  await Promise.all(clients);
  context.diagnostic(`${answered} requests answered, ${failures.length} failed`);
  assert.deepEqual(failures.slice(0, 10), []);
  assert.ok(answered > 100, `only ${answered} requests`);
});
