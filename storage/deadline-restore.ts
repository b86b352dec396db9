import type { Deadlines } from "./deadlines.ts";
import { decodeKeyDeadline } from "./key-table.ts";
import { decodeStoredLock, type StoredParty } from "./locks.ts";
import type { StateRow, StateScan } from "./state-scan.ts";
import { soleRow, stateTable } from "./state-tables.ts";
import type { StateStore } from "./state-store.ts";

/**
 * Reads what is left of every time to live from the state, as of now. Entries are applied meanwhile: what they set is newer and stays;
 * what they remove and this reads all the same leads to an expiration without effect, which removes it.
 *
 * @param isCurrent false once another state has taken the place of this one: nothing more is restored then
 */
export async function restoreDeadlines(
  store: StateStore,
  deadlines: Deadlines,
  isCurrent: () => boolean,
): Promise<void> {
  const keys = store.scan(stateTable.deadlines, soleRow, null);
  const locks = store.scan(stateTable.locks, soleRow, null);
  await eachRow(keys, isCurrent, ({ key, body }) => {
    const { ttlMs, remainingMs, revision } = decodeKeyDeadline(body);
    deadlines.restore({ kind: "key", key, owner: "" }, ttlMs, remainingMs, revision);
  });
  await eachRow(locks, isCurrent, ({ key, body }) => {
    const { holder, waiters } = decodeStoredLock(body);
    restoreParty(deadlines, "lock_holder", key, holder);
    waiters.forEach((waiter) => restoreParty(deadlines, "lock_waiter", key, waiter));
  });
}

/** Some milliseconds of the event loop. */
const rowsPerStep = 1000;

async function eachRow(
  scan: StateScan,
  isCurrent: () => boolean,
  take: (row: StateRow) => void,
): Promise<void> {
  try {
    let rows = await scan.next(rowsPerStep);
    while (rows.length > 0 && isCurrent()) {
      rows.forEach(take);
      rows = await scan.next(rowsPerStep);
    }
  } finally {
    await scan.close();
  }
}

function restoreParty(
  deadlines: Deadlines,
  kind: "lock_holder" | "lock_waiter",
  key: Uint8Array,
  { owner, ttlMs, remainingMs, deadlineRevision }: StoredParty,
): void {
  deadlines.restore({ kind, key, owner }, ttlMs, remainingMs, deadlineRevision);
}
