import type { QueryResult } from "../../storage/queries.ts";
import type { RouteKit } from "./route-kit.ts";
import type { Served } from "./service.ts";

type GetResult = Extract<QueryResult, { type: "get" }>;

/** A read that waits for news. */
export interface LongPoll {
  readonly kit: RouteKit;
  readonly key: Uint8Array;
  /** What the client has, as read just now. */
  readonly present: Served<GetResult>;
  readonly hasChanged: (result: GetResult) => boolean;
  readonly read: () => Promise<Served<GetResult>>;
  /** Ends the wait. */
  readonly signal: AbortSignal;
}

/**
 * Waits until the key is something else than the client has, or the signal ends it; answers with the last state read. The watch begins
 * with the current state, so no change between the first read and the watch is missed; what it tells is only a hint to read again.
 */
export async function untilChanged(poll: LongPoll): Promise<Served<GetResult>> {
  const { kit, key, signal } = poll;
  let latest = poll.present;
  const stream = kit.service.watch({
    prefix: key,
    key,
    after: null,
    initial: true,
    wantPrevious: false,
    signal,
  });
  for await (const item of stream) {
    const mayHaveChanged =
      item.type === "change"
        ? item.event.revision !== latest.value.record?.modRevision
        : item.type !== "progress";
    if (mayHaveChanged && !signal.aborted) {
      latest = await poll.read();
      if (poll.hasChanged(latest.value)) {
        return latest;
      }
    }
  }
  return latest;
}
