import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Revision } from "../../cluster/types.ts";
import {
  lockValueBytesMax,
  type Command,
  type CommandResult,
  type LockView,
} from "../../storage/commands.ts";
import { lockWaitersMax } from "../../storage/locks.ts";
import { bytes, make, plain, ShardHarness } from "./shard-harness.ts";

function view(harness: ShardHarness, lock: string): LockView {
  const result = harness.machine.query({ type: "lock", lock: bytes(lock) });
  assert.ok(!(result instanceof Promise));
  assert.ok(result.type === "lock");
  return result.lock;
}

function tokenOf(result: CommandResult): Revision {
  assert.ok(result.type === "lock_held", `not held: ${result.type}`);
  return result.token;
}

function release(lock: string, owner: string, token: Revision | null): Command {
  return { type: "lock_release", lock: bytes(lock), owner, token };
}

function keepAlive(lock: string, owner: string, token: Revision, ttlMs = 10_000): Command {
  return { type: "lock_keep_alive", lock: bytes(lock), owner, token, ttlMs };
}

function owners(harness: ShardHarness, lock: string): readonly (string | null)[] {
  const { holder, waiters } = view(harness, lock);
  return [holder?.owner ?? null, ...waiters.map((waiter) => waiter.owner)];
}

describe("a lock", () => {
  it("is held by the first, and by the others in the order in which they came", async () => {
    const harness = await ShardHarness.create();
    const first = tokenOf(harness.run(make.acquire("l", "a", { value: bytes("host a") })));
    const queued = harness.run(make.acquire("l", "b"));
    assert.ok(queued.type === "lock_queued");
    assert.equal(queued.position, 1);
    assert.equal(queued.holder.owner, "a");
    assert.equal(queued.holder.token, first);
    assert.equal(Buffer.from(queued.holder.value).toString(), "host a");
    const last = harness.run(make.acquire("l", "c"));
    assert.equal(last.type === "lock_queued" && last.position, 2);
    assert.deepEqual(owners(harness, "l"), ["a", "b", "c"]);
    assert.equal(harness.run(release("l", "a", first)).type, "lock_released");
    assert.deepEqual(owners(harness, "l"), ["b", "c"]);
    const second = view(harness, "l").holder?.token ?? Revision(0);
    assert.ok(second > first);
    harness.run(release("l", "b", second), release("l", "c", null));
    assert.deepEqual(owners(harness, "l"), [null]);
  });

  it("answers the same owner with the same token and the same place", async () => {
    const harness = await ShardHarness.create();
    const token = tokenOf(harness.run(make.acquire("l", "a")));
    harness.run(make.acquire("l", "b"), make.acquire("l", "c"));
    assert.equal(tokenOf(harness.run(make.acquire("l", "a"))), token);
    const again = harness.run(make.acquire("l", "b", { wait: false }));
    assert.equal(again.type === "lock_queued" && again.position, 1);
    assert.deepEqual(owners(harness, "l"), ["a", "b", "c"]);
  });

  it("does not queue who only tries", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.acquire("l", "a"), make.acquire("l", "b"));
    const busy = harness.run(make.acquire("l", "c", { wait: false }));
    assert.ok(busy.type === "lock_busy");
    assert.equal(busy.holder.owner, "a");
    assert.equal(busy.waiters, 1);
    assert.deepEqual(owners(harness, "l"), ["a", "b"]);
  });

  it("has tokens that grow for ever, also when its record was gone in between", async () => {
    const harness = await ShardHarness.create();
    let last = Revision(0);
    for (let round = 0; round < 10; round++) {
      const token = tokenOf(harness.run(make.acquire("l", `owner${round}`)));
      assert.ok(token > last);
      harness.run(release("l", `owner${round}`, token));
      assert.equal(view(harness, "l").holder, null);
      last = token;
    }
  });

  it("is only renewed and released under the holder's own token", async () => {
    const harness = await ShardHarness.create();
    const token = tokenOf(harness.run(make.acquire("l", "a")));
    const wrong = Revision(token + 1);
    for (const command of [
      keepAlive("l", "a", wrong),
      keepAlive("l", "b", token),
      release("l", "a", wrong),
      release("l", "b", token),
    ]) {
      const result = harness.run(command);
      assert.ok(result.type === "lock_lost");
      assert.equal(result.holder?.owner, "a");
    }
    assert.deepEqual(harness.run(release("free", "a", token)), { type: "lock_lost", holder: null });
    assert.equal(tokenOf(harness.run(keepAlive("l", "a", token))), token);
  });

  it("given up without a token is left, whether it was held or waited for, and never fails", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.acquire("l", "a"), make.acquire("l", "b"), make.acquire("l", "c"));
    harness.run(release("l", "b", null));
    assert.deepEqual(owners(harness, "l"), ["a", "c"]);
    harness.run(release("l", "a", null));
    assert.deepEqual(owners(harness, "l"), ["c"]);
    assert.equal(harness.run(release("l", "nobody", null)).type, "lock_released");
    assert.equal(harness.run(release("free", "nobody", null)).type, "lock_released");
    assert.deepEqual(owners(harness, "l"), ["c"]);
  });

  it(`has ${lockWaitersMax} places in its queue and not one more`, async () => {
    const harness = await ShardHarness.create();
    harness.run(make.acquire("l", "holder"));
    for (let number = 1; number < lockWaitersMax; number++) {
      harness.run(make.acquire("l", `w${number}`));
    }
    assert.equal(harness.run(make.acquire("l", "last")).type, "lock_queued");
    assert.equal(harness.run(make.acquire("l", "one more")).type, "lock_busy");
  });
});

