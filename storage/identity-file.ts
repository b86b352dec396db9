import { link, open, readFile, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { NodeId } from "../cluster/types.ts";
import { isNodeId, NodeId as makeNodeId } from "../cluster/types.ts";
import { crc32c } from "./checksum.ts";
import { StoreFailure, storeFailure } from "./failure.ts";

/** Whose data a directory holds. Kept in a small readable file, so that losing the database is noticed. */
export interface Identity {
  readonly nodeId: NodeId;
  /** Random, made with the directory: a wiped node comes back with another one. */
  readonly instanceId: string;
  /** Null before the cluster exists. */
  readonly clusterId: string | null;
  /** Instance of every initial node that the cluster was founded with; empty before. */
  readonly founders: ReadonlyMap<NodeId, string>;
  /** Counts openings of this directory, from 1. */
  readonly incarnation: number;
}

/** The identity as the file has it. */
export interface StoredIdentity extends Identity {
  /** False until the database of a new directory is complete: until then nothing was promised and it may be made anew. */
  readonly isComplete: boolean;
}

/** Version of everything in a data directory: identity, keys and records. */
export const formatVersion = 2;

const fileName = "flotilla.json";

/** Null when there is none. Throws StoreFailure `other_format`, `corrupt` or an error of the file system. */
export async function readIdentity(directory: string): Promise<StoredIdentity | null> {
  const path = join(directory, fileName);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      return null;
    }
    throw storeFailure(`reading ${path}`, error);
  }
  return parse(path, text);
}

/** Durable and atomic: the old file or the new one, never a mixture. */
export async function writeIdentity(directory: string, identity: StoredIdentity): Promise<void> {
  // The lock is held: nobody else drafts, and a draft that a crash left behind is simply written over.
  await publish(directory, identity, "new", rename);
}

/** The same for a directory that has none yet; leaves the other one alone when another process is faster. */
export async function createIdentity(directory: string, identity: StoredIdentity): Promise<void> {
  await publish(directory, identity, `${process.pid}.new`, async (from, to) => {
    await link(from, to).catch((error: unknown) => {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) {
        throw error;
      }
    });
    await unlink(from);
  });
}

async function publish(
  directory: string,
  identity: StoredIdentity,
  draftSuffix: string,
  move: (from: string, to: string) => Promise<void>,
): Promise<void> {
  const path = join(directory, fileName);
  const draft = `${path}.${draftSuffix}`;
  const fields = {
    format: formatVersion,
    isComplete: identity.isComplete,
    nodeId: identity.nodeId,
    instanceId: identity.instanceId,
    clusterId: identity.clusterId,
    founders: Object.fromEntries(identity.founders),
    incarnation: identity.incarnation,
  };
  const text = JSON.stringify({ ...fields, checksum: checksumOf(fields) }, null, 2);
  try {
    const file = await open(draft, "w");
    try {
      await file.writeFile(`${text}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await move(draft, path);
    await syncDirectory(directory);
  } catch (error) {
    throw storeFailure(`writing ${path}`, error);
  }
}

/** Makes renames and new files in a directory durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function parse(path: string, text: string): StoredIdentity {
  const damaged = (why: string): StoreFailure =>
    new StoreFailure(
      "corrupt",
      `${path} is damaged (${why}): restore it from a backup, or empty the directory and let the node rejoin`,
    );
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw damaged("it is not JSON");
  }
  if (typeof content !== "object" || content === null || !("format" in content)) {
    throw damaged("it has no format");
  }
  if (typeof content.format === "number" && content.format !== formatVersion) {
    throw new StoreFailure(
      "other_format",
      `${path} has format ${content.format}, this version of Flotilla reads ${formatVersion}: another version wrote it; ` +
        "start that version, or empty the directory and let the node rejoin",
    );
  }
  const { checksum, ...fields } = content as Record<string, unknown>;
  if (checksum !== checksumOf(fields)) {
    throw damaged("its checksum is wrong");
  }
  const identity = fieldsOf(fields);
  if (identity === null) {
    throw damaged("a field is missing or malformed");
  }
  return identity;
}

function fieldsOf(fields: Record<string, unknown>): StoredIdentity | null {
  const { isComplete, nodeId, instanceId, clusterId, founders, incarnation } = fields;
  if (
    typeof isComplete !== "boolean" ||
    typeof nodeId !== "string" ||
    !isNodeId(nodeId) ||
    typeof instanceId !== "string" ||
    (typeof clusterId !== "string" && clusterId !== null) ||
    typeof founders !== "object" ||
    founders === null ||
    typeof incarnation !== "number"
  ) {
    return null;
  }
  const instances = new Map<NodeId, string>();
  for (const [node, instance] of Object.entries(founders)) {
    if (!isNodeId(node) || typeof instance !== "string") {
      return null;
    }
    instances.set(makeNodeId(node), instance);
  }
  return {
    isComplete,
    nodeId: makeNodeId(nodeId),
    instanceId,
    clusterId,
    founders: instances,
    incarnation,
  };
}

function checksumOf(fields: object): string {
  return crc32c(Buffer.from(JSON.stringify(fields)))
    .toString(16)
    .padStart(8, "0");
}
