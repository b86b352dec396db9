import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { checkWatchStreams } from "../checkers/watch-streams.ts";
import { ResumingWatcher } from "../e2e/watchers.ts";
import { Prng } from "../sim/prng.ts";
import { Client, pairOf } from "../workload/client.ts";
import type { Door } from "../workload/door.ts";
import { History } from "../workload/history.ts";
import { writeBallast } from "./ballast.ts";
import { ContainerTrial } from "./container-trial.ts";
import { drawFault } from "./faults.ts";
import { HttpDoors, realTime } from "./http-doors.ts";
import { Observer } from "./observer.ts";
import { calmShares, type FaultKind, type Plan, victimsMax } from "./plan.ts";
import { findTags, Pulses } from "./pulses.ts";
import { type Figures, recordedHistory, type RunRecord } from "./record.ts";
import { type Trial, TrialCluster } from "./trial.ts";

/** After healing, every shard takes a write within this; usually in less than a second. */
const livenessMs = 20_000;
/** After the last write, replicas come to the same index, and watchers are told everything, within this. */
const settleMs = 30_000;
const finalReadAttempts = 20;
const finalReaders = 8;
/** Operations on one key: the check of a history grows fast. */
const operationsPerKeyMax = 160;

/** What watchers watch: keys of all kinds, or of one. */
const watchedPrefixes = ["", "", "register", "{", "text", "counter"];

/** One cluster with its clients, from its founding until everything that can be seen of it is recorded. */
export class ChaosRun {
  readonly #plan: Plan;
  readonly #random: Prng;
  readonly #trial: Trial;
  readonly #history = new History();
  readonly #observer: Observer;
  readonly #pulses: Pulses;
  readonly #clients: readonly Client[];
  readonly #watchers: readonly ResumingWatcher[];
  readonly #deeds: { atMs: number; what: string }[] = [];
  readonly #surprises: { what: string }[];
  /** How often the keys of a place have been exchanged for new ones. */
  readonly #generations = new Map<string, number>();
  readonly #startedMs = performance.now();
  readonly #eventLoop = monitorEventLoopDelay();
  #faults = 0;
  /** What watchers were told until all had been told the same. */
  #streams: RunRecord["streams"] = [];

