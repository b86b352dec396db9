import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type Conclusion,
  type Finding,
  StateComparison,
} from "../../cluster/multiraft/state-comparison.ts";
import { LogIndex, NodeId } from "../../cluster/types.ts";
import { Prng } from "../sim/prng.ts";

const ids = ["n1", "n2", "n3", "n4", "n5"].map(NodeId);
const [n1, n2, n3] = ids as [NodeId, NodeId, NodeId];

const three = [n1, n2, n3];

const from = (id: NodeId, claim: ReturnType<typeof at>) => ({
  from: id,
  claim,
  isQuestion: false,
});

const at = (index: number, digest: string) => ({ index: LogIndex(index), digest });

/** One member as the host drives it: what it holds at every index, and how far it is. */
class Member {
  readonly comparison: StateComparison;
  readonly findings: Finding[] = [];
  readonly id: NodeId;
  applied = 0;
  readonly #digestAt: (index: number) => string;

  constructor(id: NodeId, digestAt: (index: number) => string) {
    this.id = id;
    this.comparison = new StateComparison(id);
    this.#digestAt = digestAt;
  }

  claim(): ReturnType<typeof at> {
    return at(this.applied, this.#digestAt(this.applied));
  }
}

interface Word {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly claim: ReturnType<typeof at>;
  readonly isQuestion: boolean;
}

/** A group whose first member leads; words arrive in any order, and may be lost. */
class Group {
  readonly members: readonly Member[];
  readonly voters: readonly NodeId[];
  readonly words: Word[] = [];

  constructor(voters: readonly NodeId[], members: readonly Member[]) {
    this.voters = voters;
    this.members = members;
  }

  /** The leader asks, if there is anything to ask. */
  ask(): void {
    const [leader, ...others] = this.members;
    assert.ok(leader);
    const ids = others.map(({ id }) => id);
    if (leader.comparison.isDue(LogIndex(leader.applied), ids)) {
      this.#follow(leader, leader.comparison.ask(leader.claim(), this.voters), true);
    }
  }

  advance(member: Member, to: number): void {
    while (member.applied < to) {
      member.applied += 1;
      if (member.applied === member.comparison.wantedIndex) {
        this.#follow(member, member.comparison.reached(member.claim(), this.voters));
      }
    }
  }

  deliver({ from, to, claim, isQuestion }: Word): void {
    const member = this.members.find(({ id }) => id === to);
    assert.ok(member);
    const { comparison, applied } = member;
    if (claim.index === applied) {
      this.#follow(member, comparison.reached(member.claim(), this.voters));
    }
    const word = { from, claim, isQuestion };
    this.#follow(member, comparison.heard(word, LogIndex(applied), this.voters));
  }

  deliverAll(): void {
    for (let word = this.words.shift(); word !== undefined; word = this.words.shift()) {
      this.deliver(word);
    }
  }

  #follow(member: Member, conclusion: Conclusion, isQuestion = false): void {
    const { tell, to, findings } = conclusion;
    member.findings.push(...findings);
    for (const { id } of this.members) {
      if (tell !== null && id !== member.id && (to === null || to === id)) {
        this.words.push({ from: member.id, to: id, claim: tell, isQuestion });
      }
    }
  }
}

function groupOf(digests: readonly string[], voters = digests.length): Group {
  const members = digests.map((digest, at) => new Member(ids[at] ?? n1, () => digest));
  return new Group(ids.slice(0, voters), members);
}

const verdicts = (findings: readonly Finding[]): string[] =>
  findings.map(({ type, odd }) => [type, ...odd].join(" "));

