/** Seeds that found a bug. What a seed simulates changes with the scenarios, so each bug should have a test of its own as well. */
export const regressions: readonly { readonly seed: number; readonly what: string }[] = [
  { seed: 161, what: "a store whose disk was full while it received a snapshot is given up" },
  { seed: 276, what: "nobody asks a node for ever that has left the shard's group" },
  { seed: 1274, what: "a shard that leaves a node and comes back within one turn" },
  { seed: 1554, what: "an answer to a request of the process before is not taken for another" },
  { seed: 20023, what: "who leaves a group stays until the others know that they decide alone" },
  { seed: 20214, what: "a snapshot to a process that dies is not sent for ever" },
];
