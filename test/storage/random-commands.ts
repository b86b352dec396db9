import fc from "fast-check";
import { Revision } from "../../cluster/types.ts";
import type {
  Command,
  CommandEnvelope,
  Compare,
  Condition,
  Fence,
  TransactionOperation,
} from "../../storage/commands.ts";
import { bytes } from "./shard-harness.ts";

/*
 * Random commands over few keys, locks, owners and small numbers, so that they meet: conditions hold and fail, values are numbers or
 * not, requests come again.
 */

const key = fc.constantFrom("a", "b", "c", "d/1", "d/2").map(bytes);
const value = fc.constantFrom("", "1", "-17", "9007199254740993", "text").map(bytes);
const lock = fc.constantFrom("l1", "l2").map(bytes);
const owner = fc.constantFrom("x", "y", "z");
const revision = fc.integer({ min: 1, max: 40 }).map(Revision);
const ttlMs = fc.constantFrom(null, null, null, "keep" as const, 1000, 5000);

const condition: fc.Arbitrary<Condition | null> = fc.oneof(
  { weight: 5, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: fc.constant<Condition>({ type: "absent" }) },
  { weight: 1, arbitrary: fc.constant<Condition>({ type: "present" }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constantFrom("revision_in" as const, "revision_not_in" as const),
      revisions: fc.array(revision, { maxLength: 6 }),
    }),
  },
);
const fence: fc.Arbitrary<Fence | null> = fc.option(fc.record({ lock, token: revision }), {
  freq: 10,
});
const wantPrevious = fc.boolean();

const put = fc.record({
  type: fc.constant("put" as const),
  key,
  value,
  contentType: fc.constantFrom("", "text/plain"),
  ttlMs,
  condition,
  fence,
  wantPrevious,
});
const remove = fc.record({
  type: fc.constant("delete" as const),
  key,
  condition,
  fence,
  wantPrevious,
});
const operation: fc.Arbitrary<TransactionOperation> = fc.oneof(
  fc.record({ type: fc.constant("get" as const), key }),
  put,
  remove,
);
const operator = fc.constantFrom(
  "equal" as const,
  "not_equal" as const,
  "less" as const,
  "greater" as const,
);
const compare: fc.Arbitrary<Compare> = fc.oneof(
  fc.record({ key, target: fc.constant("value" as const), operator, operand: value }),
  fc.record({
    key,
    target: fc.constantFrom(
      "version" as const,
      "create_revision" as const,
      "mod_revision" as const,
      "exists" as const,
    ),
    operator,
    operand: fc.integer({ min: 0, max: 5 }),
  }),
);
const branch = fc.array(operation, { maxLength: 3 });

/** Commands on keys alone: what the naive model understands. */
export const keyCommand: fc.Arbitrary<Command> = fc.oneof(
  { weight: 4, arbitrary: put },
  { weight: 2, arbitrary: remove },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("increment" as const),
      key,
      by: fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }),
      ttlMs,
      condition,
      fence,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("append" as const),
      key,
      value,
      valueBytesMax: fc.constantFrom(10, 1000),
      contentType: fc.constantFrom("", "text/plain"),
      ttlMs,
      condition,
      fence,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant("touch" as const),
      key,
      ttlMs: fc.constantFrom(null, 1000),
      condition,
      fence,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("transaction" as const),
      compares: fc.array(compare, { maxLength: 2 }),
      success: branch,
      failure: branch,
    }),
  },
);

const lockCommand: fc.Arbitrary<Command> = fc.oneof(
  fc.record({
    type: fc.constant("lock_acquire" as const),
    lock,
    owner,
    value,
    ttlMs: fc.constantFrom(1000, 5000),
    wait: fc.boolean(),
  }),
  fc.record({
    type: fc.constant("lock_keep_alive" as const),
    lock,
    owner,
    token: revision,
    ttlMs: fc.constant(5000),
  }),
  fc.record({
    type: fc.constant("lock_release" as const),
    lock,
    owner,
    token: fc.option(revision),
  }),
);

const deadline = {
  kind: fc.constantFrom("key" as const, "lock_holder" as const, "lock_waiter" as const),
  key: fc.oneof(key, lock),
  owner: fc.oneof(owner, fc.constant("")),
  deadlineRevision: revision,
};
const timeCommand: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ type: fc.constant("expire" as const), ...deadline }),
  fc.record({
    type: fc.constant("ttl_checkpoint" as const),
    remaining: fc.array(
      fc.record({ ...deadline, remainingMs: fc.integer({ min: 0, max: 6000 }) }),
      { maxLength: 5 },
    ),
  }),
);

/** Any command as a client or a leader might send it, now and then for the second time. */
export const envelope: fc.Arbitrary<CommandEnvelope> = fc.record({
  request: fc.option(
    fc.record({
      session: fc.constantFrom("n1/1", "n2/1", "n3/1", "n4/1"),
      sequence: fc.integer({ min: 0, max: 30 }),
      ackedBelow: fc.integer({ min: 0, max: 10 }),
    }),
  ),
  idempotency: fc.option(
    fc.record({
      key: fc.constantFrom("i1", "i2", "i3", "i4", "i5"),
      fingerprint: fc.constantFrom("f1", "f1", "f1", "f2"),
    }),
    { freq: 4 },
  ),
  command: fc.oneof(
    { weight: 6, arbitrary: keyCommand },
    { weight: 2, arbitrary: lockCommand },
    { weight: 1, arbitrary: timeCommand },
  ),
});
