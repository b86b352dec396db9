import type { ReadState } from "../raft/ready.ts";
import type { LogIndex } from "../types.ts";

/** `ready`: the local state may be read now. `refused`: no leader could confirm it; nothing was read. */
export type ReadOutcome = "ready" | "refused";
/** Called once, when a read may be done or will not be. Must not throw. */
export type ReadDone = (outcome: ReadOutcome) => void;

/**
 * Linearizable reads of one shard. Reads that arrive while a question to the leader is under way wait for the next question, so
 * that under load one round confirms many reads; an idle shard asks at once.
 */
export class Reads {
  readonly #queuedMax: number;
  #collecting: ReadDone[] = [];
  /** The question under way; 0: none. */
  #context = 0;
  #asked: ReadDone[] = [];
  #askedAtMs = 0;
  #lastContext: number;
  /** The leader could not confirm: asking again before something has changed would only spin. */
  #isHeld = false;
  /** Confirmed, waiting until the state has reached the index. */
  #confirmed: { readonly index: LogIndex; readonly done: readonly ReadDone[] }[] = [];

  /**
   * @param contextsAfter where contexts begin: elsewhere at each start, because the answer to a question of the process before may still come,
   * and its index is too old for a question of this one
   */
  constructor(queuedMax: number, contextsAfter = 0) {
    this.#queuedMax = queuedMax;
    this.#lastContext = contextsAfter;
  }

  get pendingCount(): number {
    return this.#collecting.length + this.#asked.length + this.#confirmed.length;
  }

  /** False when too many wait: `done` will not be called. */
  enqueue(done: ReadDone): boolean {
    if (this.#collecting.length >= this.#queuedMax) {
      return false;
    }
    this.#collecting.push(done);
    return true;
  }

  /** The context of a new question to ask now, or null when there is nothing to ask or a question is under way. */
  nextQuestion(nowMs: number): number | null {
    if (this.#context !== 0 || this.#isHeld || this.#collecting.length === 0) {
      return null;
    }
    this.#lastContext += 1;
    this.#context = this.#lastContext;
    this.#asked = this.#collecting;
    this.#collecting = [];
    this.#askedAtMs = nowMs;
    return this.#context;
  }

  /** Takes the leader's answers; false outcomes go back to the queue's front and are asked again. */
  answered(states: readonly ReadState[]): void {
    for (const state of states) {
      if (state.context !== this.#context) {
        continue;
      }
      const asked = this.#asked;
      this.#context = 0;
      this.#asked = [];
      if (state.index === null) {
        this.#collecting = asked.concat(this.#collecting);
        this.#isHeld = true;
      } else {
        this.#confirmed.push({ index: state.index, done: asked });
      }
    }
  }

  /** A question or its answer may have been lost with its leader: ask anew. Harmless when it was not, because nobody waits for it any more. */
  retryLost(nowMs: number, patienceMs: number): void {
    if (this.#context !== 0 && nowMs - this.#askedAtMs >= patienceMs) {
      this.#collecting = this.#asked.concat(this.#collecting);
      this.#asked = [];
      this.#context = 0;
    }
  }

  /** Time has passed or the leader has changed: asking again makes sense. */
  release(): void {
    this.#isHeld = false;
  }

  /** Answers the reads whose index the state has reached. */
  applied(index: LogIndex): void {
    if (this.#confirmed.length === 0) {
      return;
    }
    const due = this.#confirmed.filter((read) => read.index <= index);
    if (due.length === 0) {
      return;
    }
    this.#confirmed = this.#confirmed.filter((read) => read.index > index);
    for (const read of due) {
      for (const done of read.done) {
        done("ready");
      }
    }
  }

  stop(): void {
    const all = [this.#collecting, this.#asked, ...this.#confirmed.map((read) => read.done)].flat();
    this.#collecting = [];
    this.#asked = [];
    this.#confirmed = [];
    this.#context = 0;
    for (const done of all) {
      done("refused");
    }
  }
}
