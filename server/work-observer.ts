import type { NodeId } from "../cluster/types.ts";

/**
 * Told by router, request server and reads what they did and how it ended, so that none of them knows of metrics. Called synchronously
 * on the hot path; must not throw.
 */
export interface WorkObserver {
  /** A client's operation is over, wherever it was served. `result` is its outcome, or the code of the error. */
  onOperation(operation: string, consistency: string, result: string, durationMs: number): void;
  onValue(operation: string, bytes: number): void;
  /** A proposal of this node ended. */
  onProposal(result: "applied" | "refused" | "dropped" | "unknown", durationMs: number): void;
  /** Another node was asked; `lost`: it did not answer. */
  onForward(peer: NodeId, result: string): void;
  /** A quorum confirmed a read, or (with the reason) did not. */
  onReadIndex(durationMs: number, failure: string | null): void;
  /** Somebody routed a request to this node by a map that is too old. */
  onWrongMap(): void;
}
