import type { InstallSnapshot, Message } from "../../cluster/raft/message.ts";
import { Raft } from "../../cluster/raft/raft.ts";
import type { Ready, UnreachableEvidence, Write } from "../../cluster/raft/ready.ts";
import type { Entry, LogIndex, NodeId, SnapshotMetadata } from "../../cluster/types.ts";
import { LogIndex as toLogIndex } from "../../cluster/types.ts";
import type { Client } from "./client.ts";
import type { AppliedState, Disk } from "./disk.ts";
import { check } from "./failure.ts";
import { extendDigest } from "./ledger.ts";
import type { Prng } from "./prng.ts";
import { tickUnits } from "./schedule.ts";
import type { Surroundings } from "./surroundings.ts";

/** Rounds of `ready()` in one step: a group that always has something to say again is broken. */
const roundsMax = 1000;

/**
 * One node: a process that hosts one replica as cluster/multiraft does, with its disk, its clock and its clients. Everything that
 * happens to it comes through a method; each ends with all that Raft wants done being done.
 */
export class SimNode {
  readonly id: NodeId;
  readonly disk: Disk;
  readonly client: Client;
  /** The running process's replica; null while the node is down. */
  raft: Raft | null = null;
  /** Number of the process, so that what belonged to an earlier one is recognised. */
  incarnation = 0;
  isPaused = false;
  /** Once healed, a node's disk and clock are good. */
  isHealed = false;
  readonly #around: Surroundings;
  readonly #random: Prng;
  readonly #tickLength: number;
  #applied: AppliedState;
  /** The state that is written: what snapshots are made of, and what the log before it is not needed for. */
  #written: AppliedState;
  /** What arrived while the process was stopped. */
  #inbox: (() => void)[] = [];
  /** When this process began to count ticks, and how many it has counted. */
  #clockStart = 0;
  #ticks = 0;
  #isWriting = false;
  #write: Write | null = null;
  #isFlushDue = false;
  #idleTicks = 0;
  readonly #sending = new Set<NodeId>();
  /** Snapshots whose bytes have arrived. */
  readonly #staged = new Map<LogIndex, AppliedState>();

  constructor(id: NodeId, disk: Disk, client: Client, around: Surroundings) {
    this.id = id;
    this.disk = disk;
    this.client = client;
    this.#around = around;
    this.#random = around.random.fork();
    this.#applied = disk.applied;
    this.#written = disk.applied;
    const { drift } = around.scenario.clock;
    this.#tickLength = tickUnits * (1 - drift + 2 * drift * this.#random.next());
  }

  get isUp(): boolean {
    return this.raft !== null;
  }

  get isRunning(): boolean {
    return this.raft !== null && !this.isPaused;
  }

  get applied(): AppliedState {
    return this.#applied;
  }

  get isWriting(): boolean {
    return this.#isWriting;
  }

  /** Ticks in which nothing came from clients or other nodes. */
  get idleTicks(): number {
    return this.#idleTicks;
  }

  /** Starts the process from what is on the disk. */
  start(): void {
    const { disk } = this;
    const { scenario, schedule, trace } = this.#around;
    this.incarnation += 1;
    this.#applied = disk.applied;
    this.#written = disk.applied;
    this.#clockStart = schedule.now;
    this.#ticks = 0;
    this.#idleTicks = 0;
    this.#isFlushDue = false;
    const delays = scenario.host.hasPriorities ? this.#random.pick([0, 0, 3]) : 0;
    this.raft = new Raft(
      {
        ...scenario.raft,
        id: this.id,
        electionPriorityDelayTicks: delays,
        random: () => this.#random.next(),
      },
      {
        hardState: disk.hardState,
        compactedIndex: disk.compactedIndex,
        compactedTerm: disk.compactedTerm,
        entries: disk.entries,
        appliedIndex: disk.applied.index,
        configuration: disk.applied.configuration,
        isQuarantined: disk.isQuarantined,
      },
    );
    trace?.(
      `${this.id} starts: term ${disk.hardState.term}, log (${disk.compactedIndex}, ${disk.lastIndex}]`,
    );
    this.#scheduleTick();
  }

