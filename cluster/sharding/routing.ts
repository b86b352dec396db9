import type { ShardId } from "../types.ts";

/**
 * How the keys under a prefix find their shard. Without a rule a key routes by the hash of all its bytes. The longest matching prefix
 * decides. Prefixes are text (UTF-8 on the wire), compared byte by byte.
 */
export type RoutingRule =
  /** By the whole key: an exception under a wider rule. */
  | { readonly type: "hash"; readonly prefix: string }
  /** By the first `count` path segments, so that what lies below them shares a shard. A slash at the very start counts for nothing. */
  | { readonly type: "segments"; readonly prefix: string; readonly count: number }
  /** To one shard: data that must share one order. A `{tag}` does not change that. */
  | { readonly type: "shard"; readonly prefix: string; readonly shard: ShardId };

/** A rule with its prefix as bytes. Made by `compileRules`. */
export interface CompiledRule {
  readonly rule: RoutingRule;
  readonly prefix: Uint8Array;
}

/** What decides a key's shard: some of its bytes, `key[start, end)`, or a rule that names the shard. */
export type RoutingKey =
  | { readonly type: "bytes"; readonly start: number; readonly end: number }
  | { readonly type: "shard"; readonly shard: ShardId };

const slash = 0x2f;
const braceOpen = 0x7b;
const braceClose = 0x7d;

/** The rules in the order in which `routingKey` tries them: longest prefix first. */
export function compileRules(rules: readonly RoutingRule[]): readonly CompiledRule[] {
  const encoder = new TextEncoder();
  return rules
    .map((rule) => ({ rule, prefix: encoder.encode(rule.prefix) }))
    .sort((a, b) => b.prefix.length - a.prefix.length);
}

/** Applies rules and `{tag}`: which bytes of the key are hashed, or which shard it is. */
export function routingKey(key: Uint8Array, rules: readonly CompiledRule[]): RoutingKey {
  const rule = matchingRule(key, rules);
  if (rule?.type === "shard") {
    return { type: "shard", shard: rule.shard };
  }
  const open = indexOf(key, braceOpen, 0);
  if (open < key.length) {
    const close = indexOf(key, braceClose, open + 1);
    if (close < key.length && close > open + 1) {
      return { type: "bytes", start: open + 1, end: close };
    }
  }
  const end = rule?.type === "segments" ? segmentsEnd(key, rule.count) : key.length;
  return { type: "bytes", start: 0, end };
}

/** The rule that decides for a key, or undefined. */
export function matchingRule(
  key: Uint8Array,
  rules: readonly CompiledRule[],
): RoutingRule | undefined {
  for (const { rule, prefix } of rules) {
    if (startsWith(key, prefix)) {
      return rule;
    }
  }
  return undefined;
}

function startsWith(key: Uint8Array, prefix: Uint8Array): boolean {
  if (prefix.length > key.length) {
    return false;
  }
  for (let i = 0; i < prefix.length; i++) {
    if (key[i] !== prefix[i]) {
      return false;
    }
  }
  return true;
}

/** Where the first `count` segments end; the slash after them is not part of them. */
function segmentsEnd(key: Uint8Array, count: number): number {
  let end = 0;
  for (let segment = 0; segment < count && end < key.length; segment++) {
    end = indexOf(key, slash, end + 1);
  }
  return end;
}

/** Position of `wanted` at or after `from`, or the key's length. A plain loop: faster than the built-in for keys of usual size. */
function indexOf(key: Uint8Array, wanted: number, from: number): number {
  let at = from;
  while (at < key.length && key[at] !== wanted) {
    at++;
  }
  return Math.min(at, key.length);
}
