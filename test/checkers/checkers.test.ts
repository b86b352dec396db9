import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { checkAppliedOnce } from "./applied-once.ts";
import { checkLocks } from "./locks.ts";
import { checkMortals } from "./ttl.ts";
import { checkWatchStreams, type ToldChange } from "./watch-streams.ts";
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

describe("The check of watch streams", () => {
  const told = (text: string): ToldChange[] =>
    text.split(" ").map((name) => {
      const [key = "", revision = ""] = name.split("@");
      return { key, revision: Number(revision), data: name };
    });
  const whole = { prefix: "", stretches: [{ state: [], changes: told("a@1 b@2 a@3 b@5 a@6") }] };
  const onlyA = (changes: string) => ({
    prefix: "a",
    stretches: [{ state: [], changes: told(changes) }],
  });

  test("accepts every change once, in order", () => {
    assert.deepEqual(checkWatchStreams([whole, onlyA("a@1 a@3 a@6")], told("a@3 b@5")), []);
  });

  test("finds a change that is missing, double, out of order or foreign", () => {
    for (const changes of [
      "a@1 a@6",
      "a@1 a@3",
      "a@1 a@3 a@3 a@6",
      "a@1 a@6 a@3",
      "a@1 b@2 a@3 a@6",
    ]) {
      assert.equal(checkWatchStreams([whole, onlyA(changes)], []).length, 1, changes);
    }
  });

  test("finds two stories of one change", () => {
    const [one, ...others] = told("a@1 a@3 a@6");
    const stretches = [{ state: [], changes: [{ key: "a", revision: 1, data: "x" }, ...others] }];
    assert.equal(one?.key, "a");
    assert.equal(checkWatchStreams([whole, { prefix: "a", stretches }], []).length, 1);
  });

  test("finds an acknowledged change that nobody was told of", () => {
    assert.equal(checkWatchStreams([whole], told("a@4")).length, 1);
  });

  test("counts from the state that a reset tells", () => {
    const reset = (state: string, changes: string) => ({
      prefix: "a",
      stretches: [
        { state: [], changes: told("a@1") },
        { state: told(state), changes: told(changes) },
      ],
    });
    assert.deepEqual(checkWatchStreams([whole, reset("a@3", "a@6")], told("a@3")), []);
    assert.equal(checkWatchStreams([whole, reset("a@3", "a@3 a@6")], []).length, 1);
    assert.equal(checkWatchStreams([whole, reset("a@1", "a@6")], []).length, 1);
  });
});

describe("The check of writes that happen once", () => {
  const value = (text: string, revision: number) => ({ key: "k", value: text, revision });

  test("accepts that a change is seen many times, and values that many writes make", () => {
    const values = [value("c1.1", 2), value("c1.1", 2), value("7", 3), value("7", 4)];
    assert.deepEqual(checkAppliedOnce(values), []);
    assert.deepEqual(checkAppliedOnce([value("<c1.1>", 2), value("<c1.1><c2.1>", 3)]), []);
  });

  test("finds a write at two revisions", () => {
    assert.equal(checkAppliedOnce([value("c1.1", 2), value("c1.1", 5)]).length, 1);
    assert.equal(checkAppliedOnce([value("<c1.1>", 2), value("<c1.1><c1.1>", 3)]).length, 1);
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
