import type { KvInput, KvOutput, KvRecord } from "../checkers/kv-model.ts";
import type { Ending } from "./history.ts";

/** A change of one key. */
export type KvWrite = Exclude<KvInput, { type: "get" }>;

/** Two keys of one shard that are always written together. */
export interface Pair {
  readonly first: string;
  readonly second: string;
}

/** A lock in somebody's hands. */
export interface HeldLock {
  readonly lock: string;
  readonly owner: string;
  readonly token: number;
}

/**
 * One node, as a client sees it, in the words of the checkers' model. Everything may reject: with what the node said, or because it said
 * nothing. Texts have one byte per character.
 */
export interface Door {
  read(key: string, consistency: "linearizable" | "lease"): Promise<KvRecord | null>;
  /** @param idempotencyKey two writes with the same one are one write */
  write(key: string, input: KvWrite, idempotencyKey: string | null): Promise<KvOutput>;
  /** Writes a key that dies `ttlMs` later. */
  writeMortal(key: string, ttlMs: number): Promise<void>;
  /** Writes while the lock is held: the revision; null when it is not held any more. */
  writeFenced(key: string, value: string, held: HeldLock): Promise<number | null>;
  /** Reads both at once; rejects when they differ. */
  readPair(pair: Pair): Promise<KvRecord | null>;
  /** Writes the same to both at once. @param seen null: in any case; 0: when there is nothing; else when they have this revision */
  writePair(pair: Pair, value: string, seen: number | null): Promise<KvOutput>;
  /** The token; null when somebody else holds the lock. @param waits takes a place in the queue then */
  acquire(lock: string, owner: string, ttlMs: number, waits: boolean): Promise<number | null>;
  keep(held: HeldLock, ttlMs: number): Promise<void>;
  release(held: HeldLock): Promise<void>;
}

/** The ways into a cluster. */
export interface Doors {
  /** Goes to some node and asks it; never rejects. `writes` says whether silence leaves the outcome open. */
  ask<T>(writes: boolean, run: (door: Door) => Promise<T>): Promise<Ending<T>>;
}

/** A clock that clients live by: milliseconds since some moment. */
export interface Clock {
  readonly now: number;
  pause(ms: number): Promise<void>;
}