describe("After one round of comparing", () => {
  const cases: [string, readonly string[], number, readonly string[]][] = [
    ["members that agree say nothing", ["a", "a", "a"], 3, []],
    ["a follower is odd", ["a", "a", "b"], 3, ["differ", "odd n3"]],
    ["the leader is odd", ["b", "a", "a"], 3, ["differ", "odd n1"]],
    ["two replicas cannot tell who is right", ["a", "b"], 2, ["differ", "split"]],
    ["three different ones cannot either", ["a", "b", "c"], 3, ["differ", "split"]],
    ["a learner is odd", ["a", "a", "b"], 2, ["differ", "odd n3"]],
    ["learners decide nothing", ["a", "b", "b", "b"], 2, ["differ", "split"]],
    ["two of five are odd", ["a", "b", "a", "c", "a"], 5, ["differ", "odd n2,n4"]],
    ["two against two and one cannot tell", ["a", "a", "b", "b", "c"], 5, ["differ", "split"]],
    ["one voter is right by itself", ["a", "b"], 1, ["differ", "odd n2"]],
  ];
  for (const [name, digests, voters, expected] of cases) {
    test(`${name}: ${digests.join()}`, () => {
      const group = groupOf(digests, voters);
      group.members.forEach((member) => group.advance(member, 10));
      group.ask();
      group.deliverAll();
      for (const { findings, id } of group.members) {
        const told = verdicts(findings.filter(({ type }) => type === "differ")).length;
        assert.equal(told, expected.length === 0 ? 0 : 1, `${id} tells the difference once`);
        const last = findings.at(-1);
        const verdict = last === undefined ? [] : [[last.type, last.odd.join()].join(" ").trim()];
        assert.deepEqual(verdict, expected.slice(-1), `what ${id} concludes in the end`);
      }
    });
  }
});

test("A member that is behind compares at the very index that it was asked about", () => {
  const digestAt = (index: number) => `state ${index}`;
  const [leader, follower] = [new Member(n1, digestAt), new Member(n2, digestAt)];
  const group = new Group([n1, n2], [leader, follower]);
  group.advance(leader, 100);
  group.ask();
  group.deliverAll();
  assert.equal(follower.comparison.wantedIndex, 100);
  group.advance(follower, 200);
  assert.equal(follower.comparison.wantedIndex, 0);
  assert.deepEqual(follower.findings, []);
});

test("What a member has left behind without a word of its own it cannot compare", () => {
  const comparison = new StateComparison(n1);
  const { tell, findings } = comparison.heard(from(n2, at(5, "b")), LogIndex(6), three);
  assert.deepEqual([tell, findings, comparison.wantedIndex], [null, [], 0]);
});

test("A leader asks until all have answered, and again when something was applied", () => {
  const group = groupOf(["a", "a", "a"]);
  const [leader] = group.members;
  const isDue = (index: number) => leader?.comparison.isDue(LogIndex(index), [n2, n3]);
  assert.ok(!isDue(0), "there is no state yet");
  group.members.forEach((member) => group.advance(member, 10));
  assert.ok(isDue(10));
  group.ask();
  group.words.filter(({ to }) => to === n2).forEach((word) => group.deliver(word));
  group.words.length = 0;
  assert.ok(isDue(10), "the question to n3 was lost");
  group.ask();
  assert.equal(group.words.length, 2);
  group.deliverAll();
  assert.ok(!isDue(10), "an idle group is silent");
  assert.ok(isDue(11));
  leader?.comparison.forget(n2);
  assert.ok(isDue(10), "n2 may have begun anew");
});

test("Who agrees answers who asked, and nobody else", () => {
  const group = groupOf(["a", "a", "a"]);
  group.members.forEach((member) => group.advance(member, 10));
  group.ask();
  const [toSecond, toThird] = group.words.splice(0);
  assert.ok(toSecond !== undefined && toThird !== undefined);
  group.deliver(toSecond);
  assert.deepEqual(
    group.words.map(({ from, to, isQuestion }) => [from, to, isQuestion]),
    [[n2, n1, false]],
  );
});

