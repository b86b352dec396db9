import { checkInvariants } from "../../cluster/raft/invariants.ts";
import type { Message } from "../../cluster/raft/message.ts";
import type { Raft } from "../../cluster/raft/raft.ts";
import type { Configuration, Entry, NodeId, Term } from "../../cluster/types.ts";
import { LogIndex as toIndex } from "../../cluster/types.ts";
import type { Disk } from "./disk.ts";
import { check } from "./failure.ts";
import type { Ledger } from "./ledger.ts";
import { isQuorum } from "./quorums.ts";

/** What the watch needs to see of a node. */
export interface WatchedNode {
  readonly id: NodeId;
  readonly disk: Disk;
  readonly raft: Raft | null;
}

/** How a replica looked when it was last observed; begins anew with each start of its process. */
interface Sighting {
  raft: Raft | null;
  term: number;
  commitIndex: number;
  appliedIndex: number;
  compactedIndex: number;
  wasLeader: boolean;
  /** Of a leader: the matches it knew, by member, and the configuration that it went by: who comes back to a group begins anew. */
  matches: Map<NodeId, number>;
  configuration: Configuration;
}

/**
 * Looks at every replica after every step, with the eyes of somebody who sees all nodes and all disks, and stops the run at the
 * first broken invariant. Cheap when nothing changed.
 */
export class Watch {
  readonly #nodes: ReadonlyMap<NodeId, WatchedNode>;
  readonly #ledger: Ledger;
  readonly #sightings = new Map<NodeId, Sighting>();
  readonly #leaders = new Map<Term, NodeId>();
  /** Who got a node's vote, by node and term. Outlives crashes and lost disks. */
  readonly #votes = new Map<string, NodeId>();
  readonly #count = { elections: 0, commits: 0 };

  constructor(nodes: ReadonlyMap<NodeId, WatchedNode>, ledger: Ledger) {
    this.#nodes = nodes;
    this.#ledger = ledger;
  }

  /** Number of leaders that there were. */
  get elections(): number {
    return this.#count.elections;
  }

  /** After anything was done with `raft`: what changed must have been allowed to. */
  observe(id: NodeId, raft: Raft): void {
    const seen = this.#sighting(id, raft);
    const { term, commitIndex, appliedIndex, isLeader } = raft;
    check(term >= seen.term, "term-monotonic", () => `${id}: ${term} after ${seen.term}`);
    if (isLeader && (!seen.wasLeader || term !== seen.term)) {
      this.#elected(id, raft);
      seen.matches.clear();
    }
    if (commitIndex !== seen.commitIndex) {
      check(commitIndex > seen.commitIndex, "commit-monotonic", () => {
        return `${id}: ${commitIndex} after ${seen.commitIndex}`;
      });
      this.#committed(id, raft);
    }
    if (appliedIndex !== seen.appliedIndex) {
      check(appliedIndex > seen.appliedIndex, "applied-monotonic", () => {
        return `${id}: ${appliedIndex} after ${seen.appliedIndex}`;
      });
      check(appliedIndex <= commitIndex, "applied-is-committed", () => {
        return `${id}: applied ${appliedIndex}, committed ${commitIndex}`;
      });
    }
    seen.term = term;
    seen.commitIndex = commitIndex;
    seen.appliedIndex = appliedIndex;
    seen.wasLeader = isLeader;
  }

