/**
 * Bounds of what the state remembers for retries, and of what a transaction answers. They decide what the state holds, so they belong to the
 * state machine's definition: every replica must use the same ones. Production uses `stateLimits`; tests use smaller ones.
 */
export interface StateLimits {
  /** Sessions (starts of asking nodes) per shard; the one not used for the longest part of the log is forgotten first. */
  readonly sessionsMax: number;
  /** Answers of one session that are kept until acknowledged; beyond, the oldest is forgotten and its retry is `stale_request`. */
  readonly sessionAnswersMax: number;
  readonly sessionBytesMax: number;
  /** A longer answer is not kept for retries: they get `answer_not_kept`. */
  readonly answerBytesMax: number;
  /** Idempotency keys per shard; the oldest is forgotten first. */
  readonly idempotencyKeysMax: number;
  /** Log entries of the shard for which an idempotency key is remembered. */
  readonly idempotencyEntriesMax: number;
  /** Bytes of the values that a transaction answers with; beyond, it is refused. Nodes can send each other a few times as much at once. */
  readonly transactionAnswerBytesMax: number;
}

/** What every node uses. */
export const stateLimits: StateLimits = {
  sessionsMax: 512,
  sessionAnswersMax: 4096,
  sessionBytesMax: 1024 * 1024,
  answerBytesMax: 32 * 1024,
  idempotencyKeysMax: 100_000,
  idempotencyEntriesMax: 1_000_000,
  transactionAnswerBytesMax: 4 * 1024 * 1024,
};
