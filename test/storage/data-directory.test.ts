import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { test } from "node:test";
import { NodeId } from "../../cluster/types.ts";
import { crc32c } from "../../storage/checksum.ts";
import type { DataDirectoryOptions } from "../../storage/data-directory.ts";
import { DataDirectory } from "../../storage/data-directory.ts";
import type { StoreFailureCode } from "../../storage/failure.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { Actor, dump } from "./actor.ts";
import { temporaryDirectory } from "./temporary.ts";
import { generateTurns } from "./workload.ts";

test("a directory keeps its node, its instance and its cluster, and counts its openings", async (context) => {
  const options = await optionsFor(context);
  const first = await DataDirectory.open(options);
  assert.equal(first.identity.clusterId, null);
  assert.equal(first.identity.incarnation, 1);
  const founders = new Map([[NodeId("n1"), first.identity.instanceId]]);
  await first.joinCluster("blue", founders);
  await first.close();
  const second = await DataDirectory.open({ ...options, clusterId: "blue" });
  assert.deepEqual(second.identity, { ...first.identity, incarnation: 2 });
  assert.deepEqual(second.identity.founders, founders);
  await second.joinCluster("blue", founders);
  await assert.rejects(second.joinCluster("red", founders), /belongs to cluster blue/);
  await second.close();
});

test("two new directories have different instances", async (context) => {
  const [a, b] = [
    await DataDirectory.open(await optionsFor(context)),
    await DataDirectory.open(await optionsFor(context)),
  ];
  assert.notEqual(a.identity.instanceId, b.identity.instanceId);
  await Promise.all([a.close(), b.close()]);
});

test("the directory of another node is refused with wrong_node and left alone", async (context) => {
  const options = await existing(context);
  const before = await readFile(join(options.path, "flotilla.json"));
  await refuses(
    { ...options, nodeId: NodeId("n2") },
    "wrong_node",
    /belongs to node n1, this is node n2/,
  );
  assert.deepEqual(await readFile(join(options.path, "flotilla.json")), before);
});

test("the directory of another cluster is refused with wrong_cluster", async (context) => {
  const options = await existing(context);
  await refuses(
    { ...options, clusterId: "red" },
    "wrong_cluster",
    /belongs to cluster blue, not to red/,
  );
});

