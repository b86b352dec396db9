import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Command, CommandEnvelope, CommandOutcome } from "../../storage/commands.ts";
import { bytes, make, plain, ShardHarness } from "./shard-harness.ts";

function asked(
  command: Command,
  sequence: number,
  more: { readonly session?: string; readonly ackedBelow?: number } = {},
): CommandEnvelope {
  const { session = "n1/1", ackedBelow = 0 } = more;
  return { request: { session, sequence, ackedBelow }, idempotency: null, command };
}

function keyed(command: Command, key: string, fingerprint = "f"): CommandEnvelope {
  return { request: null, idempotency: { key, fingerprint }, command };
}

function one(harness: ShardHarness, envelope: CommandEnvelope): CommandOutcome {
  const [outcome] = harness.apply([envelope]);
  assert.ok(outcome !== undefined);
  return outcome;
}

function text(harness: ShardHarness, key: string): string | null {
  const record = harness.machine.get(bytes(key));
  return record === null ? null : Buffer.from(record.value).toString();
}

async function everywhere(harness: ShardHarness, check: (at: ShardHarness) => void): Promise<void> {
  check(harness);
  await harness.persist();
  await harness.restart();
  check(harness);
  await harness.persist();
  const other = await ShardHarness.create();
  await harness.sendSnapshot(other);
  check(other);
}

describe("a request that comes again", () => {
  it("is applied once and gets its first answer, also after a restart and on a replica made by snapshot", async () => {
    const harness = await ShardHarness.create();
    const first = one(harness, asked(make.increment("n", 1n), 5));
    harness.run(make.put("other", "x"));
    await everywhere(harness, (at) => {
      const again = one(at, asked(make.increment("n", 1n), 5));
      assert.deepEqual(again, { ...first, replayed: true });
      assert.equal(text(at, "n"), "1");
    });
  });

  it("within one entry is applied once", async () => {
    const harness = await ShardHarness.create();
    const envelope = asked(make.increment("n", 1n), 1);
    const outcomes = harness.apply([envelope, envelope]);
    assert.deepEqual(
      outcomes.map((outcome) => outcome.replayed),
      [false, true],
    );
    assert.equal(text(harness, "n"), "1");
  });

  it("is stale once its answer is acknowledged, and then changes nothing", async () => {
    const harness = await ShardHarness.create();
    one(harness, asked(make.increment("n", 1n), 1));
    one(harness, asked(make.increment("n", 1n), 2, { ackedBelow: 2 }));
    await everywhere(harness, (at) => {
      assert.equal(one(at, asked(make.increment("n", 1n), 1)).result.type, "stale_request");
      assert.equal(one(at, asked(make.increment("n", 1n), 2)).replayed, true);
      assert.equal(text(at, "n"), "2");
    });
  });

  it("is told apart by session", async () => {
    const harness = await ShardHarness.create();
    one(harness, asked(make.increment("n", 1n), 1, { session: "n1/1" }));
    one(harness, asked(make.increment("n", 1n), 1, { session: "n1/2" }));
    one(harness, asked(make.increment("n", 1n), 1, { session: "n2/1" }));
    assert.equal(text(harness, "n"), "3");
  });

  it("may overtake earlier ones", async () => {
    const harness = await ShardHarness.create();
    for (const sequence of [3, 1, 2, 1, 3]) {
      one(harness, asked(make.append("log", String(sequence)), sequence));
    }
    assert.equal(text(harness, "log"), "312");
    one(harness, asked(make.append("log", "4"), 4, { ackedBelow: 4 }));
    assert.equal(one(harness, asked(make.append("log", "2"), 2)).result.type, "stale_request");
    assert.equal(text(harness, "log"), "3124");
  });

  it("whose answer was too large says that it was applied", async () => {
    const harness = await ShardHarness.create({ limits: { answerBytesMax: 100 } });
    harness.run(make.put("k", "x".repeat(200)));
    const command = make.delete("k", { wantPrevious: true });
    const first = one(harness, asked(command, 1));
    assert.ok(first.result.type === "delete");
    assert.equal(first.result.previous?.value.length, 200);
    const again = one(harness, asked(command, 1));
    assert.deepEqual(again.result, { type: "answer_not_kept" });
    assert.equal(again.replayed, true);
  });
});

