import type { LogIndex, NodeId } from "../types.ts";

/** A read that waits on the leader. `from` is null for the leader's own. */
export interface PendingRead {
  readonly from: NodeId | null;
  readonly context: number;
}

/** A read with its answer: valid once its round is confirmed. */
export interface AskedRead extends PendingRead {
  readonly index: LogIndex;
  readonly round: number;
}

interface RoundStart {
  readonly round: number;
  readonly clock: number;
}

/**
 * A leader's heartbeat rounds and the reads that they confirm (thesis 6.4). A quorum that answers round r shows that nobody else led
 * when r was sent; so the commit index of that moment is safe for every read that came before. Lives as long as one leadership: a new
 * leader starts with nothing.
 */
export class ReadRounds {
  readonly #pendingMax: number;
  #latest = 0;
  #confirmed = 0;
  #waiting: PendingRead[] = [];
  #asked: AskedRead[] = [];
  #starts: RoundStart[] = [];
  #leaseStart: number | null = null;

  constructor(pendingMax: number) {
    this.#pendingMax = pendingMax;
  }

  /** Number of the latest round; 0 before the first. */
  get latest(): number {
    return this.#latest;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0 && this.#asked.length === 0;
  }

  /** Reads are waiting and no round is on its way for others: a new round should start. */
  get wantsRound(): boolean {
    return this.#waiting.length > 0 && this.#asked.length === 0;
  }

  /** The clock at the start of the latest confirmed round; null before the first and after a pause. */
  get leaseStart(): number | null {
    return this.#leaseStart;
  }

  /** Queues a read. False when too many wait. */
  add(read: PendingRead): boolean {
    if (this.#waiting.length + this.#asked.length >= this.#pendingMax) {
      return false;
    }
    this.#waiting.push(read);
    return true;
  }

  /** Starts a round. `index` is the commit index, or null while the leader's term has committed nothing: then reads go on waiting. */
  start(clock: number, index: LogIndex | null): void {
    this.#latest += 1;
    this.#starts.push({ round: this.#latest, clock });
    if (index !== null) {
      for (const { from, context } of this.#waiting) {
        this.#asked.push({ from, context, index, round: this.#latest });
      }
      this.#waiting = [];
    }
  }

  /** A quorum has answered `round`. Returns the reads that may be answered now. */
  confirm(round: number): readonly AskedRead[] {
    if (round <= this.#confirmed) {
      return [];
    }
    this.#confirmed = round;
    let next = this.#starts[0];
    while (next !== undefined && next.round <= round) {
      this.#leaseStart = next.clock;
      this.#starts.shift();
      next = this.#starts[0];
    }
    let count = 0;
    while ((this.#asked[count]?.round ?? Infinity) <= round) {
      count += 1;
    }
    return count === 0 ? [] : this.#asked.splice(0, count);
  }

  /** The process was paused: only a round that starts from now on gives a lease. */
  dropLease(): void {
    this.#leaseStart = null;
    this.#starts = [];
  }

  /** Leadership is lost: all reads, unanswered. */
  drain(): readonly PendingRead[] {
    const reads = [...this.#asked, ...this.#waiting];
    this.#asked = [];
    this.#waiting = [];
    return reads;
  }
}
