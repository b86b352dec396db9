import { LogIndex, NodeId, ShardId, Term } from "../../cluster/types.ts";
import { DataDirectory } from "../../storage/data-directory.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { configuration } from "./workload.ts";

/** Appends entries to a new directory, one a turn, and says "ack n" for each; after a failure tries five more times, and ends. */
const path = process.argv[2] ?? "";
const shard = ShardId(1);
const directory = await DataDirectory.open({
  path,
  nodeId: NodeId("n1"),
  clusterId: null,
  verifiesTables: true,
});
const store = new DatabaseLogStore(directory.database, directory.witness);
await store.recover();
const batch = store.batch();
batch.createShard(shard, configuration, false);
batch.setHardState(shard, { term: Term(1), vote: null, commit: LogIndex(0) });
await batch.write();

let failures = 0;
for (let index = 1; failures < 5; index++) {
  try {
    const next = store.batch();
    next.append(shard, [
      { index: LogIndex(index), term: Term(1), type: "command", payload: Buffer.alloc(300) },
    ]);
    await next.write();
    process.stdout.write(`ack ${index}\n`);
  } catch (error) {
    failures++;
    index--;
    process.stdout.write(`failed ${error instanceof StoreFailure ? error.code : String(error)}\n`);
  }
}
process.exit(0);
