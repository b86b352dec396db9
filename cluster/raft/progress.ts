import { LogIndex } from "../types.ts";
import type { RaftOptions } from "./options.ts";

/** The two limits of a follower's window. */
export type WindowOptions = Pick<RaftOptions, "inflightMessagesMax" | "inflightBytesMax">;

/**
 * What a leader knows of one other member.
 *
 * - `probe`: where the logs agree is not known; one AppendEntries at a time, the next after an answer or a heartbeat's answer.
 * - `replicate`: entries are sent optimistically, many messages in flight, bounded by the window.
 * - `snapshot`: the host is moving a snapshot; nothing else is sent.
 */
export class Progress {
  state: "probe" | "replicate" | "snapshot" = "probe";
  /** R5: the member's log equals the leader's, durably, up to here. Grows, except when the member says that it lost its log. */
  matchIndex: LogIndex = LogIndex(0);
  /** R5: the next entry to send, above `matchIndex`. */
  nextIndex: LogIndex;
  /** In `probe`: a message is under way, wait. */
  isPaused = false;
  /** It answered since the last check-quorum. */
  hasAnswered: boolean;
  #hadAnswered = false;
  /** It said that it lost its log, and nothing since. */
  isQuarantined = false;
  /** Something may be lost: send an AppendEntries even without entries, so that the answer tells. */
  mustProbe = false;
  /** The latest read round that it answered. */
  ackedRound = 0;
  /** The commit index that it was told in `replicate`. */
  sentCommit: LogIndex = LogIndex(0);
  /** In `snapshot`: the least index that the snapshot will bring it to. */
  snapshotIndex: LogIndex = LogIndex(0);
  /** In `snapshot`: the leader's clock when the bytes had arrived; null while they move. */
  deliveredAt: number | null = null;
  readonly #window: Window;

  constructor(nextIndex: LogIndex, isRecentlyActive: boolean, options: WindowOptions) {
    this.nextIndex = nextIndex;
    this.hasAnswered = isRecentlyActive;
    this.#window = new Window(options);
  }

  /** It answered since the last check-quorum but one: right after a check nobody has answered yet, and nothing follows from that. */
  get isRecentlyActive(): boolean {
    return this.hasAnswered || this.#hadAnswered;
  }

  /** A check-quorum has counted its answers. */
  checked(): void {
    this.#hadAnswered = this.hasAnswered;
    this.hasAnswered = false;
  }

  get isWindowFull(): boolean {
    return this.#window.isFull;
  }

  becomeProbe(): void {
    this.#enter("probe");
    this.nextIndex = LogIndex(this.matchIndex + 1);
  }

  becomeReplicate(): void {
    this.#enter("replicate");
    this.nextIndex = LogIndex(this.matchIndex + 1);
  }

  becomeSnapshot(index: LogIndex): void {
    this.#enter("snapshot");
    this.snapshotIndex = index;
  }

  /** The member lost its log: nothing that it acknowledged counts any more. */
  becomeQuarantined(): void {
    this.isQuarantined = true;
    this.hasAnswered = false;
    this.#hadAnswered = false;
    this.matchIndex = LogIndex(0);
    if (this.state !== "snapshot") {
      this.becomeProbe();
    }
  }

  /** An AppendEntries with entries left in `replicate`. */
  sent(lastIndex: LogIndex, bytes: number): void {
    this.nextIndex = LogIndex(lastIndex + 1);
    this.#window.add(lastIndex, bytes);
  }

  /** The member has the log up to `index`. False when that is old news; the match never moves back. */
  accepted(index: LogIndex): boolean {
    this.#window.freeTo(index);
    if (index <= this.matchIndex) {
      return false;
    }
    this.matchIndex = index;
    if (this.nextIndex <= index) {
      this.nextIndex = LogIndex(index + 1);
    }
    return true;
  }

  /**
   * The member does not have `rejectedIndex`; the logs can agree at `agreement` at best. False when the answer is about a message
   * that no longer matters: answers are tied to the question by its `prevIndex`.
   */
  rejected(rejectedIndex: LogIndex, agreement: LogIndex): boolean {
    if (this.state === "snapshot" || rejectedIndex <= this.matchIndex) {
      return false;
    }
    if (this.state === "replicate") {
      this.becomeProbe();
      return true;
    }
    if (rejectedIndex !== this.nextIndex - 1) {
      return false;
    }
    this.nextIndex = LogIndex(
      Math.max(Math.min(rejectedIndex, agreement + 1), this.matchIndex + 1),
    );
    this.isPaused = false;
    return true;
  }

  #enter(state: "probe" | "replicate" | "snapshot"): void {
    this.state = state;
    this.isPaused = false;
    this.mustProbe = false;
    this.sentCommit = LogIndex(0);
    this.snapshotIndex = LogIndex(0);
    this.deliveredAt = null;
    this.#window.clear();
  }
}

/** AppendEntries in flight, oldest first: a ring of (last index, bytes), so that a steady stream allocates nothing. */
class Window {
  readonly #messagesMax: number;
  readonly #bytesMax: number;
  readonly #lastIndexes: number[] = [];
  readonly #sizes: number[] = [];
  #start = 0;
  #count = 0;
  #bytes = 0;

  constructor(options: WindowOptions) {
    this.#messagesMax = options.inflightMessagesMax;
    this.#bytesMax = options.inflightBytesMax;
  }

  get isFull(): boolean {
    return this.#count >= this.#messagesMax || this.#bytes >= this.#bytesMax;
  }

  add(lastIndex: number, bytes: number): void {
    const slot = (this.#start + this.#count) % this.#messagesMax;
    this.#lastIndexes[slot] = lastIndex;
    this.#sizes[slot] = bytes;
    this.#count += 1;
    this.#bytes += bytes;
  }

  freeTo(index: number): void {
    while (this.#count > 0 && (this.#lastIndexes[this.#start] ?? 0) <= index) {
      this.#bytes -= this.#sizes[this.#start] ?? 0;
      this.#start = (this.#start + 1) % this.#messagesMax;
      this.#count -= 1;
    }
  }

  clear(): void {
    this.#start = 0;
    this.#count = 0;
    this.#bytes = 0;
  }
}
