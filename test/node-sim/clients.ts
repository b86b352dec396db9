import type { Revision } from "../../cluster/types.ts";
import type { PutCommand, TransactionCommand } from "../../storage/commands.ts";
import type { KvInput, KvOutput } from "../checkers/kv-model.ts";
import type { Prng } from "../sim/prng.ts";
import type { Asking } from "./asking.ts";
import type { Ending, History } from "./history.ts";
import { bytes, commandOf, execute, outputOf, read, shown } from "./operations.ts";
import type { ClientScenario, WorkKind } from "./scenario.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface ClientOptions {
  readonly name: string;
  readonly scenario: ClientScenario;
  readonly time: VirtualTime;
  readonly random: Prng;
  readonly asking: Asking;
  readonly history: History;
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
    const { time, random, scenario } = this.#options;
    const kinds = Object.entries(scenario.weights) as [WorkKind, number][];
    const bag = kinds.flatMap(([kind, weight]) => Array<WorkKind>(weight).fill(kind));
    while (!this.#isStopped) {
      await time.pause(random.next() * 2 * scenario.thinkMs);
      const kind = random.pick(bag);
      const place = `${kind}${random.between(1, scenario.keys)}`;
      await this.#do(kind, place);
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
    const { asking, random, scenario, history } = this.#options;
    const consistency = scenario.usesLeases && random.chance(0.3) ? "lease" : "linearizable";
    const call = history.tick();
    const ending = await asking.ask(asking.pickMachine(), false, async (node, context) => {
      const record = await read(node, key, consistency, context);
      return { type: "got", record } as const;
    });
    if (ending.type === "done" && ending.value.record !== null) {
      this.#seen.set(key, ending.value.record.revision);
    }
    return this.#ended(key, call, { type: "get" }, ending);
  }

  /** Writes one key. */
  async write(key: string, input: Exclude<KvInput, { type: "get" }>): Promise<Ending<KvOutput>> {
    const { asking, history } = this.#options;
    if (history.of(key).length > operationsPerKeyMax) {
      return this.read(key);
    }
    const call = history.tick();
    const ending = await asking.ask(asking.pickMachine(), true, async (node, context) =>
      outputOf(await execute(node, commandOf(key, input), context)),
    );
    this.#learn(key, ending);
    return this.#ended(key, call, input, ending);
  }

  /** Increments, and does not give up: always under one idempotency key, through whichever node. */
  async #retried(key: string): Promise<void> {
    const { asking, history, time, random } = this.#options;
    const input = { type: "increment", by: 1 } as const;
    const idempotency = { key: this.#unique(), fingerprint: "increment" };
    const call = history.tick();
    let ending: Ending<KvOutput> = { type: "failed", reason: "not tried" };
    let isOpen = false;
    for (let attempt = 0; attempt < 6 && ending.type !== "done"; attempt++) {
      ending = await asking.ask(asking.pickMachine(), true, async (node, context) =>
        outputOf(await execute(node, commandOf(key, input), context, idempotency)),
      );
      isOpen ||= ending.type === "unknown";
      if (ending.type === "done" && random.chance(0.3)) {
        // Once more, although it was answered: nothing may happen.
        await asking.ask(asking.pickMachine(), true, (node, context) =>
          execute(node, commandOf(key, input), context, idempotency),
        );
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
    const { asking, history, random } = this.#options;
    const key = `{${place}}`;
    const value = this.#unique();
    const seen = random.chance(0.5) ? (this.#seen.get(key) ?? 0) : null;
    const command = pairCommand(place, value, seen);
    const condition = seen === 0 ? "absent" : seen;
    const call = history.tick();
    const ending = await asking.ask(asking.pickMachine(), true, async (node, context) => {
      const result = await execute(node, command, context);
      if (result.type !== "transaction") {
        throw new Error(`a transaction was answered with ${result.type}`);
      }
      const [first, second] = result.results;
      return pairOutput(result.succeeded, result.revision, first, second);
    });
    this.#learn(key, ending);
    this.#ended(key, call, { type: "put", value, condition }, ending);
  }

  /** Reads both keys of a pair at once: they are always alike. */
  async readPair(place: string): Promise<void> {
    const { asking, history } = this.#options;
    const key = `{${place}}`;
    const call = history.tick();
    const ending = await asking.ask(asking.pickMachine(), false, async (node, context) => {
      const keys = pairKeys(place).map(bytes);
      const query = { type: "get_many", keys } as const;
      const { value } = await node.router.query(
        bytes(key),
        query,
        { type: "linearizable" },
        context,
      );
      const [first = null, second = null] = value.type === "get_many" ? value.records : [];
      return { type: "got", record: same(shown(first), shown(second)) } as const;
    });
    if (ending.type === "done" && ending.value.record !== null) {
      this.#seen.set(key, ending.value.record.revision);
    }
    this.#ended(key, call, { type: "get" }, ending);
  }

  /** Takes a lock, writes under it for a while, sometimes dawdles beyond its time, lets go. */
  async #lock(place: string): Promise<void> {
    const { asking, history, random, time } = this.#options;
    const lock = `{${place}}lock`;
    const owner = this.#unique();
    const ttlMs = random.pick([200, 1000, 4000]);
    let token: Revision | null = null;
    for (let attempt = 0; attempt < 3 && token === null; attempt++) {
      const call = history.tick();
      const ending = await asking.ask(asking.pickMachine(), true, (node, context) =>
        execute(
          node,
          {
            type: "lock_acquire",
            lock: bytes(lock),
            owner,
            value: bytes("v"),
            ttlMs,
            wait: random.chance(0.5),
          },
          context,
        ),
      );
      if (ending.type === "done" && ending.value.type === "lock_held") {
        token = ending.value.token;
        history.grants.push({ lock, owner, token, call, return: history.tick() });
      }
      await time.pause(random.next() * 100);
    }
    if (token === null) {
      return;
    }
    for (let writes = random.between(1, 4); writes > 0; writes--) {
      await this.#fencedWrite(lock, `{${place}}data`, token);
      await time.pause(random.next() * (random.chance(0.2) ? 2 * ttlMs : 20));
      if (random.chance(0.3)) {
        const keep = { lock: bytes(lock), owner, token, ttlMs } as const;
        await asking.ask(asking.pickMachine(), true, (node, context) =>
          execute(node, { ...keep, type: "lock_keep_alive" }, context),
        );
      }
    }
    if (random.chance(0.7)) {
      const release = { lock: bytes(lock), owner, token } as const;
      await asking.ask(asking.pickMachine(), true, (node, context) =>
        execute(node, { ...release, type: "lock_release" }, context),
      );
    }
  }

  async #fencedWrite(lock: string, key: string, token: Revision): Promise<void> {
    const { asking, history } = this.#options;
    const plain = putOf(key, this.#unique(), null);
    const command: PutCommand = { ...plain, fence: { lock: bytes(lock), token } };
    const ending = await asking.ask(asking.pickMachine(), true, (node, context) =>
      execute(node, command, context),
    );
    history.counts[ending.type] += 1;
    if (ending.type === "done" && ending.value.type === "put") {
      history.fencedWrites.push({ lock, token, revision: ending.value.revision });
    }
  }

  /** Writes a key that dies, and looks at it until it is gone. */
  async #mortal(): Promise<void> {
    const { asking, history, random, time } = this.#options;
    const key = `mortal-${this.#unique()}`;
    const ttlMs = random.pick([150, 600, 2000]);
    const writtenAfterMs = time.now;
    const ending = await asking.ask(asking.pickMachine(), true, (node, context) =>
      execute(node, { ...putOf(key, "v", null), ttlMs }, context),
    );
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
    const { asking, random, time } = this.#options;
    for (let looks = 0; looks < 12 && !this.#isStopped; looks++) {
      const callMs = time.now;
      const ending = await asking.ask(asking.pickMachine(), false, (node, context) =>
        read(node, mortal.key, "linearizable", context),
      );
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

function putOf(key: string, value: string, condition: null): PutCommand {
  return {
    type: "put",
    key: bytes(key),
    value: bytes(value),
    contentType: "text/plain",
    ttlMs: null,
    condition,
    fence: null,
    wantPrevious: false,
  };
}

function pairKeys(place: string): readonly [string, string] {
  return [`{${place}}a`, `{${place}}b`];
}

/** @param seen null: in any case; 0: when there is nothing; else when the pair has this revision */
function pairCommand(place: string, value: string, seen: number | null): TransactionCommand {
  const [a, b] = pairKeys(place);
  return {
    type: "transaction",
    compares:
      seen === null
        ? []
        : [{ key: bytes(a), target: "mod_revision", operator: "equal", operand: seen }],
    success: [putOf(a, value, null), putOf(b, value, null)],
    failure: [
      { type: "get", key: bytes(a) },
      { type: "get", key: bytes(b) },
    ],
  };
}

type PairResult = Extract<
  Awaited<ReturnType<typeof execute>>,
  { type: "transaction" }
>["results"][number];

function pairOutput(
  succeeded: boolean,
  revision: number,
  first: PairResult | undefined,
  second: PairResult | undefined,
): KvOutput {
  if (first?.type === "put" && second?.type === "put" && succeeded) {
    if (first.version !== second.version) {
      throw new Error(`a pair has versions ${first.version} and ${second.version}`);
    }
    const { created, version } = first;
    return { type: "written", created, revision, version, value: null };
  }
  if (first?.type === "get" && second?.type === "get" && !succeeded) {
    return { type: "condition_failed", current: same(shown(first.record), shown(second.record)) };
  }
  throw new Error("a transaction was answered with the results of another");
}

/** Both halves of a pair; throws when they differ. */
function same<T>(first: T, second: T): T {
  const [a, b] = [JSON.stringify(first), JSON.stringify(second)];
  if (a !== b) {
    throw new Error(`a pair was torn: ${a} and ${b}`);
  }
  return first;
}
