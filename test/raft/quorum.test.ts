import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  majority,
  majorityReached,
  majorityVote,
  quorumReached,
  quorumVote,
} from "../../cluster/raft/quorum.ts";
import type { VoteResult } from "../../cluster/raft/quorum.ts";
import { NodeId } from "../../cluster/types.ts";
import type { Configuration } from "../../cluster/types.ts";

const ids = (names: string): readonly NodeId[] => (names === "" ? [] : names.split("").map(NodeId));

const configuration = (voters: string, votersOutgoing: string): Configuration => ({
  voters: ids(voters),
  votersOutgoing: ids(votersOutgoing),
  learners: [],
  learnersNext: [],
  autoLeave: false,
});

/** `a5 b3`: what each voter reached; who is missing has reached nothing. */
function reachedBy(table: string): (voter: NodeId) => number {
  const numbers = new Map(
    table.split(" ").map((cell) => [cell.slice(0, 1), Number(cell.slice(1))] as const),
  );
  return (voter) => numbers.get(voter) ?? 0;
}

/** `a+ b-`: who granted and who refused; who is missing did not answer. */
function voteOf(table: string): (voter: NodeId) => boolean | undefined {
  const votes = new Map(
    table.split(" ").map((cell) => [cell.slice(0, 1), cell.endsWith("+")] as const),
  );
  return (voter) => votes.get(voter);
}

test("a majority is more than half", () => {
  assert.deepEqual([1, 2, 3, 4, 5, 6, 7].map(majority), [1, 2, 2, 3, 3, 4, 4]);
});

describe("a majority has reached", () => {
  const cases: readonly (readonly [voters: string, reached: string, expected: number])[] = [
    ["", "", Infinity],
    ["a", "a7", 7],
    ["a", "", 0],
    ["ab", "a7 b3", 3],
    ["ab", "a7", 0],
    ["abc", "a7 b3 c5", 5],
    ["abc", "a7 b7 c1", 7],
    ["abc", "a3 b3 c9", 3],
    ["abc", "a9", 0],
    ["abcd", "a1 b2 c3 d4", 2],
    ["abcd", "a4 b4 c4 d1", 4],
    ["abcde", "a1 b2 c3 d4 e5", 3],
    ["abcde", "a5 b5 c1 d1 e1", 1],
    ["abcdef", "a1 b2 c3 d4 e5 f6", 3],
    ["abcdefg", "a7 b6 c5 d4 e3 f2 g1", 4],
  ];
  for (const [voters, reached, expected] of cases) {
    test(`${expected} when ${voters || "nobody"} votes and ${reached || "nobody"} answered`, () => {
      assert.equal(majorityReached(ids(voters), reachedBy(reached)), expected);
    });
  }
});

describe("a quorum of both halves has reached", () => {
  const cases: readonly (readonly [string, string, string, number])[] = [
    ["abc", "", "a5 b5 c1", 5],
    ["abc", "cde", "a9 b9 c9 d2 e1", 2],
    ["abc", "cde", "a9 b9", 0],
    ["abc", "cde", "c9 d9 e9", 0],
    ["ade", "abc", "a4 b3 d2", 2],
    ["ade", "abc", "a4 b3 d9", 3],
    ["a", "abc", "a4", 0],
    ["a", "abc", "a4 c2", 2],
    ["abc", "a", "a4", 0],
    ["abcd", "efg", "a3 b3 c3 e1 f1", 1],
  ];
  for (const [voters, outgoing, reached, expected] of cases) {
    test(`${expected} when ${voters} and ${outgoing || "nobody"} vote and ${reached} answered`, () => {
      assert.equal(quorumReached(configuration(voters, outgoing), reachedBy(reached)), expected);
    });
  }

  test("never more than either half alone, and both when the halves are equal", () => {
    let random = 1;
    const next = (): number => (random = (random * 48271) % 2147483647);
    const all = ids("abcdefg");
    for (let round = 0; round < 2000; round++) {
      const incoming = all.filter(() => next() % 2 === 0);
      const outgoing = all.filter(() => next() % 2 === 0);
      const reached = new Map(all.map((id) => [id, next() % 10]));
      const of = (id: NodeId): number => reached.get(id) ?? 0;
      const joint = { ...configuration("", ""), voters: incoming, votersOutgoing: outgoing };
      const result = quorumReached(joint, of);
      for (const half of [incoming, outgoing]) {
        const count = half.filter((id) => of(id) >= result).length;
        assert(half.length === 0 || count >= majority(half.length));
      }
      const isLargest = [incoming, outgoing].some(
        (half) =>
          half.length > 0 && half.filter((id) => of(id) > result).length < majority(half.length),
      );
      assert(isLargest || result === Infinity);
    }
  });
});

describe("a vote is", () => {
  const cases: readonly (readonly [string, string, VoteResult])[] = [
    ["", "", "won"],
    ["a", "", "pending"],
    ["a", "a+", "won"],
    ["a", "a-", "lost"],
    ["ab", "a+", "pending"],
    ["ab", "a+ b-", "lost"],
    ["ab", "a+ b+", "won"],
    ["abc", "a+ b+", "won"],
    ["abc", "a+ b-", "pending"],
    ["abc", "b- c-", "lost"],
    ["abc", "a+ x+ y+", "pending"],
    ["abcd", "a+ b+", "pending"],
    ["abcd", "a+ b+ c-", "pending"],
    ["abcd", "a+ c- d-", "lost"],
    ["abcde", "a+ b+ c+", "won"],
    ["abcde", "a+ b+ c- d-", "pending"],
    ["abcde", "c- d- e-", "lost"],
  ];
  for (const [voters, votes, expected] of cases) {
    test(`${expected} when ${voters || "nobody"} may vote and the votes are ${votes || "none"}`, () => {
      assert.equal(majorityVote(ids(voters), voteOf(votes)), expected);
      assert.equal(quorumVote(configuration(voters, ""), voteOf(votes)), expected);
    });
  }
});

describe("a joint vote is", () => {
  const cases: readonly (readonly [string, string, string, VoteResult])[] = [
    ["abc", "cde", "a+ b+", "pending"],
    ["abc", "cde", "a+ b+ c+", "pending"],
    ["abc", "cde", "a+ c+ d+", "won"],
    ["abc", "cde", "a+ b+ d- e-", "lost"],
    ["abc", "cde", "a- b- c+ d+", "lost"],
    ["abc", "abc", "a+ b+", "won"],
    ["a", "abc", "a+ b-", "pending"],
    ["a", "abc", "a+ b- c-", "lost"],
  ];
  for (const [voters, outgoing, votes, expected] of cases) {
    test(`${expected} when ${voters} and ${outgoing} may vote and the votes are ${votes}`, () => {
      assert.equal(quorumVote(configuration(voters, outgoing), voteOf(votes)), expected);
    });
  }
});