  private constructor(plan: Plan, trial: Trial, surprises: { what: string }[]) {
    this.#plan = plan;
    this.#trial = trial;
    this.#surprises = surprises;
    this.#random = new Prng(plan.seed ^ 0xc4a05);
    const { urls } = trial;
    const history = this.#history;
    this.#observer = new Observer(urls);
    this.#clients = Array.from({ length: plan.clients.count }, (_, at) => {
      const doors = this.#doors();
      return new Client({
        name: `c${at + 1}`,
        scenario: plan.clients,
        time: realTime,
        random: this.#random.fork(),
        doors,
        history,
        nameOf: (place) => this.#nameOf(place),
        note: () => undefined,
      });
    });
    this.#pulses = new Pulses({
      urls,
      doors: () => this.#doors(),
      history,
      nameOf: (place) => this.#nameOf(place),
    });
    this.#watchers = Array.from({ length: plan.watchers }, (_, at) => {
      const prefix = at === 0 ? "" : this.#random.pick(watchedPrefixes);
      return new ResumingWatcher(prefix, () => urls);
    });
  }

  /** Lives through it all and stops the processes. Rejects only when there was never a cluster: everything else is in the record. */
  static async record(
    plan: Plan,
    directory: string,
    onDeed: (what: string) => void = () => {},
  ): Promise<RunRecord> {
    const surprises: { what: string }[] = [];
    const onSurprise = (what: string): void => void surprises.push({ what });
    const random = new Prng(plan.seed ^ 0x0e7);
    const trial: Trial = plan.isInContainers
      ? await ContainerTrial.start(directory)
      : await TrialCluster.start(plan, directory, random, onSurprise);
    try {
      await writeBallast(trial.urls, plan.ballastWrites);
    } catch (error) {
      await trial.stop();
      throw error;
    }
    const run = new ChaosRun(plan, trial, surprises);
    try {
      const figures = await run.#live(onDeed);
      await run.#stop();
      return run.#record({ ...figures, runnerStallMs: run.#eventLoop.max / 1e6 });
    } catch (error) {
      await run.#stop();
      throw error;
    }
  }

  async #stop(): Promise<void> {
    await Promise.all(this.#watchers.map((watcher) => watcher.stop()));
    await this.#observer.stop();
    await this.#trial.stop();
    this.#eventLoop.disable();
  }

  async #live(onDeed: (what: string) => void): Promise<Omit<Figures, "runnerStallMs">> {
    const { seconds } = this.#plan;
    const calmMs = calmShares.before * seconds * 1000;
    const lastMs = calmShares.after * seconds * 1000;
    const tags = await findTags(this.#trial.urls, this.#plan.shards);
    await Promise.all(this.#watchers.map((watcher) => watcher.begun));
    this.#observer.start();
    this.#eventLoop.enable();
    const startMs = performance.now();
    this.#pulses.start(tags);
    this.#clients.forEach((client) => client.start());
    // The first half of the calm warms everybody up.
    await delay(calmMs / 2);
    const warmMs = performance.now();
    const warmCount = this.#history.counts.done;
    await delay(calmMs / 2);
    const calmCount = this.#history.counts.done - warmCount;
    const calmRate = calmCount / ((performance.now() - warmMs) / 1000);
    const before = this.#trial.footprints();

    await this.#attempt("a node does not come back", () =>
      this.#makeTrouble(startMs + seconds * 1000 - lastMs, onDeed),
    );
    this.#did("healing", onDeed);
    const healingMs = performance.now();
    await this.#attempt("the cluster does not heal", () => this.#trial.heal());
    const late = await this.#pulses.allBeat(livenessMs);
    late.forEach((shard) => this.#surprise(`shard ${shard} takes no writes after healing`));
    const healedMs = performance.now() - healingMs;
    await delay(lastMs);
    const after = this.#trial.footprints();

    const { longestOutageMs } = this.#pulses;
    await Promise.all(this.#clients.map((client) => client.stop()));
    await this.#pulses.stop();
    // What follows is the runner's own work, and holds up nobody else's.
    this.#eventLoop.disable();
    await this.#readAll();
    await this.#settle();
    return {
      ...this.#history.counts,
      calmRate,
      longestOutageMs,
      healedMs,
      faults: this.#faults,
      footprints: { before, after },
    };
  }

  /** One fault after the other, each kind once before one comes again. */
  async #makeTrouble(endMs: number, onDeed: (what: string) => void): Promise<void> {
    const random = this.#random.fork();
    const { ids, cluster, network, disks, isolate, mayEnd } = this.#trial;
    const pauseMsMax = Math.min(3000, (this.#plan.seconds * 1000) / 10);
    for (const kind of inRounds(this.#plan.kinds, random)) {
      if (performance.now() > endMs) {
        return;
      }
      const fault = drawFault(kind, {
        ids,
        cluster,
        network,
        disks,
        isolate,
        mayEnd,
        random,
        leader: () => this.#observer.busiestLeader(),
        victimsMax: victimsMax(this.#plan),
        holdMsMax: (this.#plan.seconds * 1000) / 4,
        restart: (victims) => this.#trial.restart(victims),
      });
      this.#did(fault.what, onDeed);
      this.#faults += 1;
      await fault.begin();
      await delay(fault.holdMs);
      await fault.end();
      this.#did("over", onDeed);
      await delay(200 + random.next() * pauseMsMax);
    }
  }

  /** What was acknowledged is there, on every node: last reads of every key become part of its history. */
  async #readAll(): Promise<void> {
    const doors = this.#doors();
    const queue = this.#trial.urls.flatMap((_, node) =>
      this.#history.keys.map((key) => ({ node, key })),
    );
    const work = async (): Promise<void> => {
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
        await this.#lastRead(doors, next.node, next.key);
      }
    };
    await Promise.all(Array.from({ length: finalReaders }, work));
  }

  async #lastRead(doors: HttpDoors, node: number, key: string): Promise<void> {
    const place = /^\{(.*)\}$/.exec(key)?.[1];
    const read = (door: Door) =>
      place === undefined ? door.read(key, "linearizable") : door.readPair(pairOf(place));
    let reason = "";
    for (let attempt = 0; attempt < finalReadAttempts; attempt += 1) {
      const call = this.#history.tick();
      const ending = await doors.askAt(node, false, read);
      if (ending.type === "done") {
        const value = { type: "got", record: ending.value } as const;
        this.#history.ended(key, call, { type: "get" }, { type: "done", value });
        return;
      }
      reason = ending.reason;
      await delay(100);
    }
    this.#surprise(`node ${node + 1} does not answer a last read of ${key}: ${reason}`);
  }

  /** All replicas at the same index, all watchers told. */
  async #settle(): Promise<void> {
    const apart = await this.#observer.converged(settleMs);
    apart.forEach((shard) => this.#surprise(`replicas of shard ${shard} do not come together`));
    const deadline = performance.now() + settleMs;
    while (performance.now() < deadline && checkWatchStreams(this.#watchers, []).length > 0) {
      await delay(500);
    }
    // Keys still expire: what is told from now on reaches some watchers before they are stopped, and others not.
    this.#streams = this.#watchers.map(({ prefix, stretches }) => ({
      prefix,
      stretches: stretches.map(({ state, changes }) => ({
        state: [...state],
        changes: [...changes],
      })),
    }));
    const doubts = await Promise.all(this.#trial.urls.map(digestMismatches));
    doubts.filter((line) => !line.endsWith(" 0")).forEach((line) => this.#surprise(line));
  }

  #record(figures: Figures): RunRecord {
    return {
      plan: this.#plan,
      figures,
      ...recordedHistory(this.#history),
      streams: this.#streams,
      sightings: this.#observer.sightings,
      deeds: this.#deeds,
      surprises: this.#surprises,
    };
  }

  #doors(): HttpDoors {
    return new HttpDoors({
      urls: this.#trial.urls,
      timeoutMs: this.#plan.clients.timeoutMs,
      random: this.#random.fork(),
      onSurprise: (what) => this.#surprise(what),
    });
  }

  #nameOf(place: string): string {
    const generation = this.#generations.get(place) ?? 1;
    const name = `${place}.${generation}`;
    const length = this.#history.of(name).length + this.#history.of(`{${name}}`).length;
    if (length > operationsPerKeyMax) {
      this.#generations.set(place, generation + 1);
    }
    return name;
  }

  async #attempt(what: string, run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } catch (error) {
      this.#surprise(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #did(what: string, onDeed: (what: string) => void): void {
    const atMs = Math.round(performance.now() - this.#startedMs);
    this.#deeds.push({ atMs, what });
    onDeed(`${(atMs / 1000).toFixed(1)} s: ${what}`);
  }

  #surprise(what: string): void {
    this.#surprises.push({ what });
  }
}

/** All kinds in any order, then all again. */
function* inRounds(kinds: readonly FaultKind[], random: Prng): Generator<FaultKind> {
  for (;;) {
    yield* random.sample(kinds, kinds.length);
  }
}

/** The metric that must stay 0, as its lines say. */
async function digestMismatches(url: string): Promise<string> {
  const response = await fetch(`${url}/metrics`);
  const lines = (await response.text()).split("\n");
  const found = lines.filter((line) => /^flotilla_digest_mismatches_total\S* (?!0$)/.test(line));
  return found[0] ?? "flotilla_digest_mismatches_total 0";
}
