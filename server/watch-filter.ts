import { successor } from "../storage/keys.ts";
import type { WatchRequest } from "./http/service.ts";

/** Which keys a watch is about. */
export type WatchFilter =
  | { readonly type: "key"; readonly key: Uint8Array }
  | { readonly type: "prefix"; readonly prefix: Uint8Array };

/** The filter that a watch request asks for. */
export function filterOf({ key, prefix }: Pick<WatchRequest, "key" | "prefix">): WatchFilter {
  return key === null ? { type: "prefix", prefix } : { type: "key", key };
}

/** Whether the watcher wants to hear of this key. */
export function matches(filter: WatchFilter, key: Uint8Array): boolean {
  return filter.type === "key"
    ? filter.key.length === key.length && startsWith(key, filter.key)
    : startsWith(key, filter.prefix);
}

/** The keys that match: `start <= key < end`; `end` null: to the last. */
export function rangeOf(filter: WatchFilter): { start: Uint8Array; end: Uint8Array | null } {
  if (filter.type === "key") {
    return { start: filter.key, end: keyAfter(filter.key) };
  }
  const { prefix } = filter;
  const end = prefix.every((byte) => byte === 0xff) ? null : successor(prefix);
  return { start: prefix, end };
}

/** The smallest key above `key`. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

function startsWith(key: Uint8Array, prefix: Uint8Array): boolean {
  if (key.length < prefix.length) {
    return false;
  }
  for (let i = 0; i < prefix.length; i++) {
    if (key[i] !== prefix[i]) {
      return false;
    }
  }
  return true;
}
