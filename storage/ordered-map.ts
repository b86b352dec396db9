/**
 * Bytes to bytes in byte order, with frozen views that cost nothing until somebody writes: a list of sorted chunks, each copied on
 * the first write after a `freeze`. Enough for hundreds of thousands of keys.
 */
export class OrderedMap {
  /** Never empty; all chunks but a sole one hold at least one pair; keys ascend within and across chunks. */
  #chunks: Chunk[] = [{ keys: [], values: [], epoch: 0 }];
  #epoch = 0;
  #listEpoch = 0;

  get(key: Uint8Array): Uint8Array | undefined {
    return viewGet(this.#chunks, key);
  }

  set(key: Uint8Array, value: Uint8Array): void {
    const at = chunkOf(this.#chunks, key);
    const chunk = this.#writable(at);
    const slot = lowerBound(chunk.keys, key);
    const found = chunk.keys[slot];
    if (found !== undefined && Buffer.compare(found, key) === 0) {
      chunk.values[slot] = value;
      return;
    }
    chunk.keys.splice(slot, 0, key);
    chunk.values.splice(slot, 0, value);
    if (chunk.keys.length > chunkKeysMax) {
      const half = chunk.keys.length >>> 1;
      const right: Chunk = {
        keys: chunk.keys.splice(half),
        values: chunk.values.splice(half),
        epoch: this.#epoch,
      };
      this.#chunks.splice(at + 1, 0, right);
    }
  }

  delete(key: Uint8Array): void {
    const at = chunkOf(this.#chunks, key);
    const slot = lowerBound(this.#chunks[at]?.keys ?? [], key);
    const found = this.#chunks[at]?.keys[slot];
    if (found === undefined || Buffer.compare(found, key) !== 0) {
      return;
    }
    const chunk = this.#writable(at);
    chunk.keys.splice(slot, 1);
    chunk.values.splice(slot, 1);
    if (chunk.keys.length === 0 && this.#chunks.length > 1) {
      this.#chunks.splice(at, 1);
    }
  }

  /** What the map holds now, for ever. */
  freeze(): FrozenMap {
    this.#epoch++;
    return new FrozenMap(this.#chunks);
  }

  /** The chunk, copied first when a frozen view may hold it; likewise the list of chunks. */
  #writable(at: number): Chunk {
    if (this.#listEpoch !== this.#epoch) {
      this.#chunks = [...this.#chunks];
      this.#listEpoch = this.#epoch;
    }
    const chunk = this.#chunks[at];
    if (chunk === undefined) {
      throw new RangeError(`no chunk ${at}`);
    }
    if (chunk.epoch === this.#epoch) {
      return chunk;
    }
    const copy: Chunk = { keys: [...chunk.keys], values: [...chunk.values], epoch: this.#epoch };
    this.#chunks[at] = copy;
    return copy;
  }
}

/** An unchanging view of an OrderedMap. */
export class FrozenMap {
  readonly #chunks: readonly Chunk[];

  constructor(chunks: readonly Chunk[]) {
    this.#chunks = chunks;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return viewGet(this.#chunks, key);
  }

  /** Pairs with `gte <= key < lt`, ascending, or descending with `reverse`. */
  *range(
    gte: Uint8Array,
    lt: Uint8Array,
    reverse: boolean,
  ): Generator<readonly [Uint8Array, Uint8Array]> {
    const step = reverse ? -1 : 1;
    let at = chunkOf(this.#chunks, reverse ? lt : gte);
    let slot = lowerBound(this.#chunks[at]?.keys ?? [], reverse ? lt : gte) - (reverse ? 1 : 0);
    for (;;) {
      const key = this.#chunks[at]?.keys[slot];
      const value = this.#chunks[at]?.values[slot];
      if (key === undefined || value === undefined) {
        at += step;
        const next = this.#chunks[at];
        if (next === undefined) {
          return;
        }
        slot = reverse ? next.keys.length - 1 : 0;
        continue;
      }
      if (reverse ? Buffer.compare(key, gte) < 0 : Buffer.compare(key, lt) >= 0) {
        return;
      }
      yield [key, value];
      slot += step;
    }
  }
}

interface Chunk {
  readonly keys: Uint8Array[];
  readonly values: Uint8Array[];
  /** Freeze count at which it was made: equal to the map's own, it is nobody else's. */
  readonly epoch: number;
}

const chunkKeysMax = 512;

function viewGet(chunks: readonly Chunk[], key: Uint8Array): Uint8Array | undefined {
  const chunk = chunks[chunkOf(chunks, key)];
  if (chunk === undefined) {
    return undefined;
  }
  const slot = lowerBound(chunk.keys, key);
  const found = chunk.keys[slot];
  return found !== undefined && Buffer.compare(found, key) === 0 ? chunk.values[slot] : undefined;
}

/** The last chunk whose first key is not above `key`; the first chunk when there is none. */
function chunkOf(chunks: readonly Chunk[], key: Uint8Array): number {
  let low = 1;
  let high = chunks.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const first = chunks[middle]?.keys[0];
    if (first !== undefined && Buffer.compare(first, key) <= 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low - 1;
}

/** The first slot whose key is not below `key`. */
function lowerBound(keys: readonly Uint8Array[], key: Uint8Array): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const at = keys[middle];
    if (at !== undefined && Buffer.compare(at, key) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}
