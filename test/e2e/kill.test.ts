import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { startCluster } from "./support.ts";
import { Writers } from "./writers.ts";

test("kill -9 of each node in turn under load loses no acknowledged write", async (context) => {
  const { cluster, lines } = await startCluster(context);
  let down = "";
  const writers = new Writers(4, () =>
    cluster.nodes.filter((node) => node.id !== down).map((node) => node.url),
  );
  for (const { id } of cluster.nodes) {
    const before = writers.acknowledgedCount;
    await writersProgress(writers, before + 50);
    down = id;
    const killedMs = performance.now();
    await cluster.kill(id);
    await writersProgress(writers, writers.acknowledgedCount + 200);
    context.diagnostic(
      `${id} killed: 200 writes later after ${Math.round(performance.now() - killedMs)} ms`,
    );
    await cluster.restart(id);
    await cluster.ready(30_000, [id]);
    down = "";
  }
  const report = await writers.stop();
  context.diagnostic(
    `${report.acknowledged} acknowledged, ${report.unknown} unknown, ${report.refused} refused, ` +
      `longest time without a write ${Math.round(report.longestGapMs)} ms`,
  );
  for (const { url, id } of cluster.nodes) {
    assert.deepEqual(await writers.missing(url), [], `lost, read through ${id}`);
  }
  assert.ok(
    report.longestGapMs < 10_000,
    `no writes for ${report.longestGapMs} ms\n${lines.slice(-60).join("\n")}`,
  );
});

/** Resolves when `count` writes are acknowledged in all. */
async function writersProgress(writers: Writers, count: number): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (writers.acknowledgedCount < count) {
    if (performance.now() > deadline) {
      throw new Error(`writes stopped at ${writers.acknowledgedCount}, waiting for ${count}`);
    }
    await delay(5);
  }
}
