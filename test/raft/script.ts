import assert from "node:assert/strict";
import type { Message } from "../../cluster/raft/message.ts";
import type { Raft } from "../../cluster/raft/raft.ts";
import { isNodeId, LogIndex, NodeId, Term } from "../../cluster/types.ts";
import type { Configuration } from "../../cluster/types.ts";
import { ScriptDisk } from "./disk.ts";
import { ScriptNetwork } from "./network.ts";
import {
  printConfiguration,
  printEntry,
  printMessage,
  printProgress,
  printState,
  printWrite,
} from "./print.ts";
import { smallOptions } from "./options.ts";
import { AppliedEntries, ScriptReplica } from "./replica.ts";

/** A world of replicas, moved by the commands of one golden script. README.md beside the scripts explains every command. */
export class Script {
  readonly #replicas = new Map<NodeId, ScriptReplica>();
  readonly #network = new ScriptNetwork();
  #applied = new AppliedEntries();
  #options = smallOptions;

  /** Executes one command; returns what it prints, role changes last. */
  run(command: string): readonly string[] {
    const [verb = "", ...words] = command.split(" ");
    const args = new Args(words);
    const lines = [...this.#execute(verb, args)];
    for (const replica of this.#replicas.values()) {
      lines.push(...replica.takeRoleChange());
    }
    return lines.length === 0 ? ["ok"] : lines;
  }

  #execute(verb: string, args: Args): readonly string[] {
    switch (verb) {
      case "options":
        return this.#setOptions(args);
      case "cluster":
        return this.#cluster(args);
      case "replica":
        return this.#replica(args);
      case "ready":
      case "written":
      case "run":
      case "settle":
      case "messages":
      case "deliver":
      case "repeat":
      case "drop":
        return this.#move(verb, args);
      case "cut":
      case "isolate":
      case "heal":
      case "crash":
      case "restart":
      case "hold":
      case "release":
      case "random":
      case "patient":
        return this.#disturb(verb, args);
      case "state":
      case "progress":
      case "members":
      case "log":
      case "lease":
        return this.#show(verb, args);
      default:
        return this.#call(verb, args);
    }
  }

