import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, it } from "node:test";
import { LevelDatabase } from "../../storage/level-database.ts";
import { make, ShardHarness } from "./shard-harness.ts";

const directory = await mkdtemp(join(tmpdir(), "flotilla-snapshots-"));
after(() => rm(directory, { recursive: true, force: true }));

it("A snapshot that is begun while a turn is on its way holds one applied index, all of it and nothing more", async () => {
  const database = await LevelDatabase.open(join(directory, "db"), { createIfMissing: true });
  const source = await ShardHarness.create({}, database);
  const target = await ShardHarness.create();
  for (let round = 0; round < 300; round++) {
    source.run(make.increment("n", 1n), make.put(`k${round % 50}`, String(round)));
    const before = source.machine.appliedIndex - 2;
    const written = source.stageOnly();
    // The turn may reach the database at any moment from here on, also between two lines of the reader.
    const spinEnd = performance.now() + (round % 30) * 0.005;
    while (performance.now() < spinEnd) {
      // The event loop stands still; LevelDB's thread does not.
    }
    await source.sendSnapshot(target);
    await written;
    const { appliedIndex } = target.machine;
    assert.ok(appliedIndex === before || appliedIndex === before + 2);
    assert.equal(await target.machine.recomputeDigest(), target.machine.digest, `round ${round}`);
  }
  await database.close();
});
