/** What travels between two nodes of the bare pipeline. */
interface Item {
  readonly kind: "forward" | "entry" | "held" | "answer";
  /** Given by the node that asks for the answer. */
  readonly number: number;
  readonly key: Buffer;
  readonly value: Buffer;
}

/** An entry of another leader. */
interface Followed {
  readonly from: number;
  readonly item: Item;
}

/** What the pipeline needs around it. Nodes are 0, 1 and 2. */
export interface FloorPipelineOptions {
  readonly node: number;
  /** Sends one frame; false when that node is not connected yet. */
  readonly send: (to: number, frame: Buffer) => boolean;
  /** Writes and syncs one batch. */
  readonly write: (pairs: readonly Pick<Item, "key" | "value">[]) => Promise<void>;
}

const kinds: readonly Item["kind"][] = ["forward", "entry", "held", "answer"];
const nodes = [0, 1, 2];
const headBytes = 11;
const nothing = Buffer.alloc(0);
/** As many looks at what comes in as a turn of Flotilla waits for. */
const looksMax = 10;

/**
 * What is left of a write when everything is taken away that makes a store of it: a client's node forwards it to one of three leaders by
 * its key; the leader writes it with all that came in meanwhile in one synced batch, sends it to both others in one frame per turn, and
 * answers when one of them has synced it, too. No log, no terms, no elections, no old record, no retries, no metrics: not a
 * store, but the bound of what a store on the same libraries can do on the same machine.
 */
export class FloorPipeline {
  readonly #options: FloorPipelineOptions;
  readonly #outbox = new Map<number, Item[]>(nodes.map((node) => [node, []]));
  /** Own writes that are held by too few nodes. */
  readonly #pending = new Map<number, { holders: number; readonly done: () => void }>();
  readonly #forwarded = new Map<number, () => void>();
  readonly #led: Item[] = [];
  readonly #followed: Followed[] = [];
  #number = 0;
  #isScheduled = false;
  #isWriting = false;
  #hasNews = false;
  #looksLeft = 0;

  constructor(options: FloorPipelineOptions) {
    this.#options = options;
  }

  /** Calls `done` when two of three nodes have synced the value. */
  put(key: Buffer, value: Buffer, done: () => void): void {
    const leader = hashOf(key) % nodes.length;
    if (leader === this.#options.node) {
      this.#lead(key, value, done);
      return;
    }
    const number = this.#next();
    this.#forwarded.set(number, done);
    this.#post(leader, { kind: "forward", number, key, value });
  }

  /** One frame of another node. */
  onFrame(from: number, frame: Buffer): void {
    for (const item of decode(frame)) {
      this.#take(from, item);
    }
    this.#schedule();
  }

  #take(from: number, item: Item): void {
    const { kind, number, key, value } = item;
    switch (kind) {
      case "forward":
        this.#lead(key, value, () => this.#post(from, bare("answer", number)));
        return;
      case "entry":
        this.#followed.push({ from, item });
        return;
      case "held":
        this.#held(number);
        return;
      case "answer":
        this.#forwarded.get(number)?.();
        this.#forwarded.delete(number);
    }
  }

  #lead(key: Buffer, value: Buffer, done: () => void): void {
    const number = this.#next();
    this.#pending.set(number, { holders: 0, done });
    this.#led.push({ kind: "entry", number, key, value });
    this.#schedule();
  }

  #held(number: number): void {
    const pending = this.#pending.get(number);
    if (pending === undefined) {
      return;
    }
    pending.holders += 1;
    if (pending.holders === 2) {
      this.#pending.delete(number);
      pending.done();
    }
  }

  #next(): number {
    this.#number += 1;
    return this.#number;
  }

  #post(to: number, item: Item): void {
    this.#outbox.get(to)?.push(item);
    this.#schedule();
  }

  #schedule(): void {
    this.#hasNews = true;
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      this.#looksLeft = looksMax;
      this.#look();
    }
  }

  #look(): void {
    setImmediate(() => {
      if (this.#hasNews && this.#looksLeft > 0) {
        this.#hasNews = false;
        this.#looksLeft -= 1;
        this.#look();
        return;
      }
      this.#isScheduled = false;
      this.#turn();
    });
  }

  #turn(): void {
    const mayWrite = !this.#isWriting && this.#led.length + this.#followed.length > 0;
    const led = mayWrite ? this.#led.splice(0) : [];
    for (const node of nodes) {
      if (node !== this.#options.node) {
        this.#outbox.get(node)?.push(...led);
      }
    }
    this.#flush();
    if (mayWrite) {
      this.#write(led, this.#followed.splice(0)).catch((error: unknown) => {
        console.error(error);
        process.exit(1);
      });
    }
  }

  async #write(led: readonly Item[], followed: readonly Followed[]): Promise<void> {
    this.#isWriting = true;
    await this.#options.write([...led, ...followed.map(({ item }) => item)]);
    this.#isWriting = false;
    led.forEach(({ number }) => this.#held(number));
    followed.forEach(({ from, item }) => this.#post(from, bare("held", item.number)));
    this.#schedule();
  }

  #flush(): void {
    for (const [to, items] of this.#outbox) {
      if (items.length > 0 && this.#options.send(to, encode(items))) {
        items.length = 0;
      }
    }
  }
}

function bare(kind: "held" | "answer", number: number): Item {
  return { kind, number, key: nothing, value: nothing };
}

/** Frames are items in a row: kind u8, number u32, length of key u16, of value u32, key, value. */
function encode(items: readonly Item[]): Buffer {
  const size = items.reduce(
    (sum, { key, value }) => sum + headBytes + key.length + value.length,
    0,
  );
  const frame = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { kind, number, key, value } of items) {
    frame.writeUInt8(kinds.indexOf(kind), at);
    frame.writeUInt32LE(number, at + 1);
    frame.writeUInt16LE(key.length, at + 5);
    frame.writeUInt32LE(value.length, at + 7);
    frame.set(key, at + headBytes);
    frame.set(value, at + headBytes + key.length);
    at += headBytes + key.length + value.length;
  }
  return frame;
}

function decode(frame: Buffer): Item[] {
  const items: Item[] = [];
  for (let at = 0; at < frame.length;) {
    const valueAt = at + headBytes + frame.readUInt16LE(at + 5);
    const end = valueAt + frame.readUInt32LE(at + 7);
    items.push({
      kind: kinds[frame.readUInt8(at)] ?? "answer",
      number: frame.readUInt32LE(at + 1),
      key: frame.subarray(at + headBytes, valueAt),
      value: frame.subarray(valueAt, end),
    });
    at = end;
  }
  return items;
}

function hashOf(key: Buffer): number {
  return key.reduce((hash, byte) => (Math.imul(hash, 31) + byte) >>> 0, 0);
}
