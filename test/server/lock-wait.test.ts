import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { ServiceError } from "../../server/errors.ts";
import type { RequestContext } from "../../server/http/service.ts";
import type { Command } from "../../storage/commands.ts";
import type { Query } from "../../storage/queries.ts";
import { startServer, type TestServer } from "./support.ts";

interface Lock {
  readonly holder: { readonly owner: string; readonly token: string } | null;
  readonly waiters: readonly { readonly owner: string }[];
}

const livenessMs = 20_000;

/** Lets what is ready run, until the condition holds. */
async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  const endMs = performance.now() + livenessMs;
  while (!(await isSo())) {
    assert.ok(performance.now() < endMs, "it did not come to that");
    await new Promise(setImmediate);
  }
}

/** Holds back the operations of one request, and tells of them. */
class Gate {
  readonly arrived: string[] = [];
  readonly #requestId: string;
  readonly #open = Promise.withResolvers<void>();

  constructor(requestId: string) {
    this.#requestId = requestId;
  }

  readonly intercept = async (
    { requestId }: RequestContext,
    { type }: Command | Query,
  ): Promise<void> => {
    if (requestId === this.#requestId) {
      this.arrived.push(type);
      await this.#open.promise;
    }
  };

  open(): void {
    this.#open.resolve();
  }
}

