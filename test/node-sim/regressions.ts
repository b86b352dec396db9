/**
 * Seeds that found a bug. What a seed simulates changes with the scenarios and with the order of events, so a seed may not lead to its bug
 * any more: `test` names a test of its own that does.
 */
export const regressions: readonly {
  readonly seed: number;
  readonly what: string;
  readonly test: string;
}[] = [
  {
    seed: 161,
    what: "a store whose disk was full while it received a snapshot is given up",
    test: "test/server/groups.test.ts",
  },
  {
    seed: 276,
    what: "nobody asks a node for ever that has left the shard's group",
    test: "test/server/groups.test.ts",
  },
  {
    seed: 1274,
    what: "a shard that leaves a node and comes back within one turn",
    test: "test/server/groups.test.ts",
  },
  {
    seed: 1554,
    what: "an answer to a request of the process before is not taken for another",
    test: "test/server/groups.test.ts",
  },
  {
    seed: 20023,
    what: "who leaves a group stays until the others know that they decide alone",
    test: "test/raft/scripts/member-leaver-stays.txt",
  },
  {
    seed: 20214,
    what: "a snapshot to a process that dies is not sent for ever",
    test: "test/transport/memory-network.test.ts",
  },
  {
    seed: 42326,
    what: "simulated time goes on, however short a wait is",
    test: "test/node-sim/node-sim.test.ts",
  },
  {
    seed: 50798,
    what: "a late snapshot does not throw away the one that Raft is about to install",
    test: "test/multiraft/offer-snapshot.test.ts",
  },
];

/** The same in the world with an odd replica. */
export const oddRegressions: typeof regressions = [
  {
    seed: 1010,
    what: "what an idle group lost of a comparison is asked again",
    test: "test/multiraft/state-comparison.test.ts",
  },
  {
    seed: 1040,
    what: "an odd leader wakes its group before it leaves",
    test: "test/server/odd-replica.test.ts",
  },
];
