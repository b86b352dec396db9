import { parseArgs } from "node:util";
import type { Message } from "../cluster/raft/message.ts";
import { Raft } from "../cluster/raft/raft.ts";
import { LogIndex, NodeId, Term } from "../cluster/types.ts";

/**
 * How many proposals per second three replicas in one process agree on, without disk or network: what the Raft core itself costs.
 *
 *     npm run bench:core -- --proposals 3000000 --batch 64 --payload 128
 */

const { values } = parseArgs({
  options: {
    proposals: { type: "string", default: "3000000" },
    batch: { type: "string", default: "64" },
    payload: { type: "string", default: "128" },
  },
});
const proposals = Number(values.proposals);
const batch = Number(values.batch);
const payload = new Uint8Array(Number(values.payload));
const payloads = Array.from({ length: batch }, () => payload);
/** Applied entries stay in memory up to this many, as a host would keep them for lagging followers. */
const retainedEntries = 4096;

const ids = ["n1", "n2", "n3"].map(NodeId);
const replicas = new Map(ids.map((id) => [id, open(id)] as const));
const leader = replicas.values().next().value;
if (leader === undefined) {
  throw new Error("there is no replica");
}
leader.campaign();
settle();

run(Math.floor(proposals / 10));
const memoryBefore = heapBytes();
const startMs = performance.now();
run(proposals);
const seconds = (performance.now() - startMs) / 1000;
const grownMb = (heapBytes() - memoryBefore) / 2 ** 20;
const rate = Math.round(proposals / seconds).toLocaleString("en");
console.log(
  `${rate} proposals/s: ${proposals.toLocaleString("en")} of ${payload.length} B in batches of ${batch}, ` +
    `3 replicas, ${seconds.toFixed(2)} s; heap grew by ${grownMb.toFixed(1)} MB`,
);

function open(id: NodeId): Raft {
  return new Raft(
    {
      id,
      electionTicks: 10,
      electionJitterTicks: 10,
      heartbeatTicks: 1,
      fastElectionJitterTicks: 2,
      electionPriorityDelayTicks: 0,
      inflightMessagesMax: 256,
      inflightBytesMax: 8 * 2 ** 20,
      appendBytesMax: 2 ** 20,
      uncommittedBytesMax: 64 * 2 ** 20,
      pendingReadsMax: 1024,
      leaseMarginTicks: 2,
      random: () => 0,
    },
    {
      hardState: { term: Term(0), vote: null, commit: LogIndex(0) },
      compactedIndex: LogIndex(0),
      compactedTerm: Term(0),
      entries: [],
      appliedIndex: LogIndex(0),
      configuration: {
        voters: ids,
        votersOutgoing: [],
        learners: [],
        learnersNext: [],
        autoLeave: false,
      },
      isQuarantined: false,
    },
  );
}

function run(count: number): void {
  const [first] = replicas.values();
  for (let proposed = 0; proposed < count; proposed += batch) {
    const result = first?.propose(payloads);
    if (result?.type !== "accepted") {
      throw new Error(`the proposal was refused: ${JSON.stringify(result)}`);
    }
    settle();
    for (const replica of replicas.values()) {
      if (replica.appliedIndex - replica.compactedIndex > 2 * retainedEntries) {
        replica.compact(LogIndex(replica.appliedIndex - retainedEntries));
      }
    }
  }
}

/** A host without a disk: every write is durable at once. */
function settle(): void {
  let isBusy = true;
  while (isBusy) {
    isBusy = false;
    for (const replica of replicas.values()) {
      if (replica.hasReady) {
        isBusy = true;
        const { messages, write } = replica.ready();
        deliver([...messages, ...replica.commitNotices(() => true)]);
        if (write !== null) {
          deliver(write.messages);
          replica.advance();
        }
      }
    }
  }
}

function deliver(messages: readonly Message[]): void {
  for (const message of messages) {
    replicas.get(message.to)?.step(message);
  }
}

function heapBytes(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}
