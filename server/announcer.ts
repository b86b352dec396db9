import type { ClusterMap, NodeRecord } from "../cluster/sharding/cluster-map.ts";
import { metaShard } from "../cluster/types.ts";
import {
  decodeMetaOutcome,
  encodeMetaCommand,
  type MetaCommand,
} from "../storage/meta-commands.ts";
import type { Log } from "./log.ts";
import type { Router } from "./router.ts";

/** What the announcer looks at, and through whom it speaks. */
export interface AnnouncerOptions {
  readonly router: Router;
  readonly log: Log;
  readonly clock: () => number;
  readonly map: () => ClusterMap | null;
  /** What this node is and where, as it should stand in the map. */
  readonly own: () => Omit<NodeRecord, "state">;
  /** The first map of a new cluster, as every founder computes it. */
  readonly foundingMap: () => ClusterMap | null;
  /** Whether this node leads the meta shard. */
  readonly leadsMeta: () => boolean;
}

const proposeTimeoutMs = 5000;

/**
 * Tells the cluster map about this node: the founding map when there is none, and this node's addresses and directory when they
 * differ from what the map says. So a container that comes back with another address just rejoins.
 */
export class Announcer {
  readonly #options: AnnouncerOptions;
  #isBusy = false;
  /** The map that says of this node what it says itself: maps are replaced, never changed, and so is a node's address by its next start. */
  #agreed: ClusterMap | null = null;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
  }

  /** Looks whether there is something to tell, and tells it; call it now and then. Failures are logged and looked at again later. */
  check(): void {
    const command = this.#isBusy ? null : this.#due();
    if (command === null) {
      return;
    }
    this.#isBusy = true;
    this.#propose(command)
      .catch((error: unknown) => {
        this.#options.log.debug({ error }, "the cluster map could not be told about this node yet");
      })
      .finally(() => {
        this.#isBusy = false;
      });
  }

  #due(): MetaCommand | null {
    const { map, own, foundingMap, leadsMeta } = this.#options;
    const current = map();
    if (current === null) {
      const first = leadsMeta() ? foundingMap() : null;
      return first === null ? null : { type: "found", map: first };
    }
    if (current === this.#agreed) {
      return null;
    }
    const wanted = own();
    const known = current.nodes.find((node) => node.id === wanted.id);
    if (known === undefined) {
      return null;
    }
    if (isSame(known, wanted)) {
      this.#agreed = current;
      return null;
    }
    const node = { ...wanted, state: known.state };
    return { type: "change", change: { type: "putNode", node }, ifEpoch: null };
  }

  async #propose(command: MetaCommand): Promise<void> {
    const { router, clock, log } = this.#options;
    const result = await router.executeEncoded(metaShard, encodeMetaCommand(command), {
      requestId: "announce",
      deadlineMs: clock() + proposeTimeoutMs,
      signal: null,
      trace: "",
      timings: new Map(),
    });
    const outcome = decodeMetaOutcome(result);
    if (outcome.type === "refused") {
      log.warn({ reason: outcome.reason }, "the cluster map refused what this node told it");
    }
  }
}

function isSame(known: NodeRecord, wanted: Omit<NodeRecord, "state">): boolean {
  return (
    known.peerAddress === wanted.peerAddress &&
    known.httpAddress === wanted.httpAddress &&
    known.instanceId === wanted.instanceId &&
    known.zone === wanted.zone
  );
}
