import { assert } from "../assert.ts";
import type { ShardId } from "../types.ts";
import { hash32 } from "./hash.ts";
import { compileRules, matchingRule, routingKey } from "./routing.ts";
import type { CompiledRule, RoutingRule } from "./routing.ts";
import { circle } from "./tokens.ts";
import type { TokenOwner } from "./tokens.ts";

/** Where a key lives, and why. */
export interface KeyLocation {
  readonly shard: ShardId;
  /** The rule that decided, or null for the default. */
  readonly rule: RoutingRule | null;
  /** The bytes that were hashed, the hash, and the first token at or after it; null when a rule names the shard. */
  readonly hashed: {
    readonly bytes: Uint8Array;
    readonly hash: number;
    readonly token: number;
  } | null;
}

/**
 * The consistent-hash ring of one cluster map: key -> first token clockwise -> shard. Immutable; a new map makes a new ring. Two nodes
 * with equal maps agree on every key.
 */
export class Ring {
  readonly #tokens: Uint32Array;
  /** `#owners[i]` holds the arc that ends at `#tokens[i]`. */
  readonly #owners: readonly ShardId[];
  /**
   * The circle in as many equal parts as there are tokens, or a few more: `#starts[i]` is the index of the first token at or after the
   * beginning of part i. A hash is searched only among the tokens of its part, usually one or two.
   */
  readonly #starts: Uint32Array;
  /** `hash >>> #shift` is the part of a hash. */
  readonly #shift: number;
  readonly #rules: readonly CompiledRule[];

  /** `map` is a valid ClusterMap, or the part of one that decides where keys live. */
  constructor(map: {
    readonly shards: readonly TokenOwner[];
    readonly routing: readonly RoutingRule[];
  }) {
    const points = map.shards
      .flatMap((shard) => shard.tokens.map((token) => ({ token, owner: shard.id })))
      .sort((a, b) => a.token - b.token);
    assert(points.length > 0, "a ring needs a token");
    this.#tokens = Uint32Array.from(points, (point) => point.token);
    this.#owners = points.map((point) => point.owner);
    const bits = Math.max(1, Math.ceil(Math.log2(points.length)));
    this.#shift = 32 - bits;
    this.#starts = new Uint32Array(2 ** bits + 1);
    for (let part = 0, index = 0; part < this.#starts.length; part++) {
      while ((this.#tokens[index] ?? circle) < part * 2 ** this.#shift) {
        index++;
      }
      this.#starts[part] = index;
    }
    this.#rules = compileRules(map.routing);
  }

  /** The shard that holds `key`. */
  shardOf(key: Uint8Array): ShardId {
    const route = routingKey(key, this.#rules);
    if (route.type === "shard") {
      return route.shard;
    }
    return this.#ownerAt(this.#indexOf(hash32(key, 0, route.start, route.end)));
  }

  /** The shard that holds `key`, with the reasons: for people who ask. */
  locate(key: Uint8Array): KeyLocation {
    const rule = matchingRule(key, this.#rules) ?? null;
    const route = routingKey(key, this.#rules);
    if (route.type === "shard") {
      return { shard: route.shard, rule, hashed: null };
    }
    const hash = hash32(key, 0, route.start, route.end);
    const index = this.#indexOf(hash);
    const bytes = key.subarray(route.start, route.end);
    const token = this.#tokens[index] ?? 0;
    return { shard: this.#ownerAt(index), rule, hashed: { bytes, hash, token } };
  }

  /** The part of the circle that each shard owns; the parts add up to 1. Shards without tokens are missing. */
  shares(): ReadonlyMap<ShardId, number> {
    const shares = new Map<ShardId, number>();
    let previous = (this.#tokens.at(-1) ?? 0) - circle;
    for (const [index, token] of this.#tokens.entries()) {
      const owner = this.#ownerAt(index);
      shares.set(owner, (shares.get(owner) ?? 0) + (token - previous) / circle);
      previous = token;
    }
    return shares;
  }

  /** Index of the first token at or after `hash`, by binary search; after the last token the circle begins again. */
  #indexOf(hash: number): number {
    const tokens = this.#tokens;
    const part = hash >>> this.#shift;
    let low = this.#starts[part] ?? 0;
    let high = this.#starts[part + 1] ?? 0;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((tokens[middle] ?? 0) < hash) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low === tokens.length ? 0 : low;
  }

  #ownerAt(index: number): ShardId {
    const owner = this.#owners[index];
    assert(owner !== undefined, "every token has an owner");
    return owner;
  }
}