it("A lock's value has a bound of its own, for holders and waiters, new and renewed", async () => {
  const harness = await ShardHarness.create();
  const value = Buffer.alloc(lockValueBytesMax);
  harness.run(make.acquire("l", "a", { value }), make.acquire("l", "b", { value }));
  const digest = harness.machine.digest;
  const larger = Buffer.alloc(lockValueBytesMax + 1);
  for (const [lock, owner] of [
    ["l", "a"],
    ["l", "b"],
    ["l", "c"],
    ["free", "a"],
  ] as const) {
    const result = harness.run(make.acquire(lock, owner, { value: larger }));
    assert.deepEqual(result, { type: "value_too_large", bytesMax: lockValueBytesMax });
  }
  assert.equal(harness.machine.digest, digest);
  assert.deepEqual(owners(harness, "l"), ["a", "b"]);
});

describe("time to live of locks", () => {
  it("passes the lock on when the holder falls silent, and not before", async () => {
    const harness = await ShardHarness.create();
    const first = tokenOf(harness.run(make.acquire("l", "a", { ttlMs: 5000 })));
    harness.run(make.acquire("l", "b", { ttlMs: 60_000 }));
    harness.lead(4900);
    assert.deepEqual(owners(harness, "l"), ["a", "b"]);
    harness.lead(5000);
    assert.deepEqual(owners(harness, "l"), ["b"]);
    assert.ok((view(harness, "l").holder?.token ?? 0) > first);
  });

  it("begins anew with each keep-alive and each repeated request", async () => {
    const harness = await ShardHarness.create();
    const token = tokenOf(harness.run(make.acquire("l", "a", { ttlMs: 5000 })));
    harness.lead(4000);
    harness.run(keepAlive("l", "a", token, 5000));
    harness.lead(8000);
    harness.run(make.acquire("l", "a", { ttlMs: 5000 }));
    harness.lead(12_900);
    assert.deepEqual(owners(harness, "l"), ["a"]);
    harness.lead(13_000);
    assert.deepEqual(owners(harness, "l"), [null]);
  });

  it("drops a waiter that does not ask again, and a new holder's time begins when it gets the lock", async () => {
    const harness = await ShardHarness.create();
    const token = tokenOf(harness.run(make.acquire("l", "a", { ttlMs: 60_000 })));
    harness.run(make.acquire("l", "b", { ttlMs: 2000 }), make.acquire("l", "c", { ttlMs: 5000 }));
    harness.lead(3000);
    assert.deepEqual(owners(harness, "l"), ["a", "c"]);
    harness.run(release("l", "a", token));
    harness.lead(7900);
    assert.deepEqual(owners(harness, "l"), ["c"]);
    harness.lead(8000);
    assert.deepEqual(owners(harness, "l"), [null]);
  });

  it("of a place can be ended by the revision of the ask's outcome, until it is asked for again or holds the lock", async () => {
    const harness = await ShardHarness.create();
    const ask = (owner: string): Revision =>
      harness.apply([plain(make.acquire("l", owner))])[0]?.revision ?? Revision(0);
    const giveUp = (owner: string, deadlineRevision: Revision): Command => ({
      type: "expire",
      kind: "lock_waiter",
      key: bytes("l"),
      owner,
      deadlineRevision,
    });
    ask("a");
    const first = ask("b");
    const third = ask("c");
    const again = ask("b");
    harness.run(giveUp("b", first));
    assert.deepEqual(owners(harness, "l"), ["a", "b", "c"]);
    harness.run(giveUp("c", third));
    assert.deepEqual(owners(harness, "l"), ["a", "b"]);
    harness.run(release("l", "a", null), giveUp("b", again));
    assert.deepEqual(owners(harness, "l"), ["b"]);
    harness.lead(9900);
    assert.deepEqual(owners(harness, "l"), ["b"]);
    harness.lead(10_000);
    assert.deepEqual(owners(harness, "l"), [null]);
  });

  it("does not take the lock from a holder that renewed while the expiration was on its way", async () => {
    const harness = await ShardHarness.create();
    const token = tokenOf(harness.run(make.acquire("l", "a", { ttlMs: 1000 })));
    harness.lead(900);
    harness.nowMs = 1000;
    const due = harness.machine.dueCommands(10);
    assert.equal(due.length, 1);
    harness.run(keepAlive("l", "a", token, 1000));
    harness.applyDue(due);
    assert.deepEqual(owners(harness, "l"), ["a"]);
  });
});

