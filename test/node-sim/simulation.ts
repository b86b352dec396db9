import type { Finding } from "../../cluster/multiraft/state-comparison.ts";
import { type NodeId, NodeId as makeNodeId, type ShardId } from "../../cluster/types.ts";
import { defaultConfig } from "../../server/config.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { kvModel } from "../checkers/kv-model.ts";
import { checkLinearizable } from "../checkers/linearizability.ts";
import { checkLocks } from "../checkers/locks.ts";
import { checkMortals } from "../checkers/ttl.ts";
import { checkWatches } from "../checkers/watches.ts";
import { Prng } from "../sim/prng.ts";
import { Client } from "../workload/client.ts";
import { History } from "../workload/history.ts";
import { Asking } from "./asking.ts";
import { Disk } from "./disk.ts";
import { Violation } from "./failure.ts";
import { Fillers } from "./fillers.ts";
import { HeldReads } from "./held-reads.ts";
import { Machine } from "./machine.ts";
import { Nemesis } from "./nemesis.ts";
import { Network } from "./network.ts";
import { Oracle } from "./oracle.ts";
import type { Scenario } from "./scenario.ts";
import { SimulatedDoors } from "./simulated-door.ts";
import { Trace } from "./trace.ts";
import { VirtualTime } from "./virtual-time.ts";
import { watchedPrefixes, Watcher } from "./watcher.ts";

/** How a run ended. */
export interface Report {
  readonly scenario: Scenario;
  /** Null: every promise was kept. */
  readonly failure: Violation | null;
  /** Equal for equal runs. */
  readonly traceHash: string;
  /** The last events, oldest first. */
  readonly tail: readonly string[];
  readonly events: number;
  readonly simulatedMs: number;
  readonly operations: History["counts"];
  readonly faults: ReadonlyMap<string, number>;
  /** Keys whose history was too hard to decide. */
  readonly undecided: number;
  /** Changes that watchers saw. */
  readonly watched: number;
  /** Digests that nodes told each other. */
  readonly digests: number;
  /** Replicas that were made to differ, and how often one was found. */
  readonly odd: { readonly made: number; readonly found: number };
}

/** After healing, every shard must take a write within this. */
const livenessMs = 10_000;
const lookEveryMs = 25;
const tailEvents = 60;

/** One cluster with its clients, from its founding until everything it promised has been checked. */
export class Simulation {
  readonly #scenario: Scenario;
  readonly #time = new VirtualTime();
  readonly #trace: Trace;
  readonly #oracle = new Oracle();
  readonly #history = new History();
  readonly #machines: readonly Machine[];
  readonly #network: Network;
  readonly #asking: Asking;
  readonly #nemesis: Nemesis;
  readonly #clients: readonly Client[];
  readonly #watchers: readonly Watcher[];
  /** Null where nobody reads by lease. */
  readonly #heldReads: HeldReads | null;
  /** Null where clients are enough. */
  readonly #fillers: Fillers | null;
  #failure: Violation | null = null;
  #undecided = 0;