describe("waiting for a lock", () => {
  let server: TestServer;
  let url: string;
  beforeEach(async () => {
    server = await startServer();
    ({ url } = await server.listen());
  });
  afterEach(() => server.close());

  const acquire = (owner: string, query = "", ttl = "60s") =>
    server.request({
      method: "POST",
      url: `/v1/locks/l${query}`,
      headers: { "content-type": "application/json", "x-request-id": `by-${owner}` },
      payload: JSON.stringify({ owner, ttl }),
    });
  /** Asks over a socket; what it returns loses the connection, and waits until the server knows. */
  const acquireAndVanish = (owner: string, requestId: string) => {
    const connection = new AbortController();
    const closed = new Promise<void>((resolve) => {
      server.app.fastify.server.once("request", (_request, response) =>
        response.once("close", resolve),
      );
    });
    const answer = fetch(`${url}/v1/locks/l?wait=20s`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-request-id": requestId },
      body: JSON.stringify({ owner, ttl: "60s" }),
      signal: connection.signal,
    }).catch(() => null);
    return async (): Promise<void> => {
      connection.abort();
      await answer;
      await closed;
    };
  };
  const look = async () => (await server.request({ url: "/v1/locks/l" })).json<Lock>();
  const waiters = async () => (await look()).waiters.map(({ owner }) => owner);
  const release = (owner: string) =>
    server.request({ method: "DELETE", url: `/v1/locks/l?owner=${owner}` });
  /** Lets a request go on that nobody waits for any more, until it has done all that it does. */
  const finish = async (gate: Gate): Promise<void> => {
    gate.open();
    await until(() => server.app.admission.load.requests === 0 && gate.arrived.at(-1) !== "lock");
    await new Promise(setImmediate);
  };

  test("a lost connection does not take the lock from who asked again and got it", async () => {
    await acquire("holder");
    const vanish = acquireAndVanish("w", "first");
    await until(async () => (await waiters()).includes("w"));
    const gate = new Gate("first");
    server.service.intercept = gate.intercept;
    await until(() => gate.arrived.length > 0);
    await vanish();
    const again = acquire("w", "?wait=20s");
    await release("holder");
    const held = await again;
    assert.equal(held.statusCode, 200);
    await finish(gate);
    const { holder } = await look();
    assert.equal(holder?.owner, "w");
    assert.equal(holder.token, held.json<{ token: string }>().token);
  });

  test("a lost connection does not take the lock from who asked again while there was no leader", async () => {
    const gate = new Gate("first");
    server.service.intercept = gate.intercept;
    const vanish = acquireAndVanish("w", "first");
    await until(() => gate.arrived.length > 0);
    await vanish();
    const held = await acquire("w", "?wait=20s");
    assert.equal(held.statusCode, 200);
    await finish(gate);
    const { holder } = await look();
    assert.equal(holder?.owner, "w");
    assert.equal(holder.token, held.json<{ token: string }>().token);
  });

  test("a lost connection does not take the place from who asked again", async () => {
    await acquire("holder");
    const vanish = acquireAndVanish("w", "first");
    await until(async () => (await waiters()).includes("w"));
    const gate = new Gate("first");
    server.service.intercept = gate.intercept;
    await until(() => gate.arrived.length > 0);
    await acquire("later", "?wait=0s");
    const again = acquire("w", "?wait=1ms");
    await vanish();
    assert.equal((await again).statusCode, 423);
    await finish(gate);
    assert.deepEqual(await waiters(), ["w", "later"]);
  });

  test("who vanishes before the answer leaves no place behind", async () => {
    await acquire("holder");
    const gate = new Gate("first");
    server.service.intercept = gate.intercept;
    const vanish = acquireAndVanish("w", "first");
    await until(() => gate.arrived.length > 0);
    await vanish();
    await finish(gate);
    assert.deepEqual(await waiters(), []);
  });

  /** From its second operation on, those of the owner's request fail of which `isMeant` says so; how many did. */
  const failAfterQueueing = (owner: string, isMeant: (type: string) => boolean) => {
    const failed: string[] = [];
    let isQueued = false;
    server.service.intercept = ({ requestId }, { type }) => {
      if (requestId !== `by-${owner}`) {
        return;
      }
      if (isQueued && isMeant(type)) {
        failed.push(type);
        throw new ServiceError("no_leader", "for a test");
      }
      isQueued = true;
    };
    return failed;
  };

  for (const type of ["lock", "lock_acquire"]) {
    test(`goes on when a ${type} fails, and gets it once that works again`, async () => {
      await acquire("holder");
      const failed = failAfterQueueing("w", (each) => each === type);
      const answer = acquire("w", "?wait=20s");
      await until(async () => (await waiters()).includes("w"));
      await until(() => type === "lock_acquire" || failed.length > 1);
      await release("holder");
      await until(() => failed.length > 1);
      server.service.intercept = () => {};
      assert.equal((await answer).statusCode, 200);
    });
  }

  test("that nobody could look at ends with who holds it and the place, if asking works", async () => {
    await acquire("holder");
    const failed = failAfterQueueing("w", (type) => type === "lock");
    const answer = await acquire("w", "?wait=150ms");
    assert.ok(failed.length > 0);
    assert.equal(answer.statusCode, 423);
    assert.equal(answer.json<{ position: number }>().position, 1);
  });

  test("ends with an unknown outcome when the last ask fails: the place may have become the lock", async () => {
    await acquire("holder");
    failAfterQueueing("w", () => true);
    const answer = await acquire("w", "?wait=150ms");
    assert.equal(answer.statusCode, 504);
    const { code, applied } = answer.json<{ code: string; applied: string }>();
    assert.deepEqual([code, applied], ["outcome_unknown", "unknown"]);
    assert.deepEqual(await waiters(), ["w"]);
  });

  test("asks no more when an ask that began in time has failed after it", async () => {
    await acquire("holder");
    let asks = 0;
    server.service.intercept = async ({ requestId, deadlineMs }, { type }) => {
      if (requestId === "by-w" && type === "lock_acquire") {
        asks += 1;
        if (asks > 1) {
          // As a shard without a leader would.
          await delay(deadlineMs - performance.now());
          throw new ServiceError("no_leader", "for a test");
        }
      }
    };
    const answer = acquire("w", "?wait=300ms&timeout=500ms");
    await until(async () => (await waiters()).includes("w"));
    await release("holder");
    assert.equal((await answer).statusCode, 504);
    assert.equal(asks, 2);
  });

  test("says what failed when nothing was queued", async () => {
    await acquire("holder");
    server.service.intercept = () => {
      throw new ServiceError("no_leader", "for a test");
    };
    const answer = await acquire("w", "?wait=20s");
    assert.equal(answer.statusCode, 503);
    assert.equal(answer.json<{ code: string }>().code, "no_leader");
  });

  test("asks again when the place is lost", async () => {
    await acquire("holder", "", "1h");
    const answer = acquire("w", "?wait=20s");
    await until(async () => (await waiters()).includes("w"));
    await acquire("later", "?wait=0s", "1h");
    server.service.advance(60_000);
    await until(async () => (await waiters()).includes("w"));
    assert.deepEqual(await waiters(), ["later", "w"]);
    await release("later");
    await release("holder");
    assert.equal((await answer).statusCode, 200);
  });
});

test("Where too many wait already, a wait for a lock ends at once, with the place in its queue", async () => {
  const server = await startServer({ watchersMax: 0 });
  const acquire = (owner: string) =>
    server.request({
      method: "POST",
      url: "/v1/locks/l?wait=20s",
      headers: { "content-type": "application/json" },
      payload: JSON.stringify({ owner, ttl: "60s" }),
    });
  assert.equal((await acquire("holder")).statusCode, 200);
  const refused = await acquire("w");
  assert.equal(refused.statusCode, 423);
  assert.equal(refused.json<{ position: number }>().position, 1);
  await server.close();
});
