import type { MultiRaftOptions } from "./options.ts";
import type { Outbox } from "./outbox.ts";
import type { Replica } from "./replica.ts";

/** What the notices need from the turn loop. */
export interface CommitNoticesOptions {
  readonly outbox: Outbox;
  readonly after: MultiRaftOptions["after"];
  /** Runs a turn soon. */
  readonly schedule: () => void;
}

/**
 * Tells followers what is committed when no entries tell it.
 *
 * Nobody waits for it but those who watch a follower: clients are answered by leaders, and a read's own round tells what it needs. So a
 * notice travels in a frame that leaves anyway, beside other groups' entries and acknowledgements, and has a frame of its own only when
 * there was none for a few milliseconds. With one client at a time that saves a third of all frames.
 */
export class CommitNotices {
  readonly #options: CommitNoticesOptions;
  /** They lead, and some follower may be told more. */
  readonly #untold = new Set<Replica>();
  #timer: { cancel(): void } | null = null;
  #isDue = false;

  constructor(options: CommitNoticesOptions) {
    this.#options = options;
  }

  /** The replica was pumped: perhaps there is something to tell now. */
  pumped(replica: Replica): void {
    if (!replica.raft.isCommitUntold) {
      return;
    }
    this.#untold.add(replica);
    this.#timer ??= this.#options.after(delayMs, () => {
      this.#timer = null;
      this.#isDue = true;
      this.#options.schedule();
    });
  }

  /**
   * Puts notices beside what the outbox holds, and all that are due. While the disk is busy only these: commands queue up meanwhile, and
   * their entries will tell.
   */
  collect(mayWrite: boolean): void {
    const { outbox } = this.#options;
    const isDue = this.#isDue;
    if (!isDue && !mayWrite) {
      return;
    }
    this.#isDue = false;
    for (const replica of this.#untold) {
      for (const notice of replica.raft.commitNotices((to) => isDue || outbox.hasFor(to))) {
        outbox.addMessage(replica.shard, notice);
      }
      if (!replica.raft.isCommitUntold) {
        this.#untold.delete(replica);
      }
    }
    if (this.#untold.size === 0) {
      this.stop();
    }
  }

  remove(replica: Replica): void {
    this.#untold.delete(replica);
  }

  /** Plans nothing any more until a replica is pumped again. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}

/** Longer than a turn takes under load, so that there is a frame to go with; shorter than people or watchers notice. */
const delayMs = 5;
