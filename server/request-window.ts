import type { ShardId } from "../cluster/types.ts";
import type { RequestId } from "../storage/commands.ts";

interface Window {
  next: number;
  /** Everything below has been answered or given up. */
  low: number;
  readonly open: Set<number>;
}

/**
 * Numbers the commands that this start of the node forwards, per shard, and knows which are still open: the window that lets state
 * machines apply a retried command once and forget what is answered.
 */
export class RequestWindow {
  readonly #session: string;
  readonly #windows = new Map<ShardId, Window>();

  /** @param session unique to this start of this node: `nodeId/incarnation` */
  constructor(session: string) {
    this.#session = session;
  }

  /** Opens the next request of the shard. */
  open(shard: ShardId): RequestId {
    let window = this.#windows.get(shard);
    if (window === undefined) {
      window = { next: 1, low: 1, open: new Set() };
      this.#windows.set(shard, window);
    }
    const sequence = window.next;
    window.next += 1;
    window.open.add(sequence);
    return { session: this.#session, sequence, ackedBelow: window.low };
  }

  /** Nobody will send this request again. */
  close(shard: ShardId, request: RequestId): void {
    const window = this.#windows.get(shard);
    if (window === undefined) {
      return;
    }
    window.open.delete(request.sequence);
    while (window.low < window.next && !window.open.has(window.low)) {
      window.low += 1;
    }
  }
}