test("A word about a difference that was lost is said again when the leader asks again", () => {
  const group = groupOf(["a", "a", "b"]);
  group.members.forEach((member) => group.advance(member, 10));
  group.ask();
  group.words.filter(({ to }) => to === n3).forEach((word) => group.deliver(word));
  group.words.length = 0;
  const [leader, , odd] = group.members;
  assert.deepEqual(leader?.findings, [], "the answer of the odd one was lost");
  group.ask();
  group.deliverAll();
  assert.deepEqual(verdicts(leader?.findings ?? []), ["differ", "odd n3"]);
  assert.deepEqual(verdicts(odd?.findings ?? []), ["differ", "odd n3"]);
  group.ask();
  assert.equal(group.words.length, 2, "and asks until they agree");
});

test("What was known of a state is forgotten with it", () => {
  const comparison = new StateComparison(n1);
  comparison.heard(from(n2, at(9, "b")), LogIndex(5), three);
  comparison.clear();
  assert.equal(comparison.wantedIndex, 0);
  comparison.reached(at(9, "a"), three);
  assert.deepEqual(comparison.heard(from(n3, at(9, "a")), LogIndex(9), three).findings, []);
});

test("A few rounds are remembered, and those that wait for the own word before others", () => {
  const comparison = new StateComparison(n1);
  for (const index of [10, 20, 30, 40, 50]) {
    comparison.heard(from(n2, at(index, "b")), LogIndex(1), three);
  }
  for (const index of [10, 20, 30, 40]) {
    assert.equal(comparison.wantedIndex, index);
    assert.equal(comparison.reached(at(index, "a"), three).findings.length, 1);
  }
  assert.equal(comparison.wantedIndex, 0, "there was no room for 50");
  comparison.heard(from(n2, at(60, "b")), LogIndex(40), three);
  assert.equal(comparison.wantedIndex, 60, "10 made room for it");
  assert.deepEqual(comparison.heard(from(n3, at(10, "b")), LogIndex(40), three).findings, []);
});

/** Members apply at their own pace, words are delayed and lost, some members go wrong for good at some index. */
function live(seed: number): { wrong: readonly NodeId[]; group: Group } {
  const random = new Prng(seed);
  const count = random.pick([2, 3, 3, 3, 4, 5]);
  const odd = random.chance(0.5) ? Math.floor((count - 1) / 2) : 0;
  const wrong = random.sample(ids.slice(0, count), odd);
  const since = random.between(1, 300);
  const members = ids.slice(0, count).map((id) => {
    const isWrong = (index: number) => wrong.includes(id) && index >= since;
    return new Member(id, (index) => `${index}${isWrong(index) ? ` ${id}` : ""}`);
  });
  const group = new Group(ids.slice(0, count), members);
  for (let step = 0; step < 600; step += 1) {
    const member = random.pick(members);
    group.advance(member, Math.min(400, member.applied + random.between(0, 20)));
    if (random.chance(0.1)) {
      group.ask();
    }
    const lost = random.chance(0.2);
    const word = group.words.splice(random.between(0, Math.max(0, group.words.length - 1)), 1)[0];
    if (word !== undefined && !lost) {
      group.deliver(word);
    }
  }
  members.forEach((member) => group.advance(member, 400));
  // Nothing is applied any more: what was lost is asked again.
  for (let round = 0; round < 20; round += 1) {
    group.ask();
    group.words.splice(0).forEach((word) => random.chance(0.8) && group.deliver(word));
  }
  group.ask();
  group.deliverAll();
  return { wrong, group };
}

test("Whatever is late or lost, nobody is called odd but who is, and in the end everybody knows", () => {
  const first = Number(process.env["SEED"] ?? 1);
  for (let seed = first; seed < first + 300; seed += 1) {
    const { wrong, group } = live(seed);
    const expected = [...wrong].sort().join();
    for (const { findings, id } of group.members) {
      const called = findings.flatMap(({ odd }) => odd);
      assert.ok(
        called.every((each) => wrong.includes(each)),
        `SEED=${seed}: ${id} calls ${called.join()} odd, it is ${expected}`,
      );
      assert.ok(findings.every(({ type }) => wrong.length > 0 && type !== "split"));
      const last = findings.findLast(({ index }) => index === 400);
      assert.equal(last?.odd.join() ?? "", expected, `SEED=${seed}: what ${id} knows in the end`);
    }
  }
});
