import fc from "fast-check";
import { LogIndex, Revision } from "../../cluster/types.ts";
import type {
  Command,
  CommandEnvelope,
  CommandOutcome,
  CommandResult,
  Compare,
  Condition,
  DeleteCommand,
  Fence,
  KeyMetadata,
  KeyRecord,
  LockParty,
  LockView,
  PutCommand,
  TransactionOperation,
  TransactionOperationResult,
  TtlChange,
} from "../../storage/commands.ts";
import type { LiveRecord, Query, QueryResult, ScanItem } from "../../storage/queries.ts";

/* Random values of the types in storage/commands.ts and storage/queries.ts, for property tests. */

const bytes = fc.uint8Array({ maxLength: 40 });
const counted = fc.oneof(
  fc.integer({ min: 0, max: 300 }),
  fc.maxSafeNat().map((n) => Math.min(n, Number.MAX_SAFE_INTEGER - 2)),
);
const revision: fc.Arbitrary<Revision> = counted.map(Revision);
const text = fc.string({ unit: "grapheme", maxLength: 60 });
const contentType = fc.oneof(fc.constantFrom("", "text/plain", "application/json"), text);

const condition: fc.Arbitrary<Condition | null> = fc.oneof(
  fc.constant(null),
  fc.constant<Condition>({ type: "absent" }),
  fc.constant<Condition>({ type: "present" }),
  fc.record({
    type: fc.constantFrom("revision_in" as const, "revision_not_in" as const),
    revisions: fc.array(revision, { maxLength: 4 }),
  }),
);
const fence: fc.Arbitrary<Fence | null> = fc.option(fc.record({ lock: bytes, token: revision }));
const ttlMs: fc.Arbitrary<TtlChange> = fc.oneof(fc.constantFrom("keep" as const, null), counted);

const put: fc.Arbitrary<PutCommand> = fc.record({
  type: fc.constant("put"),
  key: bytes,
  value: bytes,
  contentType,
  ttlMs,
  condition,
  fence,
  wantPrevious: fc.boolean(),
});

const remove: fc.Arbitrary<DeleteCommand> = fc.record({
  type: fc.constant("delete"),
  key: bytes,
  condition,
  fence,
  wantPrevious: fc.boolean(),
});

const operation: fc.Arbitrary<TransactionOperation> = fc.oneof(
  fc.record({ type: fc.constant("get" as const), key: bytes }),
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
  fc.record({ key: bytes, target: fc.constant("value" as const), operator, operand: bytes }),
  fc.record({
    key: bytes,
    target: fc.constantFrom(
      "version" as const,
      "create_revision" as const,
      "mod_revision" as const,
      "exists" as const,
    ),
    operator,
    operand: counted,
  }),
);

const deadline = {
  kind: fc.constantFrom("key" as const, "lock_holder" as const, "lock_waiter" as const),
  key: bytes,
  owner: text,
  deadlineRevision: revision,
};

/** Any command, also such as make no sense together. */
export const anyCommand: fc.Arbitrary<Command> = fc.oneof(
  put,
  remove,
  fc.record({
    type: fc.constant("increment" as const),
    key: bytes,
    by: fc.bigInt(),
    ttlMs,
    condition,
    fence,
  }),
  fc.record({
    type: fc.constant("append" as const),
    key: bytes,
    value: bytes,
    valueBytesMax: counted,
    contentType,
    ttlMs,
    condition,
    fence,
  }),
  fc.record({
    type: fc.constant("touch" as const),
    key: bytes,
    ttlMs: fc.option(counted),
    condition,
    fence,
  }),
  fc.record({
    type: fc.constant("transaction" as const),
    compares: fc.array(compare, { maxLength: 4 }),
    success: fc.array(operation, { maxLength: 4 }),
    failure: fc.array(operation, { maxLength: 4 }),
  }),
  fc.record({
    type: fc.constant("lock_acquire" as const),
    lock: bytes,
    owner: text,
    value: bytes,
    ttlMs: counted,
    wait: fc.boolean(),
  }),
  fc.record({
    type: fc.constant("lock_keep_alive" as const),
    lock: bytes,
    owner: text,
    token: revision,
    ttlMs: counted,
  }),
  fc.record({
    type: fc.constant("lock_release" as const),
    lock: bytes,
    owner: text,
    token: fc.option(revision),
  }),
  fc.record({ type: fc.constant("expire" as const), ...deadline }),
  fc.record({
    type: fc.constant("ttl_checkpoint" as const),
    remaining: fc.array(fc.record({ ...deadline, remainingMs: counted }), { maxLength: 4 }),
  }),
);

export const anyEnvelope: fc.Arbitrary<CommandEnvelope> = fc.record({
  request: fc.option(fc.record({ session: text, sequence: counted, ackedBelow: counted })),
  idempotency: fc.option(fc.record({ key: text, fingerprint: text })),
  command: anyCommand,
});

