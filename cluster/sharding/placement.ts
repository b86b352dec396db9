import { metaShard } from "../types.ts";
import type { NodeId } from "../types.ts";
import { assign } from "./assignment.ts";
import type { ClusterMap, NodeRecord, ShardRecord, ShardReplicas } from "./cluster-map.ts";

/** Voters of the meta shard; further nodes host it as learners, so that every node reads the map locally. */
export const metaVotersMax = 7;

/**
 * Where all replicas should be, for the nodes of a valid map that are `active` now. What it promises, most important first:
 * - never two replicas of a shard on one node; as many voters as the replication factor asks, or one on every node;
 * - a shard's voters are spread over zones as evenly as possible: two in one zone only when there are too few zones or nodes elsewhere;
 * - nodes hold equally many voters, plus or minus one where the zones permit it;
 * - no other answer with these properties moves fewer voters. A map that is placed well is not changed;
 * - preferred leaders (the first voters) are spread evenly too, with the fewest changes.
 *
 * Learners of data shards stay where they are unless their node left or became a voter. Without an active node nothing moves.
 */
export function planPlacement(
  map: Pick<ClusterMap, "nodes" | "shards" | "replicationFactor">,
): readonly ShardReplicas[] {
  const nodes = map.nodes.filter((node) => node.state === "active");
  if (nodes.length === 0) {
    return map.shards.map(({ id, voters, learners }) => ({ id, voters, learners }));
  }
  const meta = map.shards.filter((shard) => shard.id === metaShard);
  const data = map.shards.filter((shard) => shard.id !== metaShard);
  const ids = nodes.map((node) => node.id);
  return [
    ...place(meta, nodes, metaVotersMax).map((shard) => {
      return { ...shard, learners: ids.filter((id) => !shard.voters.includes(id)) };
    }),
    ...place(data, nodes, map.replicationFactor),
  ];
}

/** Chooses `copies` voters for each shard, and the first among them. */
function place(
  shards: readonly ShardRecord[],
  nodes: readonly NodeRecord[],
  copies: number,
): readonly ShardReplicas[] {
  const indexOf = new Map(nodes.map((node, index) => [node.id, index]));
  const zoneNames = [...new Set(nodes.map((node) => node.zone))];
  const voters = assign({
    copies: shards.map(() => Math.min(copies, nodes.length)),
    zones: nodes.map((node) => zoneNames.indexOf(node.zone)),
    current: shards.map((shard) => indexesOf(shard.voters, indexOf)),
    allowed: null,
  });
  const leaders = assign({
    copies: shards.map(() => 1),
    zones: nodes.map(() => 0),
    current: shards.map((shard) => indexesOf(shard.voters.slice(0, 1), indexOf)),
    allowed: voters,
  });
  return shards.map((shard, index) => {
    const places = voters[index] ?? new Set();
    const chosen = nodes.filter((_, node) => places.has(node)).map((node) => node.id);
    const first = nodes.find((_, node) => leaders[index]?.has(node))?.id;
    const learners = shard.learners.filter((id) => indexOf.has(id) && !chosen.includes(id));
    const rest = chosen.filter((id) => id !== first);
    return { id: shard.id, voters: first === undefined ? rest : [first, ...rest], learners };
  });
}

function indexesOf(
  ids: readonly NodeId[],
  indexOf: ReadonlyMap<NodeId, number>,
): ReadonlySet<number> {
  return new Set(ids.flatMap((id) => indexOf.get(id) ?? []));
}
