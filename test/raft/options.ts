import type { RaftOptions } from "../../cluster/raft/options.ts";

/** Small numbers, so that a test reaches every limit soon. */
export const smallOptions: Omit<RaftOptions, "id" | "random"> = {
  electionTicks: 10,
  electionJitterTicks: 10,
  heartbeatTicks: 2,
  fastElectionJitterTicks: 2,
  electionPriorityDelayTicks: 0,
  inflightMessagesMax: 4,
  inflightBytesMax: 1000,
  appendBytesMax: 100,
  uncommittedBytesMax: 1000,
  pendingReadsMax: 4,
  leaseMarginTicks: 2,
};
