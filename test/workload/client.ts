import type { KvInput, KvOutput } from "../checkers/kv-model.ts";
import type { Prng } from "../sim/prng.ts";
import type { Clock, Doors, HeldLock, KvWrite, Pair } from "./door.ts";
import type { Ending, History } from "./history.ts";

/** What a client may be busy with. */
export type WorkKind = "register" | "counter" | "text" | "pair" | "lock" | "ttl" | "retry";

/** What clients do, and how often. */
export interface ClientScenario {
  readonly count: number;
  /** Mean pause between two operations. */
  readonly thinkMs: number;
  /** Keys of each kind. */
  readonly keys: number;
  readonly timeoutMs: number;
  /** Share of the kinds of work. */
  readonly weights: Readonly<Record<WorkKind, number>>;
  /** Whether reads by lease are made too: they count on clocks that drift little. */
  readonly usesLeases: boolean;
}

export interface ClientOptions {
  readonly name: string;
  readonly scenario: ClientScenario;
  readonly time: Clock;
  readonly random: Prng;
  readonly doors: Doors;
  readonly history: History;
  /** The name under which a place is used now: another one when its history has become long. */
  readonly nameOf?: (place: string) => string;
  readonly note: (what: string) => void;
}

/** Operations on one key, at most: the check of a history grows fast. */
const operationsPerKeyMax = 220;

/** One client: does one thing after the other, through a node at random each time, and writes down what it was told. */
export class Client {
  readonly #options: ClientOptions;
  /** Newest revision that this client has seen of a key: what it compares with. */
  readonly #seen = new Map<string, number>();
  #numbers = 0;
  #isStopped = false;
  #done: Promise<void> = Promise.resolve();

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  start(): void {
    this.#done = this.#work();
  }

  /** Resolves when the last operation has ended. */
  stop(): Promise<void> {
    this.#isStopped = true;
    return this.#done;
  }

