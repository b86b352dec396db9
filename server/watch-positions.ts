import type { ShardId } from "../cluster/types.ts";
import { ShardId as makeShardId } from "../cluster/types.ts";
import type { WatchPosition, WatchPositions } from "./http/service.ts";

/** Before the first entry of a log. */
export const firstPosition: WatchPosition = { index: 0, events: 0 };

/** Everything that the entries up to `index` changed. */
export function positionAt(index: number): WatchPosition {
  return { index, events: 0 };
}

/** Negative, zero or positive as `a` is before, at or after `b`. */
export function comparePositions(a: WatchPosition, b: WatchPosition): number {
  return a.index - b.index || a.events - b.events;
}

/** The entry that must be applied before changes after this position can be told from changes before it. */
export function indexNeeded({ index, events }: WatchPosition): number {
  return events === 0 ? index : index + 1;
}

const mark = "v1";

/**
 * Positions as text for clients, who are to treat it as opaque: `v1~shard.index` or `v1~shard.index-events`, shards ascending. Only
 * characters that neither a header, nor an SSE field, nor a query parameter needs to escape. No positions at all are `v1`: to resume after
 * that means to be told the current state anew.
 */
export function encodePositions(positions: WatchPositions): string {
  let text = mark;
  for (const [shard, { index, events }] of [...positions].sort(([a], [b]) => a - b)) {
    text += events === 0 ? `~${shard}.${index}` : `~${shard}.${index}-${events}`;
  }
  return text;
}

/** Null when the text is not what `encodePositions` makes. */
export function decodePositions(text: string): WatchPositions | null {
  const [first, ...parts] = text.split("~");
  if (first !== mark) {
    return null;
  }
  const positions = new Map<ShardId, WatchPosition>();
  let last = -1;
  for (const part of parts) {
    const match = /^(\d{1,10})\.(\d{1,16})(?:-(\d{1,9}))?$/.exec(part);
    const [shard, index, events] = [match?.[1], match?.[2], match?.[3] ?? 0].map(Number);
    if (match === null || shard === undefined || index === undefined || events === undefined) {
      return null;
    }
    if (shard <= last || shard >= 2 ** 31 || !Number.isSafeInteger(index)) {
      return null;
    }
    last = shard;
    positions.set(makeShardId(shard), { index, events });
  }
  return positions;
}
