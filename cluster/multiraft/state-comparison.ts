import { LogIndex, type NodeId } from "../types.ts";

/** A replica's word on its state: what it digests to right after the entry at `index`. */
export interface StateClaim {
  readonly index: LogIndex;
  readonly digest: string;
}

/** A claim as it came in from another member. */
export interface HeardClaim {
  readonly from: NodeId;
  readonly claim: StateClaim;
  /** The member wants to hear this replica's own. */
  readonly isQuestion: boolean;
}

/**
 * Replicas of one shard differ at one index.
 *
 * - `differ`: the first sight of it, once per index;
 * - `odd`: a majority of the voters agrees, and these members do not. Told again when there are more of them;
 * - `split`: all voters have spoken, and no majority agrees: nobody can tell who is right.
 */
export interface Finding {
  readonly type: "differ" | "odd" | "split";
  readonly index: LogIndex;
  readonly digests: ReadonlyMap<NodeId, string>;
  /** Of `odd`; empty otherwise. */
  readonly odd: readonly NodeId[];
}

/** What follows from a word that was heard or said. */
export interface Conclusion {
  /** What this replica must tell now; null: nothing. */
  readonly tell: StateClaim | null;
  /** Whom; null: all members. */
  readonly to: NodeId | null;
  readonly findings: readonly Finding[];
}

/** All that is known of one index. */
interface Round {
  readonly index: LogIndex;
  readonly digests: Map<NodeId, string>;
  /** Who has asked for this replica's own digest and was not answered yet. */
  asker: NodeId | null;
  /** Everybody was told the own digest. */
  isTold: boolean;
  isSeen: boolean;
  /** The last verdict, in one text. */
  verdict: string;
}

/** Rounds that are remembered: a replica that lags behind by less than this many still has its say. */
const roundsMax = 4;

/**
 * One replica's part in comparing the state of a shard. The leader asks now and then: it tells its digest at the index that it has applied. The
 * others compare at exactly that index, since each applies entry by entry, and answer. Who learns of a difference tells everybody its
 * own digest of that index; so all members come to see all digests, and the same odd one. The leader asks again until all have answered
 * and agree.
 */
export class StateComparison {
  readonly #id: NodeId;
  readonly #rounds = new Map<LogIndex, Round>();
  #wantedIndex = LogIndex(0);

  constructor(id: NodeId) {
    this.#id = id;
  }

  /** The next index at which this replica's own digest is wanted; 0: none. */
  get wantedIndex(): LogIndex {
    return this.#wantedIndex;
  }

  /** Whether this replica, which leads, should ask about the state at `index`: not all members are known to agree. */
  isDue(index: LogIndex, members: readonly NodeId[]): boolean {
    const digests = this.#rounds.get(index)?.digests;
    const areHeard = members.every((member) => digests?.has(member));
    return index > 0 && (digests === undefined || !areHeard || differ(digests));
  }

  /** The member may have begun anew: what it said is not sure to hold any more. */
  forget(member: NodeId): void {
    for (const { digests } of this.#rounds.values()) {
      digests.delete(member);
    }
  }

  /** Another state has taken the place of the one that all this was about. */
  clear(): void {
    this.#rounds.clear();
    this.#wantedIndex = LogIndex(0);
  }

  /** This replica leads and asks all members: what to tell them, as a question. */
  ask(claim: StateClaim, voters: readonly NodeId[]): Conclusion {
    const round = this.#round(claim.index);
    if (round !== null) {
      round.isTold = true;
    }
    return { ...this.reached(claim, voters), tell: claim, to: null };
  }

  /** This replica's own digest of an index. */
  reached(claim: StateClaim, voters: readonly NodeId[]): Conclusion {
    return this.#add(this.#id, claim, voters);
  }

