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
  const change = (key: string, text: string) => ({ key, text });
  const entries = new Map([
    [2, [change("k", "a")]],
    [4, [change("k", "b"), change("l", "c")]],
    [5, [change("k", "d")]],
  ]);
  const truth = new Map([[1, entries]]);
  const at = (index: number, events = 0) => ({ index, events });
  const all = { shard: 1, after: at(1), upTo: at(5), wants: () => true };

  test("accepts every change once, in order", () => {
    assert.deepEqual(checkWatches(truth, [{ ...all, seen: ["a", "b", "c", "d"] }]), []);
    assert.deepEqual(
      checkWatches(truth, [{ ...all, after: at(2), upTo: at(3, 1), seen: ["b"] }]),
      [],
    );
    assert.deepEqual(checkWatches(truth, [{ ...all, after: at(3, 1), seen: ["c", "d"] }]), []);
    const wants = (key: string): boolean => key === "l";
    assert.deepEqual(checkWatches(truth, [{ ...all, wants, seen: ["c"] }]), []);
  });

  test("finds a change that is missing, double, out of order or wrong", () => {
    for (const seen of ["abd", "acd", "abbcd", "bacd", "abcx", "abc", "abcdd"]) {
      assert.equal(checkWatches(truth, [{ ...all, seen: [...seen] }]).length, 1, seen);
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
