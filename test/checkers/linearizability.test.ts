import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Prng } from "../sim/prng.ts";
import { type KvInput, kvModel, type KvOutput, type KvState } from "./kv-model.ts";
import { checkLinearizable, type Model, type Operation } from "./linearizability.ts";

type KvOperation = Operation<KvInput, KvOutput>;

const seed = Number(process.env["SEED"] ?? 1);

describe("The check of linearizability", () => {
  test("agrees with trying every order, on random small histories", () => {
    const random = new Prng(seed);
    const counts = { linearizable: 0, violation: 0 };
    for (let round = 0; round < 3000; round++) {
      const operations = randomHistory(random);
      const expected = bruteForce(kvModel, operations) ? "linearizable" : "violation";
      counts[expected] += 1;
      assert.equal(
        checkLinearizable(kvModel, operations),
        expected,
        `seed ${seed}, round ${round}: ${JSON.stringify(operations)}`,
      );
    }
    assert.ok(counts.linearizable > 300, `${counts.linearizable} histories are linearizable`);
    assert.ok(counts.violation > 300, `${counts.violation} histories are not`);
  });

  test("finds a stale read", () => {
    const history = [put(1, 2, "a", 1, 1), put(3, 4, "b", 2, 2), get(5, 6, "a", 1, 1)];
    assert.equal(checkLinearizable(kvModel, history), "violation");
  });

  test("finds a lost write", () => {
    const history = [put(1, 2, "a", 1, 1), got(3, 4, null)];
    assert.equal(checkLinearizable(kvModel, history), "violation");
  });

  test("lets a write without an answer happen late, or never, but not twice", () => {
    const unknown = unanswered(1, { type: "put", value: "a", condition: null });
    const late = [unknown, got(2, 3, null), get(4, 5, "a", 7, 1)];
    assert.equal(checkLinearizable(kvModel, late), "linearizable");
    assert.equal(checkLinearizable(kvModel, [unknown, got(2, 3, null)]), "linearizable");
    const twice = [unknown, get(2, 3, "a", 7, 1), put(4, 5, "b", 8, 2), get(6, 7, "a", 9, 3)];
    assert.equal(checkLinearizable(kvModel, twice), "violation");
  });

  test("finds an increment that was applied twice", () => {
    const add: KvInput = { type: "increment", by: 1 };
    const history = [
      answered(1, 2, add, written(1, 1, "1", true)),
      unanswered(3, add),
      answered(4, 5, add, written(9, 4, "4", false)),
    ];
    assert.equal(checkLinearizable(kvModel, history), "violation");
  });

  test("finds a revision that goes back", () => {
    const history = [put(1, 2, "a", 5, 1), put(3, 4, "b", 4, 2)];
    assert.equal(checkLinearizable(kvModel, history), "violation");
  });

  test("finds a condition that was judged by an old state", () => {
    const cas: KvInput = { type: "put", value: "c", condition: 1 };
    const history = [
      put(1, 2, "a", 1, 1),
      put(3, 4, "b", 2, 2),
      answered(5, 6, cas, written(3, 3, null, false)),
    ];
    assert.equal(checkLinearizable(kvModel, history), "violation");
  });

  test("decides a long history with many unanswered writes", () => {
    const operations: KvOperation[] = [];
    for (let round = 0; round < 120; round++) {
      const at = round * 10 + 1;
      operations.push(put(at, at + 4, `v${round}`, round + 1, round + 1));
      operations.push(get(at + 5, at + 6, `v${round}`, round + 1, round + 1));
      if (round % 6 === 0) {
        operations.push(unanswered(at + 1, { type: "put", value: `u${round}`, condition: null }));
      }
    }
    assert.equal(checkLinearizable(kvModel, operations), "linearizable");
  });
});

function answered(call: number, end: number, input: KvInput, output: KvOutput): KvOperation {
  return { call, return: end, input, output };
}

function unanswered(call: number, input: KvInput): KvOperation {
  return { call, return: null, input, output: null };
}

function written(
  revision: number,
  version: number,
  value: string | null,
  created: boolean,
): KvOutput {
  return { type: "written", created, revision, version, value };
}

function put(
  call: number,
  end: number,
  value: string,
  revision: number,
  version: number,
): KvOperation {
  const input: KvInput = { type: "put", value, condition: null };
  return answered(call, end, input, written(revision, version, null, version === 1));
}