  /** @param onLine is told of every event as it happens */
  constructor(scenario: Scenario, onLine: (line: string) => void = () => {}) {
    this.#scenario = scenario;
    this.#trace = new Trace(tailEvents, onLine);
    const random = new Prng(scenario.seed ^ 0x5eed);
    const time = this.#time;
    this.#network = new Network({
      scenario: scenario.network,
      time,
      random: random.fork(),
      arrive: (at, run) => this.#machine(at)?.arrive(run),
    });
    const ids = Array.from({ length: scenario.nodes }, (_, at) => makeNodeId(`n${at + 1}`));
    const addresses = new Map(ids.map((id) => [id, `${id}:7080`]));
    this.#machines = ids.map((id) => this.#makeMachine(id, addresses, random.fork()));
    this.#asking = new Asking({
      time,
      random: random.fork(),
      machines: this.#machines,
      timeoutMs: scenario.clients.timeoutMs,
      onUnexpected: (error) => this.#fail("typed-errors", error),
    });
    this.#nemesis = new Nemesis({
      scenario,
      time,
      random: random.fork(),
      machines: this.#machines,
      network: this.#network,
      asking: this.#asking,
      note: (what) => this.#note(what),
      onDiverged: (node, shard) => {
        this.#note(`${node} goes wrong in shard ${shard}`);
        this.#oracle.diverged(node, shard);
      },
      onError: (error) => this.#fail("no-surprise", error),
    });
    this.#clients = Array.from({ length: scenario.clients.count }, (_, at) => {
      return new Client({
        name: `c${at + 1}`,
        scenario: scenario.clients,
        time,
        random: random.fork(),
        doors: new SimulatedDoors(this.#asking),
        history: this.#history,
        note: (what) => this.#note(what),
      });
    });
    this.#watchers = this.#makeWatchers(random);
    const { keys, usesLeases } = scenario.clients;
    this.#heldReads = !usesLeases
      ? null
      : new HeldReads({
          keys: Array.from({ length: keys }, (_, at) => `register${at + 1}`),
          time,
          random: random.fork(),
          doors: new SimulatedDoors(this.#asking),
          history: this.#history,
        });
    const doors = new SimulatedDoors(this.#asking);
    this.#fillers =
      scenario.weights.strand === 0 ? null : new Fillers({ time, random: random.fork(), doors });
  }

  #makeWatchers(random: Prng): readonly Watcher[] {
    return Array.from({ length: this.#scenario.watchers }, (_, at) => {
      const draw = random.fork();
      const prefix = draw.pick(watchedPrefixes);
      return new Watcher({
        name: `w${at + 1}`,
        prefix,
        isExact: /\d$/.test(prefix),
        time: this.#time,
        random: draw,
        machines: this.#machines,
        note: (what) => this.#note(what),
      });
    });
  }

  /** Changes that watchers saw: a simulation in which they see none shows nothing about them. */
  get #watchedCount(): number {
    return this.#watchers.flatMap((watcher) => watcher.spans.flatMap(({ seen }) => seen)).length;
  }

  /** Lives through it all. Never rejects for what the cluster did wrong: the report tells. */
  async run(): Promise<Report> {
    const onRejection = (error: unknown): void => this.#fail("no-unhandled-rejection", error);
    process.on("unhandledRejection", onRejection);
    try {
      await this.#live();
    } catch (error) {
      this.#fail("no-surprise", error);
    } finally {
      await new Promise((resolve) => setImmediate(resolve));
      process.off("unhandledRejection", onRejection);
    }
    return {
      scenario: this.#scenario,
      failure: this.#failure,
      traceHash: this.#trace.hash,
      tail: this.#trace.tail,
      events: this.#time.ran,
      simulatedMs: this.#time.now,
      operations: this.#history.counts,
      faults: this.#nemesis.counts,
      undecided: this.#undecided,
      watched: this.#watchedCount,
      digests: this.#network.digests,
      odd: this.#oracle.oddOnes,
    };
  }

  async #live(): Promise<void> {
    const { faultMs } = this.#scenario;
    this.#look();
    this.#machines.forEach((machine) => void machine.start());
    this.#clients.forEach((client) => client.start());
    this.#watchers.forEach((watcher) => watcher.start());
    this.#heldReads?.start();
    this.#fillers?.start();
    await this.#pass(1500);
    this.#nemesis.start();
    await this.#pass(faultMs);
    this.#note("healing");
    void this.#nemesis.heal();
    this.#heldReads?.stop();
    this.#fillers?.stop();
    const clientsDone = Promise.all(this.#clients.map((client) => client.stop()));
    await this.#checkLiveness();
    await this.#within(20_000, clientsDone, "clients-end");
    await this.#checkAgreement();
    await this.#readAll();
    this.#watchers.forEach((watcher) => watcher.stop());
    this.#check();
  }

  /** Lets simulated time pass. */
  async #pass(ms: number): Promise<void> {
    await this.#time.runUntil(this.#time.now + ms, () => this.#failure !== null);
    this.#throwFailure();
  }

  /** Lets time pass until a promise is kept. */
  async #within<T>(ms: number, promise: Promise<T>, what: string): Promise<T> {
    const done: T[] = [];
    promise.then((value) => done.push(value)).catch((error: unknown) => this.#fail(what, error));
    const isOver = (): boolean => this.#failure !== null || done.length > 0;
    await this.#time.runUntil(this.#time.now + ms, isOver);
    this.#throwFailure();
    const [value] = done;
    if (value === undefined) {
      throw new Violation(what, `not within ${ms} ms`);
    }
    return value;
  }

  /** Every shard takes a write through every node soon. */
  async #checkLiveness(): Promise<void> {
    const deadline = this.#time.now + livenessMs;
    const open = new Set(Array.from({ length: this.#scenario.shards }, (_, at) => at + 1));
    for (let round = 0; open.size > 0; round++) {
      if (this.#time.now > deadline) {
        throw new Violation("liveness", `shards ${[...open].join()} take no writes after healing`);
      }
      const [client] = this.#clients;
      const key = `alive${round}`;
      const shards = this.#machines.flatMap(({ process }) => {
        const router = process?.node.router;
        return router?.hasTable === true ? [router.shardOf(Buffer.from(key))] : [];
      });
      const [shard] = shards;
      if (client === undefined || shard === undefined || !open.has(shard)) {
        await this.#pass(1);
        continue;
      }
      const write = client.write(key, { type: "put", value: `alive.${round}`, condition: null });
      const ending = await this.#within(livenessMs, write, "liveness");
      if (ending.type === "done") {
        open.delete(shard);
      }
    }
  }

  /** All replicas of a shard come to the same state, and its digest is what it says. */
  async #checkAgreement(): Promise<void> {
    const deadline = this.#time.now + 15_000;
    for (;;) {
      const states = this.#states();
      const differing = [...states].filter(([, each]) => new Set(each).size > 1);
      if (differing.length === 0 && !this.#oracle.oddOnes.isOpen) {
        break;
      }
      if (this.#time.now > deadline) {
        throw new Violation(
          "agreement",
          `replicas do not come together: ${JSON.stringify(differing)}`,
        );
      }
      await this.#pass(200);
    }
    for (const { id, process } of this.#machines) {
      for (const { shard } of process?.node.multiRaft.replicas() ?? []) {
        const machine = process?.node.groups.machine(shard);
        if (machine === null || machine === undefined) {
          continue;
        }
        const { digest } = machine;
        const anew = await this.#within(100, machine.recomputeDigest(), "digest-is-true");
        if (anew !== digest) {
          throw new Violation("digest-is-true", `${id} shard ${shard}: ${digest}, anew ${anew}`);
        }
      }
    }
  }

  /** Per shard, what each replica holds that the map wants. */
  #states(): Map<number, string[]> {
    const states = new Map<number, string[]>();
    for (const { id, process } of this.#machines) {
      const map = process?.node.groups.map;
      for (const shard of map?.shards ?? []) {
        if (!shard.voters.includes(id)) {
          continue;
        }
        const replica = process?.node.multiRaft.replica(shard.id);
        const state =
          replica === null || replica === undefined
            ? `${id} has none`
            : replica.raft.isQuarantined
              ? `${id} is quarantined`
              : `${replica.machine.appliedIndex} ${replica.machine.digest}`;
        states.set(shard.id, [...(states.get(shard.id) ?? []), state]);
      }
    }
    return states;
  }

  /** What was acknowledged is there: a last read of every key goes into its history. */
  async #readAll(): Promise<void> {
    const [client] = this.#clients;
    for (const key of this.#history.keys) {
      const pair = /^\{(.*)\}$/.exec(key)?.[1];
      for (let attempt = 0; attempt < 3; attempt++) {
        const read = pair === undefined ? client?.read(key) : client?.readPair(pair);
        await this.#within(
          livenessMs,
          Promise.resolve(read).then(() => true),
          "last-read",
        );
      }
    }
  }

  #check(): void {
    for (const key of this.#history.keys) {
      const verdict = checkLinearizable(kvModel, this.#history.of(key));
      if (verdict === "violation") {
        throw new Violation("linearizable", `the history of ${key}`);
      }
      this.#undecided += verdict === "undecided" ? 1 : 0;
    }
    for (const { key, value } of this.#fillers?.refused ?? []) {
      const place = this.#oracle.placeOf(key, value);
      if (place !== null) {
        throw new Violation("refused-is-not-done", `${key}=${value} was written at ${place}`);
      }
    }
    const { grants, fencedWrites, mortals } = this.#history;
    const [lock] = checkLocks(grants, fencedWrites);
    if (lock !== undefined) {
      throw new Violation("locks", lock);
    }
    const [mortal] = checkMortals(mortals, this.#scenario.drift);
    if (mortal !== undefined) {
      throw new Violation("ttl", mortal);
    }
    for (const { spans } of this.#watchers) {
      const [missed] = checkWatches(this.#oracle.changes, spans);
      if (missed !== undefined) {
        throw new Violation("watches", missed);
      }
    }
  }

  /** The oracle throws when a promise is broken. */
  #ask(look: () => void): void {
    try {
      look();
    } catch (error) {
      this.#fail("no-surprise", error);
    }
  }

  #differs(id: NodeId, shard: ShardId, finding: Finding): void {
    this.#oracle.differs(id, shard, finding);
    const multiRaft = this.#machine(id)?.process?.node.multiRaft;
    if (finding.odd.includes(id) && multiRaft !== undefined) {
      this.#oracle.leaves(multiRaft, shard);
    }
  }

  #look(): void {
    this.#ask(() => this.#oracle.look(this.#machines));
    this.#time.after(lookEveryMs, () => this.#look());
  }

  #machine(id: NodeId): Machine | undefined {
    return this.#machines.find((machine) => machine.id === id);
  }

  #makeMachine(id: NodeId, addresses: ReadonlyMap<NodeId, string>, random: Prng): Machine {
    const scenario = this.#scenario;
    const time = this.#time;
    return new Machine({
      config: defaultConfig({
        nodeId: id,
        initialCluster: addresses,
        shards: scenario.shards,
        replicationFactor: scenario.replicationFactor,
        tickMs: scenario.tickMs,
        electionTicks: scenario.electionTicks,
        electionJitterTicks: scenario.electionJitterTicks,
        heartbeatTicks: scenario.heartbeatTicks,
        logRetainedEntries: scenario.retainedEntries,
        logRetainedBytes: scenario.retainedBytes,
        snapshotChunkBytes: 700,
      }),
      address: addresses.get(id) ?? "",
      time,
      network: this.#network,
      disk: new Disk({ nodeId: id, time, random: random.fork(), writeMsMax: scenario.diskMs }),
      random,
      drift: scenario.drift,
      events: {
        note: (what) => this.#note(what),
        onUncaught: (node, error) => this.#fail(`no-uncaught-exception at ${node}`, error),
        onFatal: (node, error) => this.#fatal(node, error),
        onChanges: (node, changes) => this.#ask(() => this.#oracle.applied(node, changes)),
        onStatesDiffer: (node, shard, finding) =>
          this.#ask(() => this.#differs(node, shard, finding)),
        onSnapshot: (node, shard) => this.#oracle.renewed(node, shard),
      },
    });
  }

  /** A process stops by itself: right when its disk failed, a broken promise otherwise. */
  #fatal(id: NodeId, error: Error): void {
    const machine = this.#machine(id);
    this.#note(`${id} stops: ${error.message}`);
    if (!(error instanceof StoreFailure) || error.code !== "disk_full") {
      this.#fail("no-surprise", error);
      return;
    }
    if (machine !== undefined) {
      this.#time.after(0, () => {
        machine.end("killed");
        this.#nemesis.restartLater(machine);
      });
    }
  }

  #note(what: string): void {
    this.#trace.note(this.#time.now, what);
  }

  /** The first failure counts. */
  #fail(promise: string, error: unknown): void {
    const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#failure ??= error instanceof Violation ? error : new Violation(promise, detail);
  }

  #throwFailure(): void {
    if (this.#failure !== null) {
      throw this.#failure;
    }
  }
}
