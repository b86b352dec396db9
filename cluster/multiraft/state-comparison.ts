import { LogIndex, type NodeId } from "../types.ts";

/** A replica's word on its state: what it digests to right after the entry at `index`. */
export interface StateClaim {
  readonly index: LogIndex;
  readonly digest: string;
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
  /** What this replica must tell all members now; null: nothing. */
  readonly tell: StateClaim | null;
  readonly findings: readonly Finding[];
}

/** All that is known of one index. */
interface Round {
  readonly index: LogIndex;
  readonly digests: Map<NodeId, string>;
  isTold: boolean;
  isSeen: boolean;
  /** The last verdict, in one text. */
  verdict: string;
}

/** Rounds that are remembered: a replica that lags behind by less than this many still has its say. */
const roundsMax = 4;

/**
 * One replica's part in comparing the state of a shard. The leader opens a round now and then: it tells its digest at the index that it
 * has applied. The others compare at exactly that index, since each applies entry by entry, and are silent when they agree. Who learns of
 * a difference tells everybody its own digest of that index, once; so all members come to see all digests, and the same odd one.
 */
export class StateComparison {
  readonly #id: NodeId;
  readonly #rounds = new Map<LogIndex, Round>();
  /** What the last round that was opened here was about. */
  #openedAt = LogIndex(0);
  #wantedIndex = LogIndex(0);

  constructor(id: NodeId) {
    this.#id = id;
  }

  /** The next index at which this replica's own digest is wanted; 0: none. */
  get wantedIndex(): LogIndex {
    return this.#wantedIndex;
  }

  /** Whether there is anything to compare at `index` that has not been told yet. */
  isDue(index: LogIndex): boolean {
    return index > 0 && index !== this.#openedAt;
  }

  /** A member may not have heard what was told: the next round is due, whatever it is about, and differences are told again. */
  remind(): void {
    this.#openedAt = LogIndex(0);
    for (const round of this.#rounds.values()) {
      round.isTold = false;
    }
  }

  /** Another state has taken the place of the one that all this was about. */
  clear(): void {
    this.#rounds.clear();
    this.#openedAt = LogIndex(0);
    this.#wantedIndex = LogIndex(0);
  }

  /** This replica leads and asks all members to compare: returns what to tell them. */
  open(claim: StateClaim, voters: readonly NodeId[]): Conclusion {
    this.#openedAt = claim.index;
    const round = this.#round(claim.index);
    if (round !== null) {
      round.isTold = true;
    }
    return { tell: claim, findings: this.reached(claim, voters).findings };
  }

  /** This replica's own digest of an index. */
  reached(claim: StateClaim, voters: readonly NodeId[]): Conclusion {
    return this.#add(this.#id, claim, voters);
  }

  /** Another member's word. About an index that this replica has left behind without a word of its own it says nothing. */
  heard(
    from: NodeId,
    claim: StateClaim,
    appliedIndex: LogIndex,
    voters: readonly NodeId[],
  ): Conclusion {
    const isComparable = claim.index >= appliedIndex || this.#rounds.has(claim.index);
    return isComparable ? this.#add(from, claim, voters) : nothing;
  }

  #add(from: NodeId, { index, digest }: StateClaim, voters: readonly NodeId[]): Conclusion {
    const round = this.#round(index);
    if (round === null) {
      return nothing;
    }
    round.digests.set(from, digest);
    this.#findWanted();
    return this.#conclude(round, voters);
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
    const round = { index, digests: new Map(), isTold: false, isSeen: false, verdict: "" };
    this.#rounds.set(index, round);
    return round;
  }

  #findWanted(): void {
    const open = [...this.#rounds.values()].filter(({ digests }) => !digests.has(this.#id));
    this.#wantedIndex = LogIndex(
      open.length === 0 ? 0 : Math.min(...open.map(({ index }) => index)),
    );
  }

  #conclude(round: Round, voters: readonly NodeId[]): Conclusion {
    const { index, digests } = round;
    if (new Set(digests.values()).size < 2) {
      return nothing;
    }
    const findings: Finding[] = [];
    const seen = new Map(digests);
    if (!round.isSeen) {
      round.isSeen = true;
      findings.push({ type: "differ", index, digests: seen, odd: [] });
    }
    const verdict = judge(digests, voters);
    if (verdict !== null && textOf(verdict) !== round.verdict) {
      round.verdict = textOf(verdict);
      findings.push({ ...verdict, index, digests: seen });
    }
    const own = digests.get(this.#id);
    if (own === undefined || round.isTold) {
      return { tell: null, findings };
    }
    round.isTold = true;
    return { tell: { index, digest: own }, findings };
  }
}

const nothing: Conclusion = { tell: null, findings: [] };

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
