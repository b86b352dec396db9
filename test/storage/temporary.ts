import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Database } from "../../storage/database.ts";
import { LevelDatabase } from "../../storage/level-database.ts";

/** A directory that goes away with the test. */
export async function temporaryDirectory(context: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "flotilla-storage-"));
  context.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** A LevelDB that is closed, and goes away, with the test. */
export async function temporaryLevel(context: TestContext): Promise<Database> {
  const path = await temporaryDirectory(context);
  const database = await LevelDatabase.open(join(path, "store"), { createIfMissing: true });
  context.after(() => database.close());
  return database;
}
