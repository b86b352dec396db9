import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { NodeId } from "../../cluster/types.ts";
import { DataDirectory } from "../../storage/data-directory.ts";
import { findGenerations } from "../../storage/generations.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { dump } from "./actor.ts";
import type { CrashOrder } from "./crash-worker.ts";
import { generateTurns } from "./workload.ts";

export interface Death {
  readonly isKilled: boolean;
  /** Turns that the process said were durable. */
  readonly acknowledged: number;
}

/** Runs the workload in a process of its own until it kills itself. */
export async function liveAndDie(
  order: CrashOrder,
  environment: NodeJS.ProcessEnv = {},
): Promise<Death> {
  const worker = join(import.meta.dirname, "crash-worker.ts");
  const child = spawn(process.execPath, [worker, JSON.stringify(order)], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...environment },
  });
  const [output] = await Promise.all([text(child.stdout), once(child, "exit")]);
  return {
    isKilled: child.signalCode === "SIGKILL",
    acknowledged: output.match(/^ack /gm)?.length ?? 0,
  };
}

/** Whatever was acknowledged is there; at most the turn that was under way is there as well, and then all of it. */
export async function judge(order: CrashOrder, acknowledged: number): Promise<void> {
  const states = ["[]", ...generateTurns(order.seed, order.turns).map(({ expected }) => expected)];
  const directory = await DataDirectory.open({
    path: order.path,
    nodeId: NodeId("n1"),
    clusterId: null,
    verifiesTables: true,
  });
  try {
    const store = new DatabaseLogStore(directory.database, directory.witness);
    const recovered = await store.recover();
    const found = await dump(directory.database, recovered);
    assert.ok(
      found === states[acknowledged] || found === states[acknowledged + 1],
      `the store is not as after turn ${acknowledged} or the next: ${JSON.stringify(order)}`,
    );
    assert.ok(recovered.every(({ verdict }) => verdict.type === "ok"));
    await store.collectGarbage();
    const kept = await findGenerations(directory.database);
    const shards = recovered.map(({ shard }) => shard);
    assert.ok(
      kept.every(({ shard }) => shards.includes(shard)),
      "nothing of removed shards stays",
    );
  } finally {
    await directory.close();
  }
}
