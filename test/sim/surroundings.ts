import type { NodeId } from "../../cluster/types.ts";
import type { Housekeeping } from "./housekeeping.ts";
import type { Ledger } from "./ledger.ts";
import type { Network } from "./network.ts";
import type { Prng } from "./prng.ts";
import type { Scenario } from "./scenario.ts";
import type { Schedule } from "./schedule.ts";
import type { SimNode } from "./sim-node.ts";
import type { Watch } from "./watch.ts";

/** What the parts of a world know of each other. */
export interface Surroundings {
  readonly scenario: Scenario;
  readonly schedule: Schedule;
  readonly random: Prng;
  readonly network: Network;
  readonly ledger: Ledger;
  readonly watch: Watch;
  readonly housekeeping: Housekeeping;
  readonly nodes: ReadonlyMap<NodeId, SimNode>;
  readonly statistics: Statistics;
  /** Null unless somebody wants to read what happens: building the lines costs more than the events. */
  readonly trace: ((line: string) => void) | null;
}

/** What a run was made of: a world in which nothing happens proves nothing. */
export interface Statistics {
  proposed: number;
  refused: number;
  acknowledged: number;
  reads: number;
  leaseReads: number;
  snapshots: number;
  crashes: number;
  pauses: number;
  cuts: number;
  wipes: number;
  changes: number;
  quiesced: number;
}

export function noStatistics(): Statistics {
  return {
    proposed: 0,
    refused: 0,
    acknowledged: 0,
    reads: 0,
    leaseReads: 0,
    snapshots: 0,
    crashes: 0,
    pauses: 0,
    cuts: 0,
    wipes: 0,
    changes: 0,
    quiesced: 0,
  };
}
