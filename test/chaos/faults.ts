import { setTimeout as delay } from "node:timers/promises";
import type { Prng } from "../sim/prng.ts";
import type { Weather } from "./flow.ts";
import type { FaultyNetwork } from "./network.ts";
import type { FaultKind } from "./plan.ts";
import type { SmallDisks } from "./small-disks.ts";

/** What can be done to single nodes, processes or containers. */
export interface Nodes {
  kill(id: string): Promise<void>;
  /** SIGTERM; resolves when it has ended. */
  stop(id: string): Promise<void>;
  pause(id: string): Promise<void> | void;
  resume(id: string): Promise<void> | void;
  restart(id: string): Promise<void>;
  isRunning(id: string): boolean;
}

/** What faults happen to. */
export interface Scene {
  readonly ids: readonly string[];
  readonly cluster: Nodes;
  /** Null when nodes speak to each other directly. */
  readonly network: FaultyNetwork | null;
  /** Null when data is on an ordinary disk. */
  readonly disks: SmallDisks | null;
  /** Takes nodes off the network of the others, or brings them back; null where proxies do that. */
  readonly isolate: ((ids: readonly string[], isCutOff: boolean) => Promise<void>) | null;
  readonly random: Prng;
  readonly leader: () => string | null;
  readonly victimsMax: number;
  /** A fault lasts at most this long, starts and restarts not counted. */
  readonly holdMsMax: number;
  /** Nodes that may end by themselves now. */
  readonly mayEnd: Set<string>;
  /** Starts nodes again and waits until they are ready. */
  readonly restart: (ids: readonly string[]) => Promise<void>;
}

/** Something that happens to a cluster, and what ends it. */
export interface Fault {
  readonly what: string;
  readonly holdMs: number;
  readonly begin: () => Promise<void>;
  readonly end: () => Promise<void>;
}

/** How long a node may take to notice that its disk is full: until it writes. */
const noticeMs = 15_000;

/** Draws a fault of this kind: whom it hits, how hard and for how long. */
export function drawFault(kind: FaultKind, scene: Scene): Fault {
  switch (kind) {
    case "kill":
      return killed(drawVictims(scene), scene);
    case "kill-all":
      return killed(scene.ids, scene);
    case "term":
      return terminated(drawVictims(scene), scene);
    case "pause":
      return paused(drawVictims(scene), scene);
    case "partition":
      return partitioned(scene);
    case "one-way":
      return oneWay(drawVictims(scene), scene);
    case "delay":
      return stormy(scene, { delayMsMin: 25, delayMsMax: 125 }, "delays of 75 ± 50 ms");
    case "loss": {
      const lossRate = scene.random.pick([0.05, 0.1, 0.3, 0.5]);
      return stormy(scene, { lossRate }, `loss of ${lossRate * 100} %`);
    }
    case "cut":
      return connectionsCut(drawVictims(scene), scene);
    case "disk-full":
      return diskFull(drawVictims(scene), scene);
  }
}

/** A minority, more often than not with whoever leads most. */
function drawVictims(scene: Scene): readonly string[] {
  const { random, victimsMax } = scene;
  const ids = scene.ids;
  const leader = scene.leader();
  const first = leader !== null && random.chance(0.6) ? leader : random.pick(ids);
  const others = ids.filter((id) => id !== first);
  return [first, ...random.sample(others, random.between(1, victimsMax) - 1)];
}

function drawHoldMs({ random, holdMsMax }: Scene, minMs: number, maxMs: number): number {
  return Math.min(holdMsMax, minMs + random.next() * random.next() * (maxMs - minMs));
}

function killed(ids: readonly string[], scene: Scene): Fault {
  return {
    what: `SIGKILL of ${ids.join(", ")}`,
    holdMs: drawHoldMs(scene, 0, 5000),
    begin: async () => void (await Promise.all(ids.map((id) => scene.cluster.kill(id)))),
    end: () => scene.restart(ids),
  };
}

function terminated(ids: readonly string[], scene: Scene): Fault {
  return {
    what: `SIGTERM of ${ids.join(", ")}`,
    holdMs: drawHoldMs(scene, 0, 3000),
    begin: async () => void (await Promise.all(ids.map((id) => scene.cluster.stop(id)))),
    end: () => scene.restart(ids),
  };
}