test("a directory that another process uses is refused with locked, and free when that one is gone", async (context) => {
  const options = await existing(context);
  const holder = spawn(
    process.execPath,
    [join(import.meta.dirname, "lock-holder.ts"), options.path],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  context.after(() => holder.kill("SIGKILL"));
  await once(holder.stdout, "data");
  await refuses(options, "locked", /another process uses this directory/);
  holder.kill("SIGKILL");
  await once(holder, "exit");
  await (await DataDirectory.open(options)).close();
});

test("a directory that is open in this process is refused with locked", async (context) => {
  const options = await existing(context);
  const open = await DataDirectory.open(options);
  await refuses(options, "locked", /another process uses this directory/);
  await open.close();
});

test("a directory of a newer or an older format is refused with other_format", async (context) => {
  const options = await existing(context);
  const path = join(options.path, "flotilla.json");
  const content: unknown = JSON.parse(await readFile(path, "utf8"));
  assert.ok(typeof content === "object");
  await writeFile(path, JSON.stringify({ ...content, format: 3, newField: true }));
  await refuses(options, "other_format", /format 3, this version of Flotilla reads 2/);
  await writeFile(path, JSON.stringify({ ...content, format: 1 }));
  await refuses(options, "other_format", /format 1, this version of Flotilla reads 2/);
});

for (const [what, damage, sentence] of [
  ["cut off", (path: string) => truncate(path, 40), /it is not JSON/],
  ["empty", (path: string) => truncate(path, 0), /it is not JSON/],
  ["changed", (path: string) => edit(path, '"n1"', '"n2"'), /its checksum is wrong/],
  ["gone", (path: string) => rm(path), /flotilla.json is gone/],
] as const) {
  test(`an identity that is ${what} is refused with corrupt`, async (context) => {
    const options = await existing(context);
    await damage(join(options.path, "flotilla.json"));
    await refuses(options, "corrupt", sentence);
  });
}

test("a store that was emptied, exchanged or deleted is refused with corrupt", async (context) => {
  const options = await existing(context);
  const store = join(options.path, "store");
  await rename(store, `${store}.kept`);
  await refuses(options, "corrupt", /CURRENT is damaged \(it is missing\)/);
  await refuses({ ...options, verifiesTables: false }, "corrupt", /does not exist/);

  const other = await existing(context);
  await rm(store, { recursive: true, force: true });
  await rename(join(other.path, "store"), store);
  await refuses(options, "corrupt", /is not the one that flotilla.json speaks of/);
});

test("a directory whose making was interrupted anywhere is made again", async (context) => {
  const options = await existing(context);
  const path = join(options.path, "flotilla.json");
  const complete = await readFile(path, "utf8");
  for (const keepsStore of [true, false]) {
    const { checksum: _, ...fields }: Record<string, unknown> = JSON.parse(
      complete.replace('"isComplete": true', '"isComplete": false'),
    );
    const checksum = crc32c(Buffer.from(JSON.stringify(fields)))
      .toString(16)
      .padStart(8, "0");
    await writeFile(path, JSON.stringify({ ...fields, checksum }));
    if (!keepsStore) {
      await rm(join(options.path, "store"), { recursive: true });
    }
    const directory = await DataDirectory.open(options);
    const recovered = await new DatabaseLogStore(directory.database, directory.witness).recover();
    assert.deepEqual(recovered, []);
    await directory.close();
  }
});

test("a path that is a file, or that may not be written, is refused", async (context) => {
  const parent = await temporaryDirectory(context);
  await writeFile(join(parent, "file"), "");
  const nodeId = NodeId("n1");
  const common = { nodeId, clusterId: null, verifiesTables: true };
  await refuses({ ...common, path: join(parent, "file") }, "io_error", /EEXIST/);
  if (process.getuid?.() === 0) {
    context.diagnostic(
      "modes do not bind root: the read-only case is covered by a read-only mount",
    );
    return;
  }
  await mkdir(join(parent, "closed"));
  await chmod(join(parent, "closed"), 0o500);
  await refuses(
    { ...common, path: join(parent, "closed", "data") },
    "no_permission",
    /owner or mode/,
  );
});

test("the witness is right after a close, and harmless when it is damaged or gone", async (context) => {
  const options = await optionsFor(context);
  const turns = generateTurns(3, 30);
  const directory = await DataDirectory.open(options);
  const store = new DatabaseLogStore(directory.database, directory.witness);
  await store.recover();
  const actor = new Actor(directory.database, store);
  for (const turn of turns) {
    await actor.run(turn);
  }
  await directory.close();
  for (const damage of [
    () => undefined,
    () => truncate(join(options.path, "witness"), 5),
    () => rm(join(options.path, "witness")),
  ]) {
    await damage();
    const again = await DataDirectory.open(options);
    const recovered = await new DatabaseLogStore(again.database, again.witness).recover();
    assert.equal(await dump(again.database, recovered), turns.at(-1)?.expected);
    assert.ok(again.witness.sequence > turns.length);
    await again.close();
  }
});

async function optionsFor(context: TestContext): Promise<DataDirectoryOptions> {
  const parent = await temporaryDirectory(context);
  return {
    path: join(parent, "data"),
    nodeId: NodeId("n1"),
    clusterId: null,
    verifiesTables: true,
  };
}

/** The closed directory of node n1 in cluster blue. */
async function existing(context: TestContext): Promise<DataDirectoryOptions> {
  const options = await optionsFor(context);
  const directory = await DataDirectory.open(options);
  await directory.joinCluster("blue", new Map());
  await directory.close();
  return options;
}

async function refuses(
  options: DataDirectoryOptions,
  code: StoreFailureCode,
  sentence: RegExp,
): Promise<void> {
  await assert.rejects(DataDirectory.open(options), (error) => {
    assert.ok(error instanceof StoreFailure, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, sentence);
    assert.match(error.message, new RegExp(options.path), "the message says where");
    return true;
  });
}

async function edit(path: string, from: string, to: string): Promise<void> {
  await writeFile(path, (await readFile(path, "utf8")).replace(from, to));
}
