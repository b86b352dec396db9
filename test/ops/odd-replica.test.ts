import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { ShardId } from "../../cluster/types.ts";
import { decodeAppliedRecord } from "../../storage/applied-record.ts";
import { openRecord, sealRecord } from "../../storage/checksum.ts";
import { appliedKey, stateKey, statePrefix, statePrefixBytes } from "../../storage/keys.ts";
import { LevelDatabase } from "../../storage/level-database.ts";
import { stateTable } from "../../storage/state-tables.ts";
import { Client } from "../e2e/client.ts";
import { startCluster } from "../e2e/support.ts";
import { clusterSeenBy, getJson, isReady } from "./support/cluster-client.ts";
import { eventually } from "./support/run.ts";

const kept = "{pair}kept";
const lost = "{pair}lost";

/** In a directory that nobody has open: makes `kept` say another thing, with a valid checksum, and `lost` be gone. */
async function damage(directory: string, shard: ShardId): Promise<void> {
  const database = await LevelDatabase.open(join(directory, "store"), { createIfMissing: false });
  const applied = database.getSync(appliedKey(shard));
  assert.ok(applied !== undefined);
  const prefix = statePrefix(shard, decodeAppliedRecord(shard, applied).generation);
  const keptRow = stateKey(prefix, stateTable.keys, Buffer.from(kept));
  const lostRow = stateKey(prefix, stateTable.keys, Buffer.from(lost));
  const record = database.getSync(keptRow);
  assert.ok(record !== undefined);
  const body = Buffer.from(openRecord(keptRow, record, statePrefixBytes));
  assert.equal(body.subarray(-5).toString(), "right");
  body.write("wrong", body.length - 5);
  const batch = database.batch();
  batch.put(keptRow, sealRecord(keptRow, body, statePrefixBytes));
  batch.del(lostRow);
  await batch.write(true);
  await database.close();
}

async function mismatchesAt(url: string, shard: ShardId): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const name = `flotilla_digest_mismatches_total{shard="${shard}"}`;
  const line = text.split("\n").find((each) => each.startsWith(name));
  return Number(line?.split(" ")[1]);
}

test("A replica that holds what it should not is found, reported by all, and comes back right", async (context) => {
  const { cluster, urls, directory, lines } = await startCluster(context, {
    shards: 2,
    flags: ["--tick-ms", "40", "--election-ticks", "15"],
  });
  const client = new Client(urls);
  const [url = ""] = urls;
  assert.equal((await client.put(0, kept, "right")).status, 201);
  assert.equal((await client.put(0, lost, "1")).status, 201);
  const place = await getJson<{ shard: number }>(
    `${url}/v1/cluster/ring/${encodeURIComponent(kept)}`,
  );
  const shard = ShardId(place.shard);
  const atLast = async (what: string): Promise<string | null> => {
    const { text } = await client.get(2, kept, "?consistency=stale");
    return text === what ? text : null;
  };
  await eventually("n3 has applied the write", 10_000, () => atLast("right"));
  assert.deepEqual(await Promise.all(urls.map((each) => mismatchesAt(each, shard))), [0, 0, 0]);

  await cluster.stop("n3");
  await damage(join(directory, "n3"), shard);
  await cluster.restart("n3");
  await cluster.ready(60_000);
  assert.equal(await atLast("wrong"), "wrong", "the damage is there, and no checksum tells");

  await client.sendUntilAnswered(0, `/v1/kv/${encodeURIComponent(lost)}`, {
    method: "PUT",
    body: "2",
  });
  await eventually("every node counts the mismatch", 60_000, async () => {
    const counts = await Promise.all(urls.map((each) => mismatchesAt(each, shard)));
    return counts.every((count) => count >= 1) ? counts : null;
  });
  await eventually("n3 holds the right value again", 60_000, () => atLast("right"));
  await eventually("n3 is ready", 30_000, async () => ((await isReady(urls[2] ?? "")) ? 1 : null));
  assert.ok(
    lines.some((line) => line.startsWith("n3") && line.includes("odd replicas of a shard")),
    lines.slice(-60).join("\n"),
  );
  await eventually("all replicas are the same again", 30_000, async () => {
    const views = await Promise.all(urls.map(clusterSeenBy));
    const held = views.map(({ shards }) => shards.find(({ id }) => id === shard)?.local);
    const states = held.map((local) => `${local?.applied_index} ${local?.digest}`);
    return new Set(states).size === 1 ? states : null;
  });
});