  async #work(): Promise<void> {
    const { time, random, scenario, nameOf = (place: string) => place } = this.#options;
    const kinds = Object.entries(scenario.weights) as [WorkKind, number][];
    const bag = kinds.flatMap(([kind, weight]) => Array<WorkKind>(weight).fill(kind));
    while (!this.#isStopped) {
      await time.pause(random.next() * 2 * scenario.thinkMs);
      const kind = random.pick(bag);
      const place = `${kind}${random.between(1, scenario.keys)}`;
      await this.#do(kind, nameOf(place));
    }
  }

  #do(kind: WorkKind, place: string): Promise<unknown> {
    const { random } = this.#options;
    switch (kind) {
      case "register":
        return this.#register(place);
      case "counter":
        return random.chance(0.7)
          ? this.write(place, { type: "increment", by: random.between(1, 3) })
          : this.read(place);
      case "text":
        return random.chance(0.7)
          ? this.write(place, { type: "append", value: `<${this.#unique()}>` })
          : this.read(place);
      case "pair":
        return random.chance(0.6) ? this.#writePair(place) : this.readPair(place);
      case "lock":
        return this.#lock(place);
      case "ttl":
        return this.#mortal();
      case "retry":
        return this.#retried(place);
    }
  }

  #register(key: string): Promise<unknown> {
    const { random } = this.#options;
    const seen = this.#seen.get(key) ?? "absent";
    const value = this.#unique();
    const dice = random.next();
    if (dice < 0.35) {
      return this.read(key);
    }
    if (dice < 0.65) {
      return this.write(key, { type: "put", value, condition: null });
    }
    if (dice < 0.9) {
      return this.write(key, { type: "put", value, condition: seen });
    }
    return this.write(key, { type: "delete", condition: seen === "absent" ? null : seen });
  }

  /** Reads one key, linearizably. */
  async read(key: string): Promise<Ending<KvOutput>> {
    const { doors, random, scenario, history } = this.#options;
    const consistency = scenario.usesLeases && random.chance(0.3) ? "lease" : "linearizable";
    const call = history.tick();
    const ending = await doors.ask(false, async (door) => {
      const record = await door.read(key, consistency);
      return { type: "got", record } as const;
    });
    if (ending.type === "done" && ending.value.record !== null) {
      this.#seen.set(key, ending.value.record.revision);
    }
    return this.#ended(key, call, { type: "get" }, ending);
  }

  /** Writes one key. */
  async write(key: string, input: KvWrite): Promise<Ending<KvOutput>> {
    const { doors, history } = this.#options;
    if (history.of(key).length > operationsPerKeyMax) {
      return this.read(key);
    }
    const call = history.tick();
    const ending = await doors.ask(true, (door) => door.write(key, input, null));
    this.#learn(key, ending);
    return this.#ended(key, call, input, ending);
  }

  /** Increments, and does not give up: always under one idempotency key, through whichever node. */
  async #retried(key: string): Promise<void> {
    const { doors, history, time, random } = this.#options;
    const input = { type: "increment", by: 1 } as const;
    const idempotencyKey = this.#unique();
    const call = history.tick();
    let ending: Ending<KvOutput> = { type: "failed", reason: "not tried" };
    let isOpen = false;
    for (let attempt = 0; attempt < 6 && ending.type !== "done"; attempt++) {
      ending = await doors.ask(true, (door) => door.write(key, input, idempotencyKey));
      isOpen ||= ending.type === "unknown";
      if (ending.type === "done" && random.chance(0.3)) {
        // Once more, although it was answered: nothing may happen.
        await doors.ask(true, (door) => door.write(key, input, idempotencyKey));
      }
      await time.pause(random.next() * 50);
    }
    if (ending.type === "failed" && isOpen) {
      ending = { type: "unknown", reason: ending.reason };
    }
    this.#ended(key, call, input, ending);
  }

  /** Writes the same to two keys of one shard, in one transaction; on some conditions. */
  async #writePair(place: string): Promise<void> {
    const { doors, history, random } = this.#options;
    const key = `{${place}}`;
    const value = this.#unique();
    const seen = random.chance(0.5) ? (this.#seen.get(key) ?? 0) : null;
    const condition = seen === 0 ? "absent" : seen;
    const call = history.tick();
    const ending = await doors.ask(true, (door) => door.writePair(pairOf(place), value, seen));
    this.#learn(key, ending);
    this.#ended(key, call, { type: "put", value, condition }, ending);
  }

  /** Reads both keys of a pair at once: they are always alike. */
  async readPair(place: string): Promise<void> {
    const { doors, history } = this.#options;
    const key = `{${place}}`;
    const call = history.tick();
    const ending = await doors.ask(false, async (door) => {
      const record = await door.readPair(pairOf(place));
      return { type: "got", record } as const;
    });
    if (ending.type === "done" && ending.value.record !== null) {
      this.#seen.set(key, ending.value.record.revision);
    }
    this.#ended(key, call, { type: "get" }, ending);
  }

  /** Takes a lock, writes under it for a while, sometimes dawdles beyond its time, lets go. */
  async #lock(place: string): Promise<void> {
    const { doors, history, random, time } = this.#options;
    const lock = `{${place}}lock`;
    const owner = this.#unique();
    const ttlMs = random.pick([200, 1000, 4000]);
    let token: number | null = null;
    for (let attempt = 0; attempt < 3 && token === null; attempt++) {
      const call = history.tick();
      const ending = await doors.ask(true, (door) =>
        door.acquire(lock, owner, ttlMs, random.chance(0.5)),
      );
      if (ending.type === "done" && ending.value !== null) {
        token = ending.value;
        history.grants.push({ lock, owner, token, call, return: history.tick() });
      }
      await time.pause(random.next() * 100);
    }
    if (token === null) {
      return;
    }
    const held = { lock, owner, token };
    for (let writes = random.between(1, 4); writes > 0 && !this.#isStopped; writes--) {
      await this.#fencedWrite(`{${place}}data`, held);
      await time.pause(random.next() * (random.chance(0.2) ? 2 * ttlMs : 20));
      if (random.chance(0.3)) {
        await doors.ask(true, (door) => door.keep(held, ttlMs));
      }
    }
    if (random.chance(0.7)) {
      await doors.ask(true, (door) => door.release(held));
    }
  }

  async #fencedWrite(key: string, held: HeldLock): Promise<void> {
    const { doors, history } = this.#options;
    const value = this.#unique();
    const ending = await doors.ask(true, (door) => door.writeFenced(key, value, held));
    history.counts[ending.type] += 1;
    if (ending.type === "done" && ending.value !== null) {
      history.fencedWrites.push({ lock: held.lock, token: held.token, revision: ending.value });
    }
  }

  /** Writes a key that dies, and looks at it until it is gone. */
  async #mortal(): Promise<void> {
    const { doors, history, random, time } = this.#options;
    const key = `mortal-${this.#unique()}`;
    const ttlMs = random.pick([150, 600, 2000]);
    const writtenAfterMs = time.now;
    const ending = await doors.ask(true, (door) => door.writeMortal(key, ttlMs));
    history.counts[ending.type] += 1;
    if (ending.type !== "done") {
      return;
    }
    const answeredAtMs = time.now;
    const mortal = { key, ttlMs, writtenAfterMs, answeredAtMs, looks: [] };
    history.mortals.push(mortal);
    void this.#lookAfter(mortal);
  }

  async #lookAfter(mortal: History["mortals"][number]): Promise<void> {
    const { doors, random, time } = this.#options;
    for (let looks = 0; looks < 12 && !this.#isStopped; looks++) {
      const callMs = time.now;
      const ending = await doors.ask(false, (door) => door.read(mortal.key, "linearizable"));
      if (ending.type === "done") {
        const isThere = ending.value !== null;
        mortal.looks.push({ callMs, returnMs: time.now, isThere });
        if (!isThere) {
          return;
        }
      }
      await time.pause((random.next() * mortal.ttlMs) / 3);
    }
  }

  #learn(key: string, ending: Ending<KvOutput>): void {
    if (ending.type !== "done") {
      return;
    }
    const { value } = ending;
    if (value.type === "written") {
      this.#seen.set(key, value.revision);
    } else if (value.type === "condition_failed" && value.current !== null) {
      this.#seen.set(key, value.current.revision);
    } else {
      this.#seen.delete(key);
    }
  }

  #ended(key: string, call: number, input: KvInput, ending: Ending<KvOutput>): Ending<KvOutput> {
    const { history, note, name } = this.#options;
    history.ended(key, call, input, ending);
    note(`${name} ${key} ${JSON.stringify(input)} ${JSON.stringify(ending)}`);
    return ending;
  }

  #unique(): string {
    this.#numbers += 1;
    return `${this.#options.name}.${this.#numbers}`;
  }
}

/** The keys of a pair, by the name under which its history is kept. */
export function pairOf(place: string): Pair {
  return { first: `{${place}}a`, second: `{${place}}b` };
}
