import { LogIndex, type ShardId } from "../../cluster/types.ts";
import type { WatchItem, WatchPositions, WatchRequest } from "../../server/http/service.ts";
import { positionAt } from "../../server/watch-positions.ts";
import type { ChangeEvent } from "../../storage/commands.ts";
import type { KvStateMachine } from "../../storage/kv-state-machine.ts";

/** Told of the changes of every applied entry. */
export type ChangeListener = (
  shard: ShardId,
  index: number,
  events: readonly ChangeEvent[],
) => void;

interface Heard {
  readonly shard: ShardId;
  readonly index: number;
  readonly event: ChangeEvent;
}

const bufferedEventsMax = 200;

/** Watches state machines of this process. Listens before it returns, so that nothing is missed. */
export function watchMachines(
  machines: ReadonlyMap<ShardId, KvStateMachine>,
  listeners: Set<ChangeListener>,
  request: WatchRequest,
): AsyncGenerator<WatchItem> {
  const heard: Heard[] = [];
  let wake = (): void => {};
  const positions = new Map<ShardId, number>();
  const listener: ChangeListener = (shard, index, events) => {
    heard.push(...events.map((event) => ({ shard, index, event })));
    wake();
  };
  for (const [shard, machine] of machines) {
    positions.set(shard, machine.appliedIndex);
  }
  const past = request.after === null ? [] : pastOf(machines, request.after);
  listeners.add(listener);
  const end = (): void => {
    listeners.delete(listener);
    wake();
  };
  request.signal.addEventListener("abort", end, { once: true });
  if (request.signal.aborted) {
    end();
  }
  return run();

  async function* run(): AsyncGenerator<WatchItem> {
    try {
      if (past === null) {
        yield { type: "reset", positions: told(positions) };
      }
      if (past === null || request.initial) {
        yield* currentState(machines, request, positions);
        yield { type: "synced", positions: told(positions) };
      } else {
        request.after?.forEach(({ index }, shard) => positions.set(shard, index));
        heard.unshift(...past);
        yield { type: "progress", positions: asPositions(positions) };
      }
      while (!request.signal.aborted) {
        if (heard.length > bufferedEventsMax) {
          yield { type: "lagged", positions: told(positions) };
          return;
        }
        const next = heard.shift();
        if (next === undefined) {
          await new Promise<void>((resolve) => (wake = resolve));
          continue;
        }
        if (next.index < (positions.get(next.shard) ?? 0) || isPassed(next, positions, heard)) {
          continue;
        }
        if (wants(request, next.event)) {
          yield { type: "change", event: next.event, positions: told(positions) };
        }
      }
    } finally {
      end();
    }
  }
}

function told(positions: ReadonlyMap<ShardId, number>): WatchPositions {
  return new Map([...positions].map(([shard, index]) => [shard, { index, events: 0 }]));
}

/** Moves on; true when the state already held this change. */
function isPassed(next: Heard, positions: Map<ShardId, number>, rest: readonly Heard[]): boolean {
  const at = positions.get(next.shard) ?? 0;
  const isOld = next.index <= at;
  // The position counts once all changes of its entry were given.
  if (!isOld && rest[0]?.index !== next.index) {
    positions.set(next.shard, next.index);
  }
  return isOld;
}

function asPositions(indexes: ReadonlyMap<ShardId, number>): WatchPositions {
  return new Map([...indexes].map(([shard, index]) => [shard, positionAt(index)]));
}

function wants(request: WatchRequest, event: ChangeEvent): boolean {
  const key = Buffer.from(event.key);
  return request.key === null
    ? key.subarray(0, request.prefix.length).equals(request.prefix)
    : key.equals(request.key);
}

function pastOf(
  machines: ReadonlyMap<ShardId, KvStateMachine>,
  after: WatchPositions,
): Heard[] | null {
  const past: Heard[] = [];
  for (const [shard, machine] of machines) {
    const missed = machine.history.since(LogIndex(after.get(shard)?.index ?? machine.appliedIndex));
    if (missed === null) {
      return null;
    }
    for (const { index, events } of missed) {
      past.push(...events.map((event) => ({ shard, index, event })));
    }
  }
  return past;
}

async function* currentState(
  machines: ReadonlyMap<ShardId, KvStateMachine>,
  request: WatchRequest,
  positions: Map<ShardId, number>,
): AsyncGenerator<WatchItem> {
  for (const [shard, machine] of machines) {
    const result = await machine.query({
      type: "scan",
      start: request.prefix,
      end: null,
      limit: 10_000,
      bytesMax: 100_000_000,
      keysOnly: false,
    });
    positions.set(shard, result.appliedIndex);
    for (const { key, record } of result.type === "scan" ? result.items : []) {
      const revision = record.modRevision;
      const event: ChangeEvent = { kind: "put", key, record, previous: null, revision };
      if (wants(request, event)) {
        yield { type: "change", event, positions: told(positions) };
      }
    }
  }
}
