/**
 * The tables of a shard's state: the byte after the generation in a state key. Part of the format of disks and snapshots: never reuse a
 * number. Layout of the rows: storage/README.md.
 */
export const stateTable = {
  /** User key -> record. */
  keys: 1,
  /** Lock name -> holder and queue. Only locks that are held have a row. */
  locks: 2,
  /** Session -> window of answered requests. */
  sessions: 3,
  /** One row: names of all sessions. */
  sessionDirectory: 4,
  /** Idempotency-Key -> fingerprint and first outcome. */
  idempotency: 5,
  /** Position -> Idempotency-Key, in the order of first use. */
  idempotencyQueue: 6,
  /** One row: first and next position of the queue. */
  idempotencyBounds: 7,
  /** User key -> what is left of its time to live. */
  deadlines: 8,
  /** One row of the meta shard: the cluster map. */
  clusterMap: 16,
} as const;

/** Key of the tables that have one row. */
export const soleRow: Uint8Array = new Uint8Array(0);