  #sighting(id: NodeId, raft: Raft): Sighting {
    const known = this.#sightings.get(id);
    if (known !== undefined && known.raft === raft) {
      return known;
    }
    const { term, commitIndex, appliedIndex, compactedIndex } = raft;
    const fresh: Sighting = {
      raft,
      term,
      commitIndex,
      appliedIndex,
      compactedIndex,
      wasLeader: false,
      matches: new Map(),
      configuration: raft.configuration,
    };
    this.#sightings.set(id, fresh);
    return fresh;
  }

  #elected(id: NodeId, raft: Raft): void {
    const { term } = raft;
    const other = this.#leaders.get(term);
    check(other === undefined, "one-leader-per-term", () => `${id} and ${other} lead term ${term}`);
    this.#leaders.set(term, id);
    this.#count.elections += 1;
    const index = toIndex(this.#ledger.committedBefore(term));
    const inLog = raft.termAt(index);
    const isComplete =
      index === 0 ||
      index < raft.compactedIndex ||
      (inLog !== null && inLog === this.#ledger.termAt(index));
    check(isComplete, "leader-completeness", () => {
      return `${id} leads term ${term} without committed entry ${index} of term ${this.#ledger.termAt(index)}`;
    });
  }

  /** A commit index moved: of a leader, because it counted a quorum; of everybody else, because a leader did before. */
  #committed(id: NodeId, raft: Raft): void {
    const { commitIndex } = raft;
    if (raft.isLeader && commitIndex > this.#ledger.commitIndex) {
      this.#checkQuorum(id, raft);
      const from = this.#ledger.commitIndex + 1;
      for (const entry of raft.entriesBetween(toIndex(from), commitIndex)) {
        if (entry.type === "config") {
          this.#checkStep(id, entry);
        }
        this.#ledger.commit(entry, raft.term, id);
      }
    }
    check(commitIndex <= this.#ledger.commitIndex, "commit-is-a-leaders", () => {
      return `${id} takes ${commitIndex} for committed, leaders committed ${this.#ledger.commitIndex}`;
    });
    const term = raft.termAt(commitIndex);
    check(
      term === null || term === this.#ledger.termAt(commitIndex),
      "state-machine-safety",
      () => {
        return `${id} commits (${commitIndex}, ${term}), others (${commitIndex}, ${this.#ledger.termAt(commitIndex)})`;
      },
    );
  }

  /** Raft 5.4.2 and storage rule 1: own term, and durable on a quorum of the members that the leader goes by. */
  #checkQuorum(id: NodeId, raft: Raft): void {
    const { commitIndex, configuration } = raft;
    const term = raft.termAt(commitIndex);
    check(term === raft.term, "commit-of-own-term", () => {
      return `${id} in term ${raft.term} commits (${commitIndex}, ${term}) by counting`;
    });
    const holds = this.#holders({ index: commitIndex, term: raft.term });
    check(isQuorum(configuration, holds), "commit-durable-on-quorum", () => {
      const members = [...configuration.voters, ...configuration.votersOutgoing];
      return `${id} commits ${commitIndex}; durable on ${members.filter(holds).join(" ")} of ${JSON.stringify(configuration)}`;
    });
  }

  /** Membership goes step by step: a change is decided by a quorum of the members that the change before it made. */
  #checkStep(id: NodeId, entry: Entry): void {
    const { configuration } = this.#ledger;
    check(isQuorum(configuration, this.#holders(entry)), "one-change-at-a-time", () => {
      return `${id} commits the change ${entry.index} without a quorum of ${JSON.stringify(configuration)}`;
    });
  }

  #holders({ index, term }: { readonly index: number; readonly term: number }) {
    return (member: NodeId): boolean => this.#nodes.get(member)?.disk.holds(index, term) === true;
  }

  /** Before a message leaves: it promises nothing that its sender's disk does not hold. */
  sending(node: WatchedNode, message: Message): void {
    const { disk } = node;
    switch (message.type) {
      case "RequestVote":
        this.#voted(disk, message.term, message.from);
        return;
      case "RequestVoteResponse":
        if (message.granted) {
          this.#voted(disk, message.term, message.to);
        }
        return;
      case "AppendEntriesResponse":
        if (message.result.type === "accepted") {
          this.#acknowledged(disk, message.term, message.result.matchIndex);
        }
        return;
      case "AppendEntries":
      case "Heartbeat":
      case "CommitNotice":
      case "TimeoutNow":
        check(this.#leaders.get(message.term) === message.from, "one-leader-per-term", () => {
          return `${message.from} sends ${message.type} in term ${message.term} of ${this.#leaders.get(message.term)}`;
        });
        return;
      case "RequestPreVote":
      case "RequestPreVoteResponse":
      case "HeartbeatResponse":
      case "InstallSnapshot":
      case "ReadIndex":
      case "ReadIndexResponse":
        return;
    }
  }

  #voted(disk: Disk, term: Term, candidate: NodeId): void {
    const key = `${disk.id}/${term}`;
    const earlier = this.#votes.get(key);
    check(earlier === undefined || earlier === candidate, "one-vote-per-term", () => {
      return `${disk.id} votes for ${candidate} after ${earlier} in term ${term}`;
    });
    this.#votes.set(key, candidate);
    const { hardState } = disk;
    const isDurable =
      hardState.term > term || (hardState.term === term && hardState.vote === candidate);
    check(isDurable, "vote-durable-before-sent", () => {
      return `${disk.id} votes for ${candidate} in term ${term}; disk: ${JSON.stringify(hardState)}`;
    });
    check(!disk.isQuarantined, "quarantined-is-silent", () => `${disk.id} votes in ${term}`);
  }

  #acknowledged(disk: Disk, term: Term, matchIndex: number): void {
    check(disk.hardState.term >= term, "acknowledged-is-durable", () => {
      return `${disk.id} acknowledges in term ${term}; durable term ${disk.hardState.term}`;
    });
    check(matchIndex <= disk.lastIndex, "acknowledged-is-durable", () => {
      return `${disk.id} acknowledges ${matchIndex}; durable up to ${disk.lastIndex}`;
    });
    check(!disk.isQuarantined, "quarantined-is-silent", () => {
      return `${disk.id} acknowledges ${matchIndex} in ${term}`;
    });
    const leader = this.#nodes.get(this.#leaders.get(term) ?? disk.id)?.raft;
    if (leader?.isLeader && leader.term === term) {
      const mine = disk.termAt(matchIndex);
      const theirs = leader.termAt(toIndex(matchIndex));
      check(mine === null || theirs === null || mine === theirs, "acknowledged-matches", () => {
        return `${disk.id} acknowledges (${matchIndex}, ${mine}), the leader has (${matchIndex}, ${theirs})`;
      });
    }
  }

  /** Once a tick: what costs more to look at. */
  inspect(node: WatchedNode, raft: Raft): void {
    checkInvariants(raft);
    if (!raft.isLeader) {
      return;
    }
    const seen = this.#sighting(node.id, raft);
    if (seen.configuration !== raft.configuration) {
      seen.configuration = raft.configuration;
      seen.matches.clear();
    }
    for (const [member, progress] of raft.status().progress) {
      const { matchIndex, nextIndex } = progress;
      check(matchIndex < nextIndex, "match-below-next", () => {
        return `${node.id} knows ${member} at match ${matchIndex}, next ${nextIndex}`;
      });
      const before = seen.matches.get(member) ?? 0;
      const wipes = this.#nodes.get(member)?.disk.wipes ?? 0;
      check(matchIndex >= before || wipes > 0, "match-monotonic", () => {
        return `${node.id} knows ${member} at ${matchIndex} after ${before}`;
      });
      seen.matches.set(member, matchIndex);
      const disk = this.#nodes.get(member)?.disk;
      // A member that follows a newer leader may have overwritten what it acknowledged to this one.
      if (disk !== undefined && wipes === 0 && disk.hardState.term <= raft.term) {
        check(matchIndex <= disk.lastIndex, "match-is-durable", () => {
          return `${node.id} knows ${member} at ${matchIndex}; its disk ends at ${disk.lastIndex}`;
        });
      }
    }
  }
}