describe("a fence", () => {
  const fence = (token: Revision) => ({ lock: bytes("l"), token });

  it("lets writes through while its token holds the lock, and refuses them ever after", async () => {
    const harness = await ShardHarness.create();
    const token = tokenOf(harness.run(make.acquire("l", "a", { ttlMs: 1000 })));
    const guarded = (under: Revision): readonly Command[] => [
      make.put("k", "1", { fence: fence(under) }),
      make.increment("k", 1n, { fence: fence(under) }),
      make.append("k", "0", { fence: fence(under) }),
      make.touch("k", 1000, { fence: fence(under) }),
      {
        type: "transaction",
        compares: [],
        success: [make.put("k", "2"), make.put("j", "2", { fence: fence(under) })],
        failure: [],
      },
      make.delete("k", { fence: fence(under) }),
    ];
    for (const command of guarded(token)) {
      assert.notEqual(harness.run(command).type, "lock_lost", command.type);
    }
    harness.run(make.acquire("l", "b"));
    harness.lead(1000);
    assert.deepEqual(owners(harness, "l"), ["b"]);
    const digest = harness.machine.digest;
    for (const command of guarded(token)) {
      const result = harness.run(command);
      assert.ok(result.type === "lock_lost", command.type);
      assert.equal(result.holder?.owner, "b");
    }
    assert.equal(harness.machine.digest, digest);
    const next = view(harness, "l").holder?.token ?? Revision(0);
    assert.equal(harness.run(make.put("k", "3", { fence: fence(next) })).type, "put");
  });

  it("on a lock that nobody holds refuses", async () => {
    const harness = await ShardHarness.create();
    const result = harness.run(make.put("k", "1", { fence: fence(Revision(1)) }));
    assert.deepEqual(result, { type: "lock_lost", holder: null });
  });
});

it("Locks are listed by prefix, in order, up to a limit", async () => {
  const harness = await ShardHarness.create();
  harness.run(make.acquire("app/2", "a"), make.acquire("app/1", "b"), make.acquire("b", "c"));
  await harness.persist();
  harness.run(make.acquire("app/3", "d"), release("app/2", "a", null));
  const list = async (prefix: string, limit: number): Promise<readonly string[]> => {
    const result = await harness.machine.query({ type: "locks", prefix: bytes(prefix), limit });
    assert.ok(result.type === "locks");
    return result.locks.map(({ name, lock }) => `${Buffer.from(name)}=${lock.holder?.owner}`);
  };
  assert.deepEqual(await list("app/", 10), ["app/1=b", "app/3=d"]);
  assert.deepEqual(await list("app/", 1), ["app/1=b"]);
  assert.deepEqual(await list("", 10), ["app/1=b", "app/3=d", "b=c"]);
});
