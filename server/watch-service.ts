import type { ShardId } from "../cluster/types.ts";
import type { WatchRequest, WatchStream } from "./http/service.ts";
import type { Timer, Timers } from "./timers.ts";
import type { WatchAccess } from "./watch-access.ts";
import { filterOf } from "./watch-filter.ts";
import type { WatchHub } from "./watch-hub.ts";
import { WatchPolls } from "./watch-polls.ts";
import { MergedStream, type WatchCounts } from "./watch-stream.ts";

/** Where changes come from, and the bounds of one watcher. */
export interface WatchServiceOptions {
  readonly access: WatchAccess;
  readonly hub: WatchHub;
  readonly timers: Timers;
  /** Bytes of changes that may wait for one slow reader. */
  readonly bufferBytes: number;
  /** Pause between two times that idle watchers are told how far they are. */
  readonly progressMs: number;
  /** Polls of other nodes that may wait here. */
  readonly pollsMax: number;
}

/** All watches of one node: those of its clients, and the polls of other nodes for their clients. */
export class WatchService {
  readonly #options: WatchServiceOptions;
  readonly #polls: WatchPolls;
  readonly #counts: WatchCounts = { events: 0, lagged: 0, reset: 0 };
  readonly #streams = new Set<MergedStream>();
  #progressTimer: Timer | null = null;
  #isStopped = false;

  constructor(options: WatchServiceOptions) {
    this.#options = options;
    const { access, hub, timers, pollsMax } = options;
    this.#polls = new WatchPolls({ access, hub, timers, waitingMax: pollsMax });
  }

  /** Watches that are open. */
  get streamCount(): number {
    return this.#streams.size;
  }

  /** What its streams have done so far. */
  get counts(): Readonly<WatchCounts> {
    return this.#counts;
  }

  /** Polls of other nodes that wait for a change here. */
  get pollCount(): number {
    return this.#polls.waitingCount;
  }

  /** Begins a watch; it holds resources until its signal is aborted, its reader returns, or the node stops. */
  watch(request: WatchRequest): WatchStream {
    const { access, hub, bufferBytes } = this.#options;
    let leave = (): void => {};
    const stream = new MergedStream({
      request,
      access,
      bufferBytes,
      counts: this.#counts,
      onEnd: () => {
        leave();
        this.#streams.delete(stream);
      },
    });
    if (this.#isStopped || request.signal.aborted) {
      stream.end();
    } else {
      leave = hub.add(filterOf(request), stream);
      this.#streams.add(stream);
      this.#planProgress();
    }
    return stream;
  }

  /** Answers another node's poll of a shard: see `WatchPolls`. */
  answer(shard: ShardId, poll: Uint8Array): Promise<Uint8Array | null> {
    return this.#polls.answer(shard, poll);
  }

  /** The cluster map, and with it the replicas of this node, have changed. */
  refresh(): void {
    for (const stream of this.#streams) {
      stream.refresh();
    }
  }

  /** Ends all watches and answers all polls. */
  stop(): void {
    this.#isStopped = true;
    this.#progressTimer?.cancel();
    this.#progressTimer = null;
    for (const stream of [...this.#streams]) {
      stream.end();
    }
    this.#polls.stop();
  }

  #planProgress(): void {
    const { timers, progressMs } = this.#options;
    this.#progressTimer ??= timers.after(progressMs, () => {
      this.#progressTimer = null;
      for (const stream of this.#streams) {
        stream.refresh();
        stream.progressDue();
      }
      if (this.#streams.size > 0) {
        this.#planProgress();
      }
    });
  }
}