  /** The process dies, or the power: what was not synced may be lost, what the memory held is. */
  crash(): void {
    this.#around.trace?.(`${this.id} crashes`);
    this.raft = null;
    this.isPaused = false;
    this.#inbox = [];
    this.#isWriting = false;
    this.#write = null;
    this.#sending.clear();
    this.#staged.clear();
    this.client.crashed();
    this.disk.crash(this.#random);
  }

  /** The process is stopped, as by SIGSTOP: what arrives meanwhile waits. */
  pause(): void {
    this.#around.trace?.(`${this.id} is paused`);
    this.isPaused = true;
  }

  /** The process goes on: its timer fires before it reads what has arrived (measured, reliability.md section 0). */
  resume(): void {
    this.#around.trace?.(`${this.id} goes on`);
    this.isPaused = false;
    this.#tick();
    this.#scheduleTick();
    for (const event of this.#inbox.splice(0)) {
      if (this.raft !== null) {
        event();
        this.#settle();
      }
    }
  }

  /** Does something with the replica now, or when the process goes on, or never when there is none. */
  run(event: (raft: Raft) => void): void {
    const { incarnation } = this;
    const guarded = (): void => {
      if (this.raft !== null && this.incarnation === incarnation) {
        event(this.raft);
        this.#around.watch.observe(this.id, this.raft);
      }
    };
    if (this.isPaused) {
      this.#inbox.push(guarded);
    } else if (this.raft !== null) {
      guarded();
      this.#settle();
    }
  }

  /** A message arrives. */
  receive(message: Message): void {
    this.run((raft) => {
      this.#around.trace?.(describeMessage(message));
      if (message.type !== "Heartbeat" && message.type !== "HeartbeatResponse") {
        this.#idleTicks = 0;
      }
      raft.step(message);
    });
  }

  /** The host learns something about its connection to a peer. */
  learn(peer: NodeId, evidence: UnreachableEvidence | "reachable"): void {
    this.run((raft) => {
      this.#around.trace?.(`${this.id} learns that ${peer} is ${evidence}`);
      if (evidence === "reachable") {
        raft.reportReachable(peer);
      } else {
        raft.reportUnreachable(peer, evidence);
      }
    });
  }

  /** A client asks this node; that is work, so the group stays awake. */
  serve(request: (raft: Raft) => void): void {
    this.run((raft) => {
      this.#idleTicks = 0;
      request(raft);
    });
  }

  /** The timer aims at multiples of the tick length on this node's clock; a stalled process is late, and then not late any more. */
  #scheduleTick(): void {
    const { schedule, scenario } = this.#around;
    const { incarnation } = this;
    const isStalled = !this.isHealed && this.#random.chance(scenario.clock.stallRate);
    const late = isStalled ? 2 * this.#random.next() * this.#tickLength : 0;
    const due = this.#clockStart + (this.#ticks + 1) * this.#tickLength;
    schedule.after(Math.max(1, due + late - schedule.now), () => {
      if (this.raft === null || this.incarnation !== incarnation) {
        return;
      }
      if (!this.isPaused) {
        this.#tick();
        this.#scheduleTick();
      }
    });
  }

  /** Time has passed: as many ticks as really went by. */
  #tick(): void {
    const { schedule, watch, housekeeping, scenario } = this.#around;
    const ticks = Math.floor((schedule.now - this.#clockStart + 1) / this.#tickLength);
    const elapsed = ticks - this.#ticks;
    const { raft } = this;
    if (elapsed < 1 || raft === null) {
      return;
    }
    this.#ticks = ticks;
    this.#idleTicks += elapsed;
    if (!raft.isQuiesced) {
      raft.tick(elapsed);
    }
    watch.observe(this.id, raft);
    watch.inspect(this, raft);
    housekeeping.tick(this, raft, elapsed);
    watch.observe(this.id, raft);
    this.#isFlushDue ||= this.#random.chance(scenario.host.flushRate);
    this.#settle();
  }

  /** Does what Raft wants done, in the order that cluster/raft/ready.ts asks for, until it wants nothing more. */
  #settle(): void {
    const { raft } = this;
    if (raft === null) {
      return;
    }
    const { watch } = this.#around;
    for (let round = 0; raft.hasReady; round++) {
      check(round < roundsMax, "settles", () => `${this.id} is never done`);
      const mayWrite = !this.#isWriting;
      const ready = raft.ready(mayWrite);
      watch.observe(this.id, raft);
      this.#handle(raft, ready);
      if (this.#write !== null && !this.#isWriting) {
        this.#startWrite(raft, this.#write);
      }
      if (raft.hasReady && !mayWrite && isEmpty(ready)) {
        break;
      }
    }
    for (const notice of raft.commitNotices(() => true)) {
      this.#send(notice);
    }
    if (!this.#isWriting && this.#isFlushDue) {
      this.#flush(raft);
    }
  }

