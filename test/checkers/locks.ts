/** A lock that somebody was told to hold. Times are positions in one order of all calls and returns. */
export interface Grant {
  readonly lock: string;
  readonly owner: string;
  /** Fencing token: the revision at which the lock was taken. */
  readonly token: number;
  readonly call: number;
  readonly return: number;
}

/** A write that was accepted under a token, at a revision of the lock's shard. */
export interface FencedWrite {
  readonly lock: string;
  readonly token: number;
  readonly revision: number;
}

/**
 * What is wrong with a lock's history, as sentences: two owners of one token, a token that is not larger than one granted before, a write
 * that was accepted although a later holder's token had been granted. Tokens and revisions of one shard are one order, so the last needs no clock.
 */
export function checkLocks(
  grants: readonly Grant[],
  writes: readonly FencedWrite[],
): readonly string[] {
  const wrong: string[] = [];
  const owners = new Map<string, string>();
  const tokens = new Map<string, Set<number>>();
  for (const { lock, owner, token } of grants) {
    const key = `${lock}=${token}`;
    const known = owners.get(key) ?? owner;
    owners.set(key, known);
    tokens.set(lock, (tokens.get(lock) ?? new Set()).add(token));
    if (known !== owner) {
      wrong.push(`${key} was given to ${known} and to ${owner}`);
    }
  }
  wrong.push(...tokensThatGoBack(grants));
  for (const { lock, token, revision } of writes) {
    for (const other of tokens.get(lock) ?? []) {
      if (other > token && other < revision) {
        wrong.push(`${lock}=${token} wrote at ${revision}, but ${other} had been given out before`);
      }
    }
  }
  return wrong;
}

/** Each grant against the largest token that was answered before it was asked for. */
function tokensThatGoBack(grants: readonly Grant[]): readonly string[] {
  const wrong: string[] = [];
  for (const grant of grants) {
    for (const earlier of grants) {
      if (
        earlier.lock === grant.lock &&
        earlier.return < grant.call &&
        earlier.token > grant.token
      ) {
        wrong.push(`${grant.lock}=${grant.token} was given out after ${earlier.token}`);
      }
    }
  }
  return wrong;
}