  #setOptions(args: Args): readonly string[] {
    for (const [name, value] of args.named) {
      assert(name in smallOptions, `unknown option ${name}`);
      this.#options = { ...this.#options, [name]: Number(value) };
    }
    return [];
  }

  #cluster(args: Args): readonly string[] {
    this.#replicas.clear();
    this.#network.clear();
    this.#applied = new AppliedEntries();
    const voters = args.ids;
    const learners = args.list("learners");
    for (const id of [...voters, ...learners]) {
      const disk = new ScriptDisk(configurationOf(voters, learners));
      this.#replicas.set(id, new ScriptReplica(id, disk, this.#options));
    }
    return [];
  }

  /** One replica with a past: its log as terms, from the compacted index on. */
  #replica(args: Args): readonly string[] {
    const id = args.id(0);
    const disk = new ScriptDisk(configurationOf(args.list("voters"), args.list("learners")));
    const terms = args.numbers("log");
    disk.compactedIndex = LogIndex(args.number("compacted", 0));
    disk.compactedTerm = Term(args.number("compactedTerm", 0));
    disk.entries = terms.map((term, position) => ({
      index: LogIndex(disk.compactedIndex + position + 1),
      term: Term(term),
      type: "command",
      payload: new TextEncoder().encode(`old${disk.compactedIndex + position + 1}t${term}`),
    }));
    const vote = args.list("vote")[0] ?? null;
    const commit = LogIndex(args.number("commit", disk.compactedIndex));
    disk.hardState = { term: Term(args.number("term", terms.at(-1) ?? 0)), vote, commit };
    disk.appliedIndex = disk.compactedIndex;
    disk.isQuarantined = args.has("quarantined");
    this.#replicas.set(id, new ScriptReplica(id, disk, this.#options));
    return [];
  }

  #move(verb: string, args: Args): readonly string[] {
    switch (verb) {
      case "ready":
        return this.#ready(this.#get(args.id(0)), args.maybe(1) !== "busy");
      case "written":
        this.#network.send(this.#get(args.id(0)).written());
        return [];
      case "messages":
        return this.#network.inFlight.map(printMessage);
      case "run":
        return this.#untilQuiet(args.maybe(0));
      case "settle":
        return this.#untilQuiet(args.maybe(0)).filter((line) => / (reads|installs) /.test(line));
      case "deliver":
        return this.#deliver(this.#network.take(args.word(0), args.maybe(1)));
      case "repeat":
        return this.#deliver(this.#network.peek(args.word(0), args.maybe(1)));
      case "drop":
        return this.#network.take(args.word(0), args.maybe(1)).map(printMessage);
    }
    return assert.fail(verb);
  }

  #disturb(verb: string, args: Args): readonly string[] {
    switch (verb) {
      case "cut":
        this.#network.cut(args.id(0), args.id(1));
        break;
      case "isolate":
        for (const other of this.#replicas.keys()) {
          this.#network.cut(args.id(0), other);
          this.#network.cut(other, args.id(0));
        }
        break;
      case "heal":
        this.#network.heal();
        break;
      case "crash":
        this.#get(args.id(0)).isCrashed = true;
        break;
      case "restart":
        this.#get(args.id(0)).restart();
        break;
      case "hold":
        this.#get(args.id(0)).isDiskHeld = true;
        break;
      case "release":
        this.#get(args.id(0)).isDiskHeld = false;
        break;
      case "random":
        this.#get(args.id(0)).random = Number(args.word(1));
        break;
      case "patient":
        for (const { raft } of args.ids.map((id) => this.#get(id))) {
          raft.setElectionPriority(1000);
          for (let count = 0; count < this.#options.electionTicks; count++) {
            raft.tick(1);
          }
        }
        break;
    }
    return [];
  }

  #show(verb: string, args: Args): readonly string[] {
    const ids = args.ids.length > 0 ? args.ids : [...this.#replicas.keys()];
    return ids.flatMap((id) => {
      const { raft } = this.#get(id);
      switch (verb) {
        case "state":
          return [printState(raft)];
        case "progress":
          return printProgress(raft);
        case "members":
          return [`${id} ${printConfiguration(raft.configuration)}`];
        case "log":
          return raft.entriesBetween(LogIndex(0), raft.lastIndex).map(printEntry);
        default:
          return [`${id} lease read: ${raft.leaseRead() ?? "none"}`];
      }
    });
  }

  /** Commands that are calls of one replica's Raft. */
  #call(verb: string, args: Args): readonly string[] {
    const { raft, disk } = this.#get(args.id(0));
    switch (verb) {
      case "tick":
        for (let count = Number(args.maybe(1) ?? 1); count > 0; count--) {
          raft.tick(1);
        }
        return [];
      case "pause":
        raft.tick(Number(args.word(1)));
        return [];
      case "propose":
      case "change":
      case "transfer":
      case "campaign":
      case "read":
        return this.#request(verb, raft, args);
      case "unreachable":
        raft.reportUnreachable(args.id(1), args.word(2) === "gone" ? "gone" : "lost");
        return [];
      case "reachable":
        raft.reportReachable(args.id(1));
        return [];
      case "report":
        raft.reportSnapshot(args.id(1), args.word(2) === "sent" ? "sent" : "failed");
        return [];
      case "compact": {
        const index = LogIndex(Number(args.word(1)));
        const term = raft.termAt(index);
        assert(term !== null, "only what is in the log can be compacted");
        raft.compact(index);
        disk.compact(index, term);
        return [];
      }
      case "quiesce":
        return [raft.quiesce() ? "quiesced" : "refused"];
      case "wake":
        raft.wake();
        return [];
      case "leave":
        return [raft.mayBeDeleted(args.list("successors")) ? "may be deleted" : "asks"];
      case "priority":
        raft.setElectionPriority(Number(args.word(1)));
        return [];
    }
    return assert.fail(`unknown command ${verb}`);
  }

  /** What clients and operators ask for. */
  #request(verb: string, raft: Raft, args: Args): readonly string[] {
    switch (verb) {
      case "propose": {
        const payloads = args.words.slice(1).map((word) => new TextEncoder().encode(word));
        const result = raft.propose(payloads);
        return result.type === "accepted" ? [`accepted at ${result.index}`] : [result.reason];
      }
      case "change": {
        const change = { voters: args.list("voters"), learners: args.list("learners") };
        const result = raft.proposeConfChange(change);
        return result.type === "accepted"
          ? [`accepted at ${result.index}`]
          : [`${result.reason}: ${result.detail}`];
      }
      case "transfer":
        return [raft.transferLeader(args.id(1)) ? "started" : "refused"];
      case "campaign":
        raft.campaign();
        return [];
      case "read":
        raft.readIndex(Number(args.word(1)));
        return [];
    }
    return assert.fail(verb);
  }

  #ready(replica: ScriptReplica, mayWrite: boolean): readonly string[] {
    if (!replica.hasReady) {
      return ["nothing"];
    }
    const ready = replica.ready(mayWrite);
    this.#applied.check(ready);
    this.#network.send(ready.messages);
    const lines = ready.messages.map((message) => `  ${printMessage(message)}`);
    for (const entry of ready.committed) {
      lines.push(`  ${replica.id} applies ${printEntry(entry)}`);
    }
    for (const read of ready.reads) {
      lines.push(`  ${replica.id} reads ${read.context} at ${read.index ?? "none"}`);
    }
    if (ready.write !== null) {
      lines.push(`  ${printWrite(ready.write)}`);
      lines.push(...ready.write.messages.map((message) => `    then ${printMessage(message)}`));
    }
    return lines;
  }

  /** Lets everybody work until nobody has anything to do. Messages of the type `held`, if given, stay under way. */
  #untilQuiet(held: string | null): readonly string[] {
    const lines: string[] = [];
    for (let round = 0; round < 1000; round++) {
      const before = lines.length;
      for (const replica of this.#replicas.values()) {
        if (!replica.isCrashed) {
          lines.push(...this.#turn(replica));
        }
      }
      lines.push(...this.#deliver(this.#network.takeAll(held)));
      if (lines.length === before) {
        return lines.filter((line) => line !== "");
      }
    }
    return assert.fail("the replicas never come to rest");
  }

  /** One turn of a host: ready, and the write unless the disk is held. Prints only what no message shows. */
  #turn(replica: ScriptReplica): readonly string[] {
    const lines: string[] = [];
    if (replica.hasReady) {
      const ready = replica.ready();
      this.#applied.check(ready);
      this.#network.send(ready.messages);
      lines.push("");
      if (ready.committed.length > 0) {
        lines.push(`${replica.id} applies ${ready.committed.map(printEntry).join(", ")}`);
      }
      for (const read of ready.reads) {
        lines.push(`${replica.id} reads ${read.context} at ${read.index ?? "none"}`);
      }
      if (ready.write !== null && ready.write.snapshot !== null) {
        lines.push(`${replica.id} installs ${ready.write.snapshot.index}`);
      }
    }
    if (replica.hasOutstanding && !replica.isDiskHeld) {
      lines.push("");
      this.#network.send(replica.written());
    }
    return lines;
  }

  #deliver(messages: readonly Message[]): readonly string[] {
    return messages.map((message) => {
      const to = this.#replicas.get(message.to);
      const isLost = this.#network.isCut(message) || to === undefined || to.isCrashed;
      if (message.type === "InstallSnapshot") {
        const sender = this.#replicas.get(message.from);
        if (isLost) {
          sender?.raft.reportSnapshot(message.to, "failed");
        } else {
          sender?.raft.reportSnapshot(message.to, "sent");
        }
      }
      if (!isLost) {
        to.raft.step(message);
      }
      return printMessage(message) + (isLost ? " (lost)" : "");
    });
  }

  #get(id: NodeId): ScriptReplica {
    const replica = this.#replicas.get(id);
    assert(replica !== undefined, `no replica ${id}`);
    return replica;
  }
}