  /** Another member's word. About an index that this replica has left behind without a word of its own it says nothing. */
  heard(word: HeardClaim, appliedIndex: LogIndex, voters: readonly NodeId[]): Conclusion {
    const { from, claim, isQuestion } = word;
    const isComparable = claim.index >= appliedIndex || this.#rounds.has(claim.index);
    const round = isComparable ? this.#round(claim.index) : null;
    if (round !== null && isQuestion) {
      round.asker = from;
    }
    return isComparable ? this.#add(from, claim, voters) : nothing;
  }

  #add(from: NodeId, { index, digest }: StateClaim, voters: readonly NodeId[]): Conclusion {
    const round = this.#round(index);
    if (round === null) {
      return nothing;
    }
    round.digests.set(from, digest);
    this.#findWanted();
    const findings = differ(round.digests) ? find(round, voters) : [];
    return { ...this.#answer(round), findings };
  }

  /** A question is answered, with an answer for all when there is a difference; who learns of one says so unasked, once. */
  #answer(round: Round): Omit<Conclusion, "findings"> {
    const { index, digests, asker } = round;
    const own = digests.get(this.#id);
    const isForAll = differ(digests);
    if (own === undefined || (asker === null && (!isForAll || round.isTold))) {
      return nothing;
    }
    round.asker = null;
    round.isTold ||= isForAll;
    return { tell: { index, digest: own }, to: isForAll ? null : asker };
  }

  /** Null when there are too many open rounds: those that wait for this replica's own word come first. */
  #round(index: LogIndex): Round | null {
    const known = this.#rounds.get(index);
    if (known !== undefined) {
      return known;
    }
    if (this.#rounds.size >= roundsMax) {
      const done = [...this.#rounds.values()].filter(({ digests }) => digests.has(this.#id));
      if (done.length === 0) {
        return null;
      }
      this.#rounds.delete(LogIndex(Math.min(...done.map((round) => round.index))));
    }
    const round: Round = {
      index,
      digests: new Map(),
      asker: null,
      isTold: false,
      isSeen: false,
      verdict: "",
    };
    this.#rounds.set(index, round);
    return round;
  }

  #findWanted(): void {
    const open = [...this.#rounds.values()].filter(({ digests }) => !digests.has(this.#id));
    this.#wantedIndex = LogIndex(
      open.length === 0 ? 0 : Math.min(...open.map(({ index }) => index)),
    );
  }
}

const nothing: Conclusion = { tell: null, to: null, findings: [] };

function differ(digests: ReadonlyMap<NodeId, string>): boolean {
  return new Set(digests.values()).size > 1;
}

/** What is new about a difference. */
function find(round: Round, voters: readonly NodeId[]): readonly Finding[] {
  const { index } = round;
  const digests = new Map(round.digests);
  const findings: Finding[] = [];
  if (!round.isSeen) {
    round.isSeen = true;
    findings.push({ type: "differ", index, digests, odd: [] });
  }
  const verdict = judge(digests, voters);
  if (verdict !== null && textOf(verdict) !== round.verdict) {
    round.verdict = textOf(verdict);
    findings.push({ ...verdict, index, digests });
  }
  return findings;
}

type Verdict = Pick<Finding, "type" | "odd">;

/** Null while a majority may still come together. */
function judge(digests: ReadonlyMap<NodeId, string>, voters: readonly NodeId[]): Verdict | null {
  const counts = new Map<string, number>();
  for (const voter of voters) {
    const digest = digests.get(voter);
    if (digest !== undefined) {
      counts.set(digest, (counts.get(digest) ?? 0) + 1);
    }
  }
  for (const [right, count] of counts) {
    if (2 * count > voters.length) {
      const odd = [...digests].filter(([, digest]) => digest !== right).map(([id]) => id);
      return { type: "odd", odd: odd.sort() };
    }
  }
  return voters.every((voter) => digests.has(voter)) ? { type: "split", odd: [] } : null;
}

function textOf({ type, odd }: Verdict): string {
  return `${type} ${odd.join()}`;
}
