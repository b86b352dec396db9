import { metaShard, type NodeId, type ShardId } from "../../cluster/types.ts";
import { encodeMetaCommand } from "../../storage/meta-commands.ts";
import type { Prng } from "../sim/prng.ts";
import type { Asking } from "./asking.ts";
import type { Machine } from "./machine.ts";
import type { Network } from "./network.ts";
import type { FaultKind, Scenario } from "./scenario.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface NemesisOptions {
  readonly scenario: Scenario;
  readonly time: VirtualTime;
  readonly random: Prng;
  readonly machines: readonly Machine[];
  readonly network: Network;
  readonly asking: Asking;
  readonly note: (what: string) => void;
  /** From now on, until it has received a snapshot, this replica is not like the others. */
  readonly onDiverged: (node: NodeId, shard: ShardId) => void;
  readonly onError: (error: unknown) => void;
}

/** Who makes trouble: one fault after the other, as the scenario weighs them, until it is told to heal everything. */
export class Nemesis {
  readonly #options: NemesisOptions;
  readonly #bag: readonly FaultKind[];
  readonly counts = new Map<FaultKind, number>();
  /** The machine that lost data last: nobody else loses any before it has recovered. */
  #damaged: Machine | null = null;
  /** Once is enough: whether that replica has recovered is not for a saboteur to know. */
  #hasDiverged = false;
  #isOver = false;

  constructor(options: NemesisOptions) {
    this.#options = options;
    const weights = Object.entries(options.scenario.weights) as [FaultKind, number][];
    this.#bag = weights.flatMap(([kind, weight]) => Array<FaultKind>(Math.ceil(weight)).fill(kind));
  }

  start(): void {
    this.#plan();
  }

  /** Ends all faults: everything is mended and every machine is up or comes up. */
  async heal(): Promise<void> {
    this.#isOver = true;
    const { network, machines } = this.#options;
    for (const machine of machines) {
      machine.disk.isFull = false;
      machine.disk.slowMs = 0;
      machine.resume();
    }
    network.heal();
    for (const machine of machines) {
      await machine.start();
    }
    network.memory.reconsider();
  }

  /** A process has ended by itself: somebody starts it again. */
  restartLater(machine: Machine): void {
    const { time, random } = this.#options;
    time.after(20 + random.next() * 600, () => {
      if (!machine.isUp) {
        this.#start(machine);
      }
    });
  }