/** The words of a command: `name=value` pairs and the others. */
class Args {
  readonly words: readonly string[];
  readonly named: ReadonlyMap<string, string>;

  constructor(words: readonly string[]) {
    this.words = words.filter((word) => !word.includes("="));
    const pairs = words.filter((word) => word.includes("="));
    this.named = new Map(
      pairs.map((word) => {
        const [name = "", value = ""] = word.split("=");
        return [name, value] as const;
      }),
    );
  }

  get ids(): readonly NodeId[] {
    return this.words.filter(isNodeId).map(NodeId);
  }

  word(position: number): string {
    const word = this.words[position];
    assert(word !== undefined, `argument ${position} is missing`);
    return word;
  }

  maybe(position: number): string | null {
    return this.words[position] ?? null;
  }

  has(word: string): boolean {
    return this.words.includes(word);
  }

  id(position: number): NodeId {
    return NodeId(this.word(position));
  }

  number(name: string, otherwise: number): number {
    return Number(this.named.get(name) ?? otherwise);
  }

  list(name: string): readonly NodeId[] {
    return (this.named.get(name) ?? "")
      .split(",")
      .filter((word) => word !== "")
      .map(NodeId);
  }

  numbers(name: string): readonly number[] {
    return (this.named.get(name) ?? "")
      .split(",")
      .filter((word) => word !== "")
      .map(Number);
  }
}

function configurationOf(voters: readonly NodeId[], learners: readonly NodeId[]): Configuration {
  return {
    voters: [...voters].sort(),
    votersOutgoing: [],
    learners: [...learners].sort(),
    learnersNext: [],
    autoLeave: false,
  };
}
