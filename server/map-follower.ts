import type { MultiRaft } from "../cluster/multiraft/multi-raft.ts";
import type { DesiredReplicas } from "../cluster/multiraft/options.ts";
import type { Transport } from "../cluster/multiraft/transport.ts";
import type { ClusterMap, ShardRecord } from "../cluster/sharding/cluster-map.ts";
import { Ring } from "../cluster/sharding/ring.ts";
import { metaShard, type Configuration, type NodeId, type ShardId } from "../cluster/types.ts";
import type { Router } from "./router.ts";

/** What a new map changes on this node. */
export interface MapFollowerOptions {
  readonly nodeId: NodeId;
  readonly multiRaft: MultiRaft;
  readonly transport: Transport;
  readonly router: Router;
  /** Called after a new map has taken effect on this node. */
  readonly onMap: (map: ClusterMap) => void;
}

/** Makes this node what the cluster map says: its peers, its replicas, its routes. Told of each map as shard 0 applies it. */
export class MapFollower {
  readonly #options: MapFollowerOptions;
  readonly #known = Promise.withResolvers<void>();
  #map: ClusterMap | null = null;
  #ring: Ring | null = null;
  #ringEpoch = 0;

  constructor(options: MapFollowerOptions) {
    this.#options = options;
  }

  /** The newest map that this node has; null before the first. */
  get map(): ClusterMap | null {
    return this.#map;
  }

  /** Resolves when this node has its first map. */
  get known(): Promise<void> {
    return this.#known.promise;
  }

  /** Epoch since which every key is where it is. */
  get ringEpoch(): number {
    return this.#ringEpoch;
  }

  /** Takes effect at once. Older maps are ignored. */
  follow(map: ClusterMap): void {
    if (this.#map !== null && map.epoch <= this.#map.epoch) {
      return;
    }
    const previous = this.#map;
    this.#map = map;
    const { multiRaft, transport, router, onMap } = this.#options;
    if (previous === null || !sameRoutes(previous, map) || this.#ring === null) {
      this.#ring = new Ring(map);
      this.#ringEpoch = map.epoch;
    }
    transport.setPeers(map.nodes.map(({ id, peerAddress }) => ({ id, address: peerAddress })));
    multiRaft.setPeers(map.nodes.map((node) => node.id));
    multiRaft.setDesired(desiredReplicas(map), map.epoch);
    this.#fitReplicas(map);
    router.setTable({
      epoch: map.epoch,
      ring: this.#ring,
      shards: map.shards.map((shard) => shard.id).filter((id) => id !== metaShard),
      members: new Map(
        map.shards.map(({ id, voters, learners }) => [id, [...voters, ...learners]]),
      ),
    });
    this.#known.resolve();
    onMap(map);
  }

  /**
   * A shard that the map places here and that is not here begins without a log: quarantined, until its leader has made it a learner and
   * sent a snapshot. (The founders' own replicas were made at the founding.) A replica that left its group is deleted by MultiRaft.
   */
  #fitReplicas(map: ClusterMap): void {
    const { multiRaft, nodeId } = this.#options;
    for (const shard of map.shards) {
      if (shard.voters.includes(nodeId) || shard.learners.includes(nodeId)) {
        const configuration = configurationOf(shard);
        multiRaft.create({ shard: shard.id, configuration, isQuarantined: true });
      }
    }
  }
}

/** The Raft configuration that a shard of the founding map begins with. */
export function configurationOf(shard: ShardRecord): Configuration {
  return {
    voters: [...shard.voters].sort(),
    votersOutgoing: [],
    learners: [...shard.learners].sort(),
    learnersNext: [],
    autoLeave: false,
  };
}

/** Where the map wants each shard's replicas. */
export function desiredReplicas(map: ClusterMap): ReadonlyMap<ShardId, DesiredReplicas> {
  return new Map(map.shards.map(({ id, voters, learners }) => [id, { voters, learners }]));
}

function sameRoutes(a: ClusterMap, b: ClusterMap): boolean {
  const routes = (map: ClusterMap): string =>
    JSON.stringify([map.routing, map.shards.map((shard) => [shard.id, shard.tokens])]);
  return routes(a) === routes(b);
}