function paused(ids: readonly string[], scene: Scene): Fault {
  return {
    what: `SIGSTOP of ${ids.join(", ")}`,
    holdMs: drawHoldMs(scene, 500, 10_000),
    begin: async () => void (await Promise.all(ids.map((id) => scene.cluster.pause(id)))),
    end: async () => void (await Promise.all(ids.map((id) => scene.cluster.resume(id)))),
  };
}

/** A change of the weather, and fair weather after it. */
function weather(
  scene: Scene,
  what: string,
  holdMs: number,
  begin: (network: FaultyNetwork) => void,
): Fault {
  const { network } = scene;
  if (network === null) {
    throw new Error(`${what} needs proxies between the nodes`);
  }
  return {
    what,
    holdMs,
    begin: async () => begin(network),
    end: async () => network.heal(),
  };
}

/** Some cannot speak with some others: a minority with anybody, or two with each other although a third hears both. */
function partitioned(scene: Scene): Fault {
  const { random, isolate } = scene;
  if (isolate !== null) {
    const victims = drawVictims(scene);
    return {
      what: `${victims.join(", ")} off the network`,
      holdMs: drawHoldMs(scene, 1000, 15_000),
      begin: () => isolate(victims, true),
      end: () => isolate(victims, false),
    };
  }
  const ids = scene.ids;
  const isPartial = random.chance(0.25);
  const here = isPartial ? drawVictims(scene).slice(0, 1) : drawVictims(scene);
  const rest = ids.filter((id) => !here.includes(id));
  const there = isPartial ? random.sample(rest, 1) : rest;
  const what = `nothing between ${here.join(", ")} and ${there.join(", ")}`;
  return weather(scene, what, drawHoldMs(scene, 1000, 15_000), (network) => {
    for (const [a, b] of here.flatMap((a) => there.map((b) => [a, b] as const))) {
      network.change(a, b, { isCut: true });
      network.change(b, a, { isCut: true });
    }
  });
}

function oneWay(ids: readonly string[], scene: Scene): Fault {
  const isDeaf = scene.random.chance(0.5);
  const others = scene.ids.filter((id) => !ids.includes(id));
  const what = `${ids.join(", ")} ${isDeaf ? "hears" : "reaches"} nobody`;
  return weather(scene, what, drawHoldMs(scene, 1000, 15_000), (network) => {
    for (const [id, other] of ids.flatMap((id) => others.map((other) => [id, other] as const))) {
      const [from, to] = isDeaf ? [other, id] : [id, other];
      network.change(from, to, { isCut: true });
    }
  });
}

/** Bad weather everywhere, or around a minority. */
function stormy(scene: Scene, change: Partial<Weather>, name: string): Fault {
  const ids = scene.ids;
  const hit = scene.random.chance(0.5) ? ids : drawVictims(scene);
  const what = `${name} around ${hit.join(", ")}`;
  return weather(scene, what, drawHoldMs(scene, 2000, 20_000), (network) => {
    for (const [a, b] of ids.flatMap((a) => ids.map((b) => [a, b] as const))) {
      if (a !== b && (hit.includes(a) || hit.includes(b))) {
        network.change(a, b, change);
      }
    }
  });
}

function connectionsCut(ids: readonly string[], scene: Scene): Fault {
  return weather(scene, `connections of ${ids.join(", ")} break`, 100, (network) =>
    ids.forEach((id) => network.cutConnections(id)),
  );
}

/** Fills the disks of some, waits until they have noticed and ended, as they should, and makes room again. */
function diskFull(ids: readonly string[], scene: Scene): Fault {
  const { cluster, disks, mayEnd, random } = scene;
  if (disks === null) {
    throw new Error("a full disk needs small disks");
  }
  const untilEnded = async (): Promise<void> => {
    const deadline = performance.now() + noticeMs;
    while (ids.some((id) => cluster.isRunning(id)) && performance.now() < deadline) {
      await delay(20);
    }
  };
  const triesWhileFull = random.chance(0.3);
  return {
    what: `full disks of ${ids.join(", ")}${triesWhileFull ? ", started again before there is room" : ""}`,
    holdMs: 0,
    begin: async () => {
      ids.forEach((id) => mayEnd.add(id));
      ids.forEach((id) => disks.fill(id));
      await untilEnded();
      if (triesWhileFull) {
        await Promise.all(ids.map((id) => cluster.restart(id)));
        await untilEnded();
      }
    },
    end: async () => {
      ids.forEach((id) => disks.free(id));
      await scene.restart(ids);
      ids.forEach((id) => mayEnd.delete(id));
    },
  };
}
