import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { checkLocks } from "./locks.ts";
import { checkMortals } from "./ttl.ts";
import { checkWatches } from "./watches.ts";

const grant = { lock: "l", owner: "a", token: 5, call: 1, return: 2 };

describe("The check of locks", () => {
  test("accepts holders that follow each other", () => {
    const grants = [grant, { lock: "l", owner: "b", token: 9, call: 3, return: 4 }];
    const writes = [
      { lock: "l", token: 5, revision: 6 },
      { lock: "l", token: 9, revision: 10 },
    ];
    assert.deepEqual(checkLocks(grants, writes), []);
  });

  test("finds a write under a token that had been overtaken", () => {
    const grants = [grant, { lock: "l", owner: "b", token: 9, call: 3, return: 4 }];
    assert.equal(checkLocks(grants, [{ lock: "l", token: 5, revision: 10 }]).length, 1);
  });

  test("finds one token in two hands", () => {
    assert.equal(checkLocks([grant, { ...grant, owner: "b" }], []).length, 1);
  });

  test("finds a token that goes back", () => {
    const later = { lock: "l", owner: "b", token: 4, call: 3, return: 4 };
    assert.equal(checkLocks([grant, later], []).length, 1);
  });
});

describe("The check of watches", () => {
  const truth = new Map([
    [
      1,
      new Map([
        [2, "a"],
        [4, "b"],
        [5, "c"],
      ]),
    ],
  ]);
  const a = { index: 2, text: "a" };
  const b = { index: 4, text: "b" };
  const c = { index: 5, text: "c" };
  const span = { shard: 1, after: 1, upTo: 5 };

  test("accepts every change once, in order", () => {
    assert.deepEqual(checkWatches(truth, [{ ...span, seen: [a, b, c] }]), []);
    assert.deepEqual(checkWatches(truth, [{ ...span, after: 2, upTo: 4, seen: [b] }]), []);
  });

  test("finds a change that is missing, double, out of order or wrong", () => {
    for (const seen of [
      [a, c],
      [a, b, b, c],
      [b, a, c],
      [a, { ...b, text: "x" }, c],
    ]) {
      assert.ok(checkWatches(truth, [{ ...span, seen }]).length > 0, JSON.stringify(seen));
    }
  });
});

describe("The check of times to live", () => {
  const key = { key: "k", ttlMs: 100, writtenAfterMs: 1000, answeredAtMs: 1010 };
  const look = (at: number, isThere: boolean) => ({ callMs: at, returnMs: at + 1, isThere });

  test("accepts a key that goes when its time has come", () => {
    assert.deepEqual(
      checkMortals([{ ...key, looks: [look(1050, true), look(1120, false)] }], 0),
      [],
    );
  });

  test("finds a key that is gone too early", () => {
    assert.equal(checkMortals([{ ...key, looks: [look(1050, false)] }], 0).length, 1);
  });

  test("finds a key that comes back", () => {
    const looks = [look(1120, false), look(1130, true)];
    assert.equal(checkMortals([{ ...key, looks }], 0).length, 1);
  });
});
