import { randomUUID } from "node:crypto";
import { access, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { assert } from "../cluster/assert.ts";
import type { NodeId } from "../cluster/types.ts";
import { openRecord, sealRecord } from "./checksum.ts";
import { StoreFailure, storeFailure } from "./failure.ts";
import type { Identity, StoredIdentity } from "./identity-file.ts";
import { createIdentity, readIdentity, syncDirectory, writeIdentity } from "./identity-file.ts";
import { instanceKey, rungKey } from "./keys.ts";
import { LevelDatabase } from "./level-database.ts";
import { verifyTables } from "./level-files.ts";
import { FileWitness } from "./witness.ts";

/** Which directory to open, and as whom. */
export interface DataDirectoryOptions {
  readonly path: string;
  readonly nodeId: NodeId;
  /** The cluster that this node is meant for; null: whichever the directory belongs to. */
  readonly clusterId: string | null;
  /** Reads all tables before LevelDB uses them: about a second per gigabyte. */
  readonly verifiesTables: boolean;
  readonly writeBufferBytes?: number;
  readonly cacheBytes?: number;
}

/**
 * One node's directory: `flotilla.json` (whose it is), `store/` (LevelDB, locked while open), `witness` (how far it is). Belongs to one
 * node of one cluster, for ever.
 */
export class DataDirectory {
  readonly database: LevelDatabase;
  readonly witness: FileWitness;
  readonly #path: string;
  #identity: StoredIdentity;

  private constructor(
    path: string,
    identity: StoredIdentity,
    database: LevelDatabase,
    witness: FileWitness,
  ) {
    this.#path = path;
    this.#identity = identity;
    this.database = database;
    this.witness = witness;
  }

  /**
   * Opens the directory, or makes a new one; counts the incarnation. Rejects with a StoreFailure whose code and message tell the
   * operator what is wrong, before anything of someone else's was changed.
   */
  static async open(options: DataDirectoryOptions): Promise<DataDirectory> {
    const { path } = options;
    const store = join(path, "store");
    try {
      // Node reports a read-only file system as ENOENT when it makes parents; asked for one directory it tells the truth.
      await mkdir(path, { recursive: true }).catch(() => mkdir(path));
    } catch (error) {
      throw storeFailure(`making the directory ${path}`, error);
    }
    const found = await readChecked(options);
    if (found === null) {
      await beginIdentity(options);
    }
    const isNew = found?.isComplete !== true;
    if (!isNew && options.verifiesTables) {
      await verifyTables(store);
    }
    const database = await openDatabase(options, store, isNew);
    try {
      // Read again, now that the lock is held: another process may have been faster.
      const begun = await readChecked(options);
      assert(begun !== null, "flotilla.json was deleted while the directory was being opened");
      const complete = begun.isComplete
        ? checkInstance(path, database, begun)
        : await completeStore(path, database, begun);
      const identity = { ...complete, incarnation: complete.incarnation + 1 };
      await writeIdentity(path, identity);
      return new DataDirectory(path, identity, database, await openWitness(path));
    } catch (error) {
      await database.close();
      throw error;
    }
  }

  get identity(): Identity {
    return this.#identity;
  }

  /** The node is now part of this cluster, durably and for ever. Repeating the same is allowed. */
  async joinCluster(clusterId: string, founders: ReadonlyMap<NodeId, string>): Promise<void> {
    const present = this.#identity.clusterId;
    assert(present === null || present === clusterId, `this node belongs to cluster ${present}`);
    const identity = { ...this.#identity, clusterId, founders };
    await writeIdentity(this.#path, identity);
    this.#identity = identity;
  }

  /** Unlocks the directory. Idempotent. */
  async close(): Promise<void> {
    await this.database.close();
    await this.witness.close();
  }
}

/** The identity, if there is one, checked against what this process is meant to be. */
async function readChecked(options: DataDirectoryOptions): Promise<StoredIdentity | null> {
  const { path, nodeId, clusterId } = options;
  const identity = await readIdentity(path);
  if (identity === null) {
    if (await exists(join(path, "store", "CURRENT"))) {
      throw new StoreFailure(
        "corrupt",
        `${path} holds a store but flotilla.json is gone, so nobody knows whose it is: restore the file, or empty the directory`,
      );
    }
    return null;
  }
  if (identity.nodeId !== nodeId) {
    throw new StoreFailure(
      "wrong_node",
      `${path} belongs to node ${identity.nodeId}, this is node ${nodeId}: start it as ${identity.nodeId}, or choose another directory`,
    );
  }
  if (clusterId !== null && identity.clusterId !== null && identity.clusterId !== clusterId) {
    throw new StoreFailure(
      "wrong_cluster",
      `${path} belongs to cluster ${identity.clusterId}, not to ${clusterId}: choose another directory`,
    );
  }
  return identity;
}

async function openDatabase(
  options: DataDirectoryOptions,
  store: string,
  isNew: boolean,
): Promise<LevelDatabase> {
  const { writeBufferBytes, cacheBytes } = options;
  return LevelDatabase.open(store, {
    createIfMissing: isNew,
    ...(writeBufferBytes === undefined ? {} : { writeBufferBytes }),
    ...(cacheBytes === undefined ? {} : { cacheBytes }),
  });
}

/** Says whose the directory is going to be before there is a store in it: a store without an identity has lost it. */
async function beginIdentity({ path, nodeId }: DataDirectoryOptions): Promise<void> {
  await createIdentity(path, {
    isComplete: false,
    nodeId,
    instanceId: randomUUID(),
    clusterId: null,
    founders: new Map(),
    incarnation: 0,
  });
}

/**
 * Ties the new store to its directory. The record and the first rung are one batch, so none can be lost without the other. Until the
 * identity says that it is complete, nothing was promised and this may be repeated.
 */
async function completeStore(
  path: string,
  database: LevelDatabase,
  identity: StoredIdentity,
): Promise<StoredIdentity> {
  const batch = database.batch();
  batch.put(instanceKey, sealRecord(instanceKey, Buffer.from(identity.instanceId)));
  batch.put(rungKey(0), new Uint8Array(0));
  await batch.write(true);
  await syncDirectory(path);
  return { ...identity, isComplete: true };
}

/** LevelDB opens as an empty database when its log was cut to nothing. */
function checkInstance(
  path: string,
  database: LevelDatabase,
  identity: StoredIdentity,
): StoredIdentity {
  const record = database.getSync(instanceKey);
  const instance =
    record === undefined ? null : Buffer.from(openRecord(instanceKey, record)).toString();
  if (instance !== identity.instanceId) {
    throw new StoreFailure(
      "corrupt",
      `the store in ${path} is not the one that flotilla.json speaks of (${instance ?? "it is empty"}): ` +
        "it was emptied, replaced or damaged; empty the directory and let the node rejoin",
    );
  }
  return identity;
}

async function openWitness(path: string): Promise<FileWitness> {
  try {
    return await FileWitness.open(join(path, "witness"));
  } catch (error) {
    throw storeFailure(`opening ${join(path, "witness")}`, error);
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