  #plan(): void {
    const { time, random, scenario } = this.#options;
    time.after(random.next() * 2 * scenario.faultEveryMs, () => {
      if (!this.#isOver && this.#bag.length > 0) {
        this.#do(random.pick(this.#bag));
        this.#plan();
      }
    });
  }

  #do(kind: FaultKind): void {
    const { random, machines, note, network, time } = this.#options;
    const machine = kind.endsWith("Leader") ? this.#leader() : random.pick(machines);
    const other = random.pick(machines);
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    note(`fault ${kind} ${machine.id}`);
    switch (kind) {
      case "kill":
      case "killLeader":
        machine.end("killed");
        this.restartLater(machine);
        break;
      case "power":
        this.#powerOff(machine);
        break;
      case "powerAll":
        machines.forEach((each) => this.#powerOff(each));
        break;
      case "restart":
        this.#restart(machine);
        break;
      case "pause":
      case "pauseLeader":
        machine.pause();
        time.after(random.next() * random.pick([100, 800, 3000]), () => machine.resume());
        break;
      case "isolate":
      case "isolateLeader":
        this.#separate([machine]);
        break;
      case "partition":
        this.#separate(random.sample(machines, Math.ceil(machines.length / 2)));
        break;
      case "strand":
        this.#strand();
        break;
      case "oneWay":
        this.#cut(machine, other);
        break;
      case "link":
        this.#part(machine, other);
        break;
      case "heal":
        network.cuts.forEach(([from, to]) => network.mend(from, to));
        break;
      case "resetLink":
        this.#reset(machine, other);
        break;
      case "slowDisk":
      case "fullDisk":
        this.#hinder(machine, kind);
        break;
      case "rot":
      case "wipe":
        this.#damage(machine, kind);
        break;
      case "diverge":
        this.#diverge(machine);
        break;
      case "transfer":
        this.#transfer(machine);
        break;
      case "storm":
        network.storm(time.now + random.next() * 1500);
        break;
      case "move":
        this.#move();
        break;
    }
  }

  #part(one: Machine, other: Machine): void {
    this.#cut(one, other);
    this.#cut(other, one);
  }

  #reset(one: Machine, other: Machine): void {
    if (one !== other) {
      this.#options.network.memory.reset(one.id, other.id);
    }
  }

  /** The disk is slow, or full, for a while. */
  #hinder({ disk }: Machine, kind: "slowDisk" | "fullDisk"): void {
    const { random, time } = this.#options;
    if (kind === "fullDisk") {
      disk.isFull = true;
      time.after(random.next() * 1500, () => (disk.isFull = false));
    } else {
      disk.slowMs = random.pick([20, 300, 1500]);
      time.after(random.next() * 2000, () => (disk.slowMs = 0));
    }
  }

  #start(machine: Machine): void {
    machine.start().catch(this.#options.onError);
  }

  /** Without power there is nobody to close connections: the others only hear nothing any more, for as long as keepalive takes. */
  #powerOff(machine: Machine): void {
    const { machines, network, time, random } = this.#options;
    const others = machines.filter((other) => other !== machine);
    others.forEach((other) => network.cut(machine.id, other.id));
    machine.end("power");
    time.after(100 + random.next() * 900, () => {
      for (const other of others) {
        other.process?.transport.drop(machine.id, "lost");
        network.mend(machine.id, other.id);
      }
      this.#start(machine);
    });
  }

  #restart(machine: Machine): void {
    const process = machine.process;
    if (process === null || process.loop.isPaused) {
      return;
    }
    const end = async (): Promise<void> => {
      await process.node.handOver(process.loop.clock() + 500);
      await process.node.stop();
      if (machine.process === process) {
        machine.end("killed");
        this.restartLater(machine);
      }
    };
    process.loop.enter("io", () => void end().catch(this.#options.onError));
  }

  #separate(group: readonly Machine[]): void {
    const { machines } = this.#options;
    for (const inside of group) {
      for (const outside of machines.filter((machine) => !group.includes(machine))) {
        this.#cut(inside, outside);
        this.#cut(outside, inside);
      }
    }
  }

  /**
   * A shard's leader hears nobody but one machine that holds no replica, which in turn reaches nobody but the leader. What that one passes on
   * is replicated, and committed by others later, who go on without both. The old leader hears them again when somebody may still wait for
   * an answer.
   */
  #strand(): void {
    const { machines, network, time, random, scenario, note } = this.#options;
    const led = machines.flatMap((machine) =>
      [...(machine.process?.node.multiRaft.replicas() ?? [])]
        .filter(({ shard, raft }) => shard !== metaShard && raft.isLeader)
        .map(({ raft }) => ({ leader: machine, members: raft.configuration.voters })),
    );
    const stranded = led.flatMap(({ leader, members }) =>
      machines.filter(({ id }) => !members.includes(id)).map((asker) => ({ leader, asker })),
    );
    if (stranded.length === 0) {
      note("no strand: every machine holds every shard");
      return;
    }
    const { leader, asker } = random.pick(stranded);
    const others = machines.filter((machine) => machine !== leader && machine !== asker);
    for (const other of others) {
      network.cut(other.id, leader.id);
      network.cut(other.id, asker.id);
      network.cut(asker.id, other.id);
      network.memory.reset(other.id, asker.id);
    }
    const heardMs = (0.3 + 0.7 * random.next()) * scenario.clients.timeoutMs;
    const reachedMs = heardMs + random.next() * scenario.clients.timeoutMs;
    for (const other of others) {
      time.after(heardMs, () => network.mend(other.id, leader.id));
      time.after(reachedMs, () => network.mend(other.id, asker.id));
    }
  }

  /** A cut lasts for a while; keepalive may notice it meanwhile and break the connection. */
  #cut(from: Machine, to: Machine): void {
    const { network, time, random } = this.#options;
    if (from === to) {
      return;
    }
    network.cut(from.id, to.id);
    const cutMs = random.next() * random.pick([200, 1000, 4000]);
    if (random.chance(0.5)) {
      time.after(random.next() * cutMs, () => network.memory.reset(from.id, to.id));
    }
    time.after(cutMs, () => network.mend(from.id, to.id));
  }

  /**
   * Takes away what one machine had written. The promise is that a minority may lose data, so nobody else does before the replicas of this
   * machine have been given a snapshot and count as voters again; and shards must have three voters at least.
   */
  #damage(machine: Machine, kind: "rot" | "wipe"): void {
    const { scenario, machines, note } = this.#options;
    const mayLose = scenario.replicationFactor >= 3 && machines.length >= 3;
    const isSound = this.#damaged === null || this.#hasRecovered(this.#damaged);
    if (!mayLose || !isSound || !machines.every((each) => each.isUp) || !this.#areAllVoting()) {
      note(`no ${kind}: somebody may not afford it`);
      return;
    }
    this.#damaged = machine;
    machine.end("killed");
    if (kind === "wipe") {
      machine.disk.wipe();
    } else {
      machine.disk.rot();
    }
    this.restartLater(machine);
  }

  /** Makes one replica of the machine differ from the others, once and while all others are sound. */
  #diverge(machine: Machine): void {
    const { machines, note, onDiverged } = this.#options;
    if (this.#hasDiverged || !machines.every((each) => each.isUp) || !this.#areAllVoting()) {
      note("no diverge: somebody may not afford it");
      return;
    }
    machine.end("killed");
    const shard = machine.disk.diverge();
    if (shard !== null) {
      this.#hasDiverged = true;
      onDiverged(machine.id, shard);
    }
    this.restartLater(machine);
  }

  #hasRecovered(machine: Machine): boolean {
    const node = machine.process?.node;
    const map = node?.groups.map;
    if (node === undefined || map === null || map === undefined) {
      return false;
    }
    return map.shards
      .filter((shard) => shard.voters.includes(machine.id))
      .every(({ id }) => {
        const raft = node.multiRaft.replica(id)?.raft;
        return (
          raft !== undefined &&
          !raft.isQuarantined &&
          raft.configuration.voters.includes(machine.id)
        );
      });
  }

  /** Every replica is sound and every group has at least three voters and is not being changed. */
  #areAllVoting(): boolean {
    return this.#options.machines.every((machine) => {
      const replicas = [...(machine.process?.node.multiRaft.replicas() ?? [])];
      return replicas.every(({ raft }) => {
        const { voters, votersOutgoing, learners } = raft.configuration;
        const isSettled = votersOutgoing.length === 0 && learners.length === 0;
        // A leader that takes a member for lost is about to make it a learner: of three voters two are left.
        const isNobodyLost = [...raft.status().progress.values()].every((m) => !m.isQuarantined);
        const isSound = !raft.isQuarantined && isNobodyLost && raft.leader !== null;
        return isSound && isSettled && voters.length >= 3;
      });
    });
  }

  #leader(): Machine {
    const { machines, random } = this.#options;
    const leading = machines.filter(({ process }) =>
      [...(process?.node.multiRaft.replicas() ?? [])].some(({ raft }) => raft.isLeader),
    );
    return random.pick(leading.length > 0 ? leading : machines);
  }

  #transfer(machine: Machine): void {
    const { random } = this.#options;
    const process = machine.process;
    const led = [...(process?.node.multiRaft.replicas() ?? [])].filter(({ raft }) => raft.isLeader);
    if (process === null || led.length === 0) {
      return;
    }
    const replica = random.pick(led);
    const others = replica.otherMembers();
    if (others.length > 0) {
      // The group's next tick sends what there is to send.
      process.loop.enter("io", () => replica.raft.transferLeader(random.pick(others)));
    }
  }

  /** Asks the cluster map to place one shard elsewhere; the groups follow by themselves. */
  #move(): void {
    const { asking, machines, random } = this.#options;
    const map = machines.find(({ process }) => process?.node.groups.map)?.process?.node.groups.map;
    const shard = map?.shards.filter((each) => each.id !== metaShard);
    if (map === null || map === undefined || shard === undefined || shard.length === 0) {
      return;
    }
    const { id, voters } = random.pick(shard);
    const places = random.sample(
      machines.map((machine) => machine.id),
      voters.length,
    );
    const change = {
      type: "setReplicas",
      replicas: [{ id, voters: places, learners: [] as NodeId[] }],
    } as const;
    const command = encodeMetaCommand({ type: "change", change, ifEpoch: null });
    void asking.ask(random.pick(machines), true, (node, context) =>
      node.router.executeEncoded(metaShard, command, context),
    );
  }
}
