import type { ShardId } from "../cluster/types.ts";
import type { Timers } from "./timers.ts";
import type { WatchAccess } from "./watch-access.ts";
import { type ChangeSource, readChanges } from "./watch-changes.ts";
import { decodePoll, encodeAnswer, type WatchAnswer, type WatchPoll } from "./watch-codec.ts";
import type { WatchFilter } from "./watch-filter.ts";
import type { WatchHub } from "./watch-hub.ts";
import { indexNeeded, positionAt } from "./watch-positions.ts";

/** Who answers other nodes' polls, and for how long it lets them wait. */
export interface WatchPollsOptions {
  readonly access: WatchAccess;
  readonly hub: WatchHub;
  readonly timers: Timers;
  /** Polls that wait at a time; more are refused. */
  readonly waitingMax: number;
}

/** Answers other nodes that watch a shard of this node: at once when there are changes, else when there are some or the time is over. */
export class WatchPolls {
  readonly #options: WatchPollsOptions;
  readonly #waiting = new Set<() => void>();

  constructor(options: WatchPollsOptions) {
    this.#options = options;
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** Null when this node cannot say: it holds no replica, or nobody confirms how far it is. Rejects with CodecError at a malformed poll. */
  async answer(shard: ShardId, bytes: Uint8Array): Promise<Uint8Array | null> {
    const poll = decodePoll(bytes);
    const answer = await this.#answer(shard, poll);
    return answer === null ? null : encodeAnswer(answer);
  }

  /** Everybody who waits is answered. */
  stop(): void {
    for (const wake of [...this.#waiting]) {
      wake();
    }
  }

  async #answer(shard: ShardId, poll: WatchPoll): Promise<WatchAnswer | null> {
    const { access, waitingMax } = this.#options;
    const source = access.source(shard);
    if (source === null) {
      return null;
    }
    const { after, filter, waitMs } = poll;
    if (after === null || indexNeeded(after) > source.appliedIndex) {
      return (await access.confirm(shard)) ? answerFrom(source, poll) : null;
    }
    const answer = answerFrom(source, poll);
    const isEmpty = answer.type === "changes" && answer.chunk.changes.length === 0;
    if (!isEmpty || waitMs === 0) {
      return answer;
    }
    if (this.#waiting.size >= waitingMax) {
      return null;
    }
    await this.#changed(shard, filter, waitMs);
    return answerFrom(source, poll);
  }

  /** Resolves after the next change that matches, or after `waitMs`. */
  #changed(shard: ShardId, filter: WatchFilter, waitMs: number): Promise<void> {
    const { hub, timers } = this.#options;
    return new Promise((resolve) => {
      const wake = (): void => {
        timer.cancel();
        leave();
        this.#waiting.delete(wake);
        resolve();
      };
      const wakeFor = (changed: ShardId): void => {
        if (changed === shard) {
          wake();
        }
      };
      const timer = timers.after(waitMs, wake);
      const leave = hub.add(filter, { onChange: wakeFor, onReplaced: wakeFor });
      this.#waiting.add(wake);
    });
  }
}

function answerFrom(source: ChangeSource, poll: WatchPoll): WatchAnswer {
  const { after, bytesMax } = poll;
  if (after === null) {
    return { type: "changes", chunk: { changes: [], position: positionAt(source.appliedIndex) } };
  }
  // Ahead of a replica that is up to date: nobody of this cluster gave out that position.
  const isAlien = indexNeeded(after) > source.appliedIndex;
  const chunk = isAlien ? null : readChanges(source, after, poll, bytesMax);
  return chunk === null ? { type: "gone" } : { type: "changes", chunk };
}