function get(
  call: number,
  end: number,
  value: string,
  revision: number,
  version: number,
): KvOperation {
  return got(call, end, { value, revision, version });
}

function got(
  call: number,
  end: number,
  record: { value: string; revision: number; version: number } | null,
): KvOperation {
  return answered(call, end, { type: "get" }, { type: "got", record });
}

/** Up to six operations that overlap at random, answered by an object that is sometimes wrong. */
function randomHistory(random: Prng): KvOperation[] {
  const count = random.between(2, 6);
  const times = random.sample(
    Array.from({ length: count * 2 }, (_, at) => at + 1),
    count * 2,
  );
  const spans = Array.from({ length: count }, (_, at) => {
    const [a = 0, b = 0] = times.slice(at * 2, at * 2 + 2);
    return { call: Math.min(a, b), end: Math.max(a, b) };
  });
  let state: KvState = kvModel.initial;
  let revision = 0;
  const effectAt = spans.map(({ call, end }) => ({
    call,
    end,
    at: call + random.next() * (end - call),
  }));
  const operations: KvOperation[] = [];
  for (const { call, end } of effectAt.sort((a, b) => a.at - b.at)) {
    const input = randomInput(random, revision);
    const isUnanswered = input.type !== "get" && random.chance(0.2);
    if (isUnanswered) {
      operations.push(unanswered(call, input));
      if (random.chance(0.5)) {
        revision += 1;
        state = applied(state, input, revision).state;
      }
      continue;
    }
    revision += 1;
    const result = applied(state, input, revision);
    state = result.state;
    operations.push(
      answered(call, end, input, random.chance(0.15) ? wrong(result.output) : result.output),
    );
  }
  return operations;
}

function randomInput(random: Prng, revision: number): KvInput {
  const value = random.pick(["a", "b"]);
  const condition = random.pick([null, null, "absent" as const, Math.max(1, revision)]);
  switch (random.between(0, 3)) {
    case 0:
      return { type: "put", value, condition };
    case 1:
      return { type: "delete", condition: random.chance(0.5) ? condition : null };
    default:
      return { type: "get" };
  }
}

/** What a right object answers. */
function applied(
  state: KvState,
  input: KvInput,
  revision: number,
): { state: KvState; output: KvOutput } {
  const current =
    state.value === null ? null : { revision: state.revision ?? 0, version: state.version };
  if (input.type === "get") {
    const record = current === null ? null : { value: state.value ?? "", ...current };
    return { state, output: { type: "got", record } };
  }
  const condition = input.type === "put" || input.type === "delete" ? input.condition : null;
  const holds =
    condition === null ||
    (condition === "absent" ? current === null : current?.revision === condition);
  if (!holds) {
    return { state, output: { type: "condition_failed", current } };
  }
  if (input.type === "delete") {
    const deleted = current !== null;
    const gone = { value: null, version: 0, revision: null, floor: revision };
    return { state: deleted ? gone : state, output: { type: "deleted", deleted, revision } };
  }
  const value = input.type === "put" ? input.value : "";
  const version = state.version + 1;
  return {
    state: { value, version, revision, floor: revision },
    output: written(revision, version, null, current === null),
  };
}

function wrong(output: KvOutput): KvOutput {
  switch (output.type) {
    case "got":
      return output.record === null
        ? { type: "got", record: { value: "a", revision: 1, version: 1 } }
        : { type: "got", record: null };
    case "written":
      return { ...output, version: output.version + 1 };
    case "deleted":
      return { ...output, deleted: !output.deleted };
    case "condition_failed":
      return { type: "condition_failed", current: null };
  }
}

/** Tries every order of every choice of unanswered operations. */
function bruteForce<State, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
): boolean {
  const search = (left: readonly Operation<Input, Output>[], states: readonly State[]): boolean => {
    if (left.every((operation) => operation.return === null)) {
      return true;
    }
    return left.some((operation) => {
      const isFirst = left.every((other) => other.return === null || other.return > operation.call);
      const next = states.flatMap((state) => model.step(state, operation.input, operation.output));
      return (
        isFirst &&
        next.length > 0 &&
        search(
          left.filter((other) => other !== operation),
          next,
        )
      );
    });
  };
  return search(operations, [model.initial]);
}