describe("sessions", () => {
  it("keep a bounded number of answers, and never apply twice what they forgot", async () => {
    const harness = await ShardHarness.create({ limits: { sessionAnswersMax: 3 } });
    for (let sequence = 1; sequence <= 5; sequence++) {
      one(harness, asked(make.increment("n", 1n), sequence));
    }
    const types = [1, 2, 3, 4, 5].map((sequence) => {
      const { result, replayed } = one(harness, asked(make.increment("n", 1n), sequence));
      return replayed ? "replayed" : result.type;
    });
    assert.deepEqual(types, ["stale_request", "stale_request", "replayed", "replayed", "replayed"]);
    assert.equal(text(harness, "n"), "5");
  });

  it("keep a bounded number of bytes", async () => {
    const harness = await ShardHarness.create({ limits: { sessionBytesMax: 1000 } });
    for (let sequence = 1; sequence <= 20; sequence++) {
      harness.run(make.put("k", "x".repeat(300)));
      one(harness, asked(make.put("k", "", { wantPrevious: true }), sequence));
    }
    const kept = Array.from({ length: 20 }, (_, i) => i + 1).filter(
      (sequence) => one(harness, asked(make.delete("k"), sequence)).replayed,
    );
    assert.deepEqual(kept, [18, 19, 20]);
  });

  it("are bounded in number: the one unused for longest is forgotten", async () => {
    const harness = await ShardHarness.create({ limits: { sessionsMax: 2 } });
    const ask = (session: string) => one(harness, asked(make.increment("n", 1n), 1, { session }));
    ask("a");
    ask("b");
    ask("a");
    ask("c");
    await harness.persist();
    await harness.restart();
    assert.equal(ask("a").replayed, true);
    assert.equal(ask("c").replayed, true);
    assert.equal(ask("b").replayed, false);
    assert.equal(await harness.machine.recomputeDigest(), harness.machine.digest);
  });
});

describe("an idempotency key", () => {
  it("gets its first outcome again, also a failed one, for as long as it is remembered", async () => {
    const harness = await ShardHarness.create();
    const first = one(harness, keyed(make.increment("n", 1n), "order-1"));
    const failing = make.put("n", "x", { condition: { type: "absent" } });
    const failed = one(harness, keyed(failing, "order-2"));
    assert.equal(failed.result.type, "condition_failed");
    harness.run(make.delete("n"));
    await everywhere(harness, (at) => {
      assert.deepEqual(one(at, keyed(make.increment("n", 1n), "order-1")), {
        ...first,
        replayed: true,
      });
      assert.deepEqual(one(at, keyed(failing, "order-2")), { ...failed, replayed: true });
      assert.equal(text(at, "n"), null);
    });
  });

  it("used for another request is refused", async () => {
    const harness = await ShardHarness.create();
    one(harness, keyed(make.increment("n", 1n), "order-1", "one"));
    const { result, replayed } = one(harness, keyed(make.increment("n", 5n), "order-1", "two"));
    assert.equal(result.type, "idempotency_mismatch");
    assert.equal(replayed, false);
    assert.equal(text(harness, "n"), "1");
  });

  it("works together with request ids: a client's retry through another node is applied once", async () => {
    const harness = await ShardHarness.create();
    const envelope = (session: string): CommandEnvelope => ({
      ...asked(make.increment("n", 1n), 1, { session }),
      idempotency: { key: "order-1", fingerprint: "f" },
    });
    const first = one(harness, envelope("n1/1"));
    const second = one(harness, envelope("n2/1"));
    assert.deepEqual(second, { ...first, replayed: true });
    assert.deepEqual(one(harness, envelope("n2/1")), second);
    assert.equal(text(harness, "n"), "1");
  });

  it("is forgotten after a number of newer keys", async () => {
    const harness = await ShardHarness.create({ limits: { idempotencyKeysMax: 3 } });
    const ask = (key: string) => one(harness, keyed(make.increment("n", 1n), key));
    ["a", "b", "c", "a", "d"].forEach(ask);
    await harness.persist();
    await harness.restart();
    assert.equal(ask("b").replayed, true);
    assert.equal(ask("a").replayed, false);
    assert.equal(ask("b").replayed, false);
    assert.equal(await harness.machine.recomputeDigest(), harness.machine.digest);
  });

  it("is forgotten after a number of log entries, of whatever kind", async () => {
    const harness = await ShardHarness.create({ limits: { idempotencyEntriesMax: 10 } });
    const ask = () => one(harness, keyed(make.increment("n", 1n), "key"));
    const noop = new Uint8Array(0);
    ask();
    for (let count = 0; count < 8; count++) {
      harness.applyEntry(noop, "noop");
    }
    assert.equal(ask().replayed, true);
    harness.applyEntry(noop, "noop");
    assert.equal(ask().replayed, false);
  });

  it("leaves nothing behind when it is forgotten", async () => {
    const harness = await ShardHarness.create({ limits: { idempotencyEntriesMax: 1 } });
    for (let number = 0; number < 5; number++) {
      one(harness, keyed(make.delete("none"), `key${number}`));
    }
    harness.run(make.put("k", "1"));
    await harness.persist();
    const fresh = await ShardHarness.create();
    fresh.run(make.put("k", "1"));
    await fresh.persist();
    assert.equal((await harness.rows()).length, (await fresh.rows()).length + 1);
  });
});

it("Commands without any identity are applied as often as they come", async () => {
  const harness = await ShardHarness.create();
  const command = plain(make.increment("n", 1n));
  harness.apply([command, command]);
  assert.equal(text(harness, "n"), "2");
});