  #handle(raft: Raft, ready: Ready): void {
    for (const message of ready.messages) {
      this.#send(message);
    }
    for (const entry of ready.committed) {
      this.#apply(raft, entry);
    }
    for (const { context, index } of ready.reads) {
      this.client.readAnswered(context, index);
    }
    this.client.applied(this.#applied.index);
    if (ready.write !== null) {
      check(this.#write === null, "one-write-at-a-time", () => this.id);
      this.#write = ready.write;
    }
  }

  #apply(raft: Raft, entry: Entry): void {
    const { ledger } = this.#around;
    const { index, digest, configuration } = this.#applied;
    check(entry.index === index + 1, "apply-in-order", () => {
      return `${this.id} applies ${entry.index} after ${index}`;
    });
    const next = extendDigest(digest, entry);
    check(next === ledger.digestAt(entry.index), "state-machine-safety", () => {
      return `${this.id} applies another entry at (${entry.index}, ${entry.term}) than others`;
    });
    this.#applied = {
      index: entry.index,
      term: entry.term,
      digest: next,
      configuration: entry.type === "config" ? raft.configuration : configuration,
    };
    this.client.entryApplied(entry);
  }

  #send(message: Message): void {
    this.#around.watch.sending(this, message);
    if (message.type === "InstallSnapshot") {
      this.#sendSnapshot(message);
    } else {
      this.#around.network.send(message);
    }
  }

  /** Gives a write to the disk, with the state that was applied meanwhile. Its promises leave when it is durable. */
  #startWrite(raft: Raft, write: Write): void {
    const snapshot = write.snapshot === null ? null : this.#takeStaged(write.snapshot);
    let previousTerm =
      write.entries[0] === undefined ? 0 : raft.termAt(toLogIndex(write.entries[0].index - 1));
    for (const entry of write.entries) {
      this.#around.ledger.checkLogMatching(entry, previousTerm ?? 0, this.id);
      previousTerm = entry.term;
    }
    const applied = snapshot === null ? this.#applied : null;
    const compactTo = snapshot === null ? this.#chooseCompaction(raft) : null;
    this.#isWriting = true;
    this.disk.write({
      hardState: write.hardState,
      snapshot,
      entries: write.entries,
      applied,
      compactTo,
    });
    this.#whenWritten(write.mustSync, () => {
      this.#write = null;
      for (const message of write.messages) {
        this.#send(message);
      }
      if (snapshot !== null) {
        this.#applied = snapshot.state;
        this.client.jumpedTo(snapshot.state.index);
      }
      this.#written = snapshot?.state ?? applied ?? this.#written;
      this.#around.watch.observe(this.id, raft);
      raft.advance();
      if (compactTo !== null) {
        raft.compact(compactTo.index);
      }
    });
  }

  /** Writes applied state that no Raft write would carry soon, and forgets log that it replaces. */
  #flush(raft: Raft): void {
    this.#isFlushDue = false;
    const compactTo = this.#chooseCompaction(raft);
    if (this.#applied.index === this.#written.index && compactTo === null) {
      return;
    }
    const applied = this.#applied;
    this.#isWriting = true;
    this.disk.write({ hardState: null, snapshot: null, entries: [], applied, compactTo });
    this.#whenWritten(this.#random.chance(0.5), () => {
      this.#written = applied;
      if (compactTo !== null) {
        raft.compact(compactTo.index);
      }
    });
  }

  #whenWritten(mustSync: boolean, done: () => void): void {
    const { syncMax, slowRate, slowMax } = this.#around.scenario.disk;
    const isSlow = !this.isHealed && this.#random.chance(slowRate);
    const sync = this.#random.between(1, this.isHealed ? 5 : isSlow ? slowMax : syncMax);
    const { incarnation } = this;
    this.#around.schedule.after(mustSync ? sync : this.#random.between(0, 2), () => {
      if (this.incarnation !== incarnation || this.raft === null) {
        return;
      }
      // The disk finishes also while the process is stopped; the process hears of it later.
      if (mustSync) {
        this.disk.sync();
      }
      this.run(() => {
        this.#isWriting = false;
        done();
      });
    });
  }

  /** The log behind the durable state may go, except what is kept for followers that lag a little. */
  #chooseCompaction(raft: Raft): { index: LogIndex; term: AppliedState["term"] } | null {
    const retained = this.#random.between(0, this.#around.scenario.host.retainedMax);
    const index = toLogIndex(Math.max(0, this.#written.index - retained));
    if (index <= raft.compactedIndex || index > raft.persistedIndex || this.#random.chance(0.5)) {
      return null;
    }
    const term = raft.termAt(index);
    return term === null ? null : { index, term };
  }

  #takeStaged(metadata: SnapshotMetadata): { metadata: SnapshotMetadata; state: AppliedState } {
    const state = this.#staged.get(metadata.index);
    check(state !== undefined, "snapshot-is-staged", () => `${this.id} installs ${metadata.index}`);
    this.#staged.clear();
    return { metadata, state: state ?? this.#applied };
  }

  /** Moves the durable state of this node to another one, as the leader asked for. */
  #sendSnapshot(message: InstallSnapshot): void {
    const { to } = message;
    if (this.#sending.has(to)) {
      return;
    }
    this.#sending.add(to);
    const { network, schedule, scenario, nodes } = this.#around;
    const { incarnation } = this;
    const receiver = nodes.get(to);
    const receiverIncarnation = receiver?.incarnation;
    const state = this.#written;
    const { snapshotMax, snapshotFailureRate } = scenario.host;
    const isBroken = !this.isHealed && this.#random.chance(snapshotFailureRate);
    schedule.after(this.#random.between(1, this.isHealed ? 50 : snapshotMax), () => {
      const isThere =
        receiver !== undefined &&
        receiver.isRunning &&
        receiver.incarnation === receiverIncarnation &&
        this.incarnation === incarnation &&
        this.isRunning &&
        network.isConnected(this.id, to);
      const hasArrived = isThere && !isBroken && receiver.#receiveSnapshot(message, state);
      if (this.incarnation === incarnation) {
        schedule.after(this.#random.between(1, 50), () => {
          this.#snapshotEnded(to, incarnation, hasArrived ? "sent" : "failed");
        });
      }
    });
  }

  #snapshotEnded(to: NodeId, incarnation: number, outcome: "sent" | "failed"): void {
    if (this.incarnation === incarnation && this.isUp) {
      this.run((raft) => {
        this.#sending.delete(to);
        this.#around.trace?.(`${this.id}: snapshot to ${to} ${outcome}`);
        raft.reportSnapshot(to, outcome);
      });
    }
  }

  /** All bytes of a snapshot are here: Raft decides what they are worth. False when they are refused unseen. */
  #receiveSnapshot(message: InstallSnapshot, state: AppliedState): boolean {
    const { raft } = this;
    if (raft === null || message.term < raft.term) {
      return false;
    }
    const { index, term, configuration } = state;
    this.#staged.set(index, state);
    this.#around.statistics.snapshots += 1;
    this.receive({ ...message, snapshot: { index, term, configuration } });
    return true;
  }
}

function isEmpty(ready: Ready): boolean {
  return ready.messages.length + ready.committed.length + ready.reads.length === 0;
}

function describeMessage(message: Message): string {
  const { type, from, to, ...rest } = message;
  const fields = JSON.stringify(rest, (key, value: unknown) =>
    key === "entries" && Array.isArray(value) ? value.length : value,
  );
  return `${from} -> ${to} ${type} ${fields}`;
}