const metadataFields = {
  contentType,
  createRevision: revision,
  modRevision: revision,
  version: counted,
  ttlMs: fc.option(counted),
};
const metadata: fc.Arbitrary<KeyMetadata> = fc.record(metadataFields);
const record: fc.Arbitrary<KeyRecord> = fc.record({ ...metadataFields, value: bytes });
const liveRecord: fc.Arbitrary<LiveRecord> = fc.record({
  ...metadataFields,
  value: bytes,
  expiresInMs: fc.option(counted),
});
const party: fc.Arbitrary<LockParty> = fc.record({
  owner: text,
  value: bytes,
  ttlMs: counted,
  token: revision,
});
const lock: fc.Arbitrary<LockView> = fc.record({
  holder: fc.option(party),
  waiters: fc.array(party, { maxLength: 3 }),
});

const operationResult: fc.Arbitrary<TransactionOperationResult> = fc.oneof(
  fc.record({ type: fc.constant("get" as const), record: fc.option(record) }),
  fc.record({
    type: fc.constant("put" as const),
    created: fc.boolean(),
    version: counted,
    previous: fc.option(record),
  }),
  fc.record({
    type: fc.constant("delete" as const),
    deleted: fc.boolean(),
    previous: fc.option(record),
  }),
);

const result: fc.Arbitrary<CommandResult> = fc.oneof(
  fc.record({
    type: fc.constant("put" as const),
    created: fc.boolean(),
    revision,
    version: counted,
    previous: fc.option(record),
  }),
  fc.record({
    type: fc.constant("delete" as const),
    deleted: fc.boolean(),
    revision,
    previous: fc.option(record),
  }),
  fc.record({
    type: fc.constant("update" as const),
    created: fc.boolean(),
    revision,
    version: counted,
    value: bytes,
  }),
  fc.record({ type: fc.constant("touch" as const), revision, ttlMs: fc.option(counted) }),
  fc.record({
    type: fc.constant("transaction" as const),
    succeeded: fc.boolean(),
    revision,
    results: fc.array(operationResult, { maxLength: 4 }),
  }),
  fc.record({ type: fc.constant("lock_held" as const), token: revision, ttlMs: counted }),
  fc.record({ type: fc.constant("lock_queued" as const), position: counted, holder: party }),
  fc.record({ type: fc.constant("lock_busy" as const), holder: party, waiters: counted }),
  fc.record({ type: fc.constant("condition_failed" as const), current: fc.option(metadata) }),
  fc.record({ type: fc.constant("value_too_large" as const), bytesMax: counted }),
  fc.record({ type: fc.constant("lock_lost" as const), holder: fc.option(party) }),
  fc.record({
    type: fc.constantFrom(
      "lock_released" as const,
      "not_found" as const,
      "not_a_number" as const,
      "idempotency_mismatch" as const,
      "stale_request" as const,
      "answer_not_kept" as const,
      "done" as const,
    ),
  }),
);

export const anyOutcome: fc.Arbitrary<CommandOutcome> = fc.record({
  result,
  revision,
  replayed: fc.boolean(),
});

export const anyQuery: fc.Arbitrary<Query> = fc.oneof(
  fc.record({ type: fc.constant("get" as const), key: bytes }),
  fc.record({
    type: fc.constant("get_many" as const),
    keys: fc.array(bytes, { maxLength: 5 }),
    bytesMax: counted,
  }),
  fc.record({
    type: fc.constant("scan" as const),
    start: bytes,
    end: fc.option(bytes),
    limit: counted,
    bytesMax: counted,
    keysOnly: fc.boolean(),
  }),
  fc.record({ type: fc.constant("lock" as const), lock: bytes }),
  fc.record({ type: fc.constant("locks" as const), prefix: bytes, limit: counted }),
);

const asOf = { revision, appliedIndex: counted.map(LogIndex) };
const item: fc.Arbitrary<ScanItem> = fc.record({ key: bytes, record: liveRecord });

export const anyQueryResult: fc.Arbitrary<QueryResult> = fc.oneof(
  fc.record({ type: fc.constant("get" as const), ...asOf, record: fc.option(liveRecord) }),
  fc.record({
    type: fc.constant("get_many" as const),
    ...asOf,
    records: fc.array(fc.option(liveRecord), { maxLength: 4 }),
  }),
  fc.record({
    type: fc.constant("scan" as const),
    ...asOf,
    items: fc.array(item, { maxLength: 4 }),
    more: fc.boolean(),
  }),
  fc.record({ type: fc.constant("lock" as const), ...asOf, lock }),
  fc.record({
    type: fc.constant("locks" as const),
    ...asOf,
    locks: fc.array(fc.record({ name: bytes, lock }), { maxLength: 3 }),
  }),
);
