import type { FastifyRequest } from "fastify";
import Type from "typebox";
import { jsonKey, keySchema, revisionSchema } from "./json-values.ts";
import { keyOfRequest } from "./keys.ts";
import { splitTarget } from "./percent.ts";
import { queryForm } from "./query.ts";
import { commonProblems, json, key64Parameter, type RouteDocs, type Routes } from "./route-kit.ts";
import type { ClusterView, NodeView, ShardView } from "./service.ts";

const tags = ["cluster"];
const noForm = queryForm({});
const ringForm = queryForm({ key64: key64Parameter() });
const ring = "/v1/cluster/ring";

/** GET /v1/cluster, and /v1/cluster/ring/{key}: where a key lives. */
export const clusterRoutes: Routes = (app, kit) => {
  const locate = (request: FastifyRequest) => {
    const { path, query } = splitTarget(request.raw.url ?? "");
    const { key64 } = ringForm.parse(query);
    const key = keyOfRequest(path, ring, key64, kit.config.keyBytesMax);
    const shard = kit.service.shardOf(key);
    const view = kit.service.cluster();
    const home = view.shards.find(({ id }) => id === shard);
    return {
      ...jsonKey(key),
      shard,
      epoch: view.epoch,
      leader: home?.leader ?? null,
      leader_address: kit.service.leaderAddress(shard),
      voters: home?.voters ?? [],
      learners: home?.learners ?? [],
    };
  };
  app.get("/v1/cluster", { config: { docs: clusterDocs } }, (request) => {
    noForm.parse(splitTarget(request.raw.url ?? "").query);
    return jsonCluster(kit.service.cluster());
  });
  app.get(`${ring}/*`, { config: { docs: ringDocs } }, locate);
  app.get(ring, { config: { docs: ringDocs } }, locate);
};

function jsonCluster(view: ClusterView) {
  return {
    cluster_id: view.clusterId,
    node_id: view.nodeId,
    epoch: view.epoch,
    nodes: view.nodes.map(jsonNode),
    shards: view.shards.map(jsonShard),
  };
}

function jsonNode(node: NodeView) {
  return {
    id: node.id,
    http_address: node.httpAddress,
    peer_address: node.peerAddress,
    is_connected: node.isConnected,
    suspicion: node.suspicion,
    round_trip_ms: node.roundTripMs,
  };
}

function jsonShard(shard: ShardView) {
  const { local } = shard;
  return {
    id: shard.id,
    leader: shard.leader,
    voters: shard.voters,
    learners: shard.learners,
    local:
      local === null
        ? null
        : {
            role: local.role,
            term: local.term,
            commit_index: local.commitIndex,
            applied_index: local.appliedIndex,
            revision: String(local.revision),
            digest: local.digest,
            lag_entries: local.lagEntries,
          },
  };
}

const nodeIds = Type.Array(Type.String());
const leaderSchema = Type.Union([Type.String(), Type.Null()]);

const clusterDocs: RouteDocs = {
  summary: "Nodes, shards and leaders, as this node knows them",
  tags,
  responses: {
    ...commonProblems,
    200: json(
      "The cluster.",
      Type.Object({
        cluster_id: Type.String(),
        node_id: Type.String({ description: "The node that answers." }),
        epoch: Type.Integer({ description: "Version of the cluster map." }),
        nodes: Type.Array(
          Type.Object({
            id: Type.String(),
            http_address: Type.String(),
            peer_address: Type.String(),
            is_connected: Type.Boolean(),
            suspicion: Type.Number({ description: "Phi-accrual; 3 means 0.1 % to be alive." }),
            round_trip_ms: Type.Union([Type.Number(), Type.Null()]),
          }),
        ),
        shards: Type.Array(
          Type.Object({
            id: Type.Integer(),
            leader: leaderSchema,
            voters: nodeIds,
            learners: nodeIds,
            local: Type.Union([
              Type.Object({
                role: Type.String(),
                term: Type.Integer(),
                commit_index: Type.Integer(),
                applied_index: Type.Integer(),
                revision: revisionSchema,
                digest: Type.String({ description: "Equal on all replicas at one index." }),
                lag_entries: Type.Record(Type.String(), Type.Integer()),
              }),
              Type.Null(),
            ]),
          }),
        ),
      }),
    ),
  },
};

const ringDocs: RouteDocs = {
  summary: "Where a key lives",
  tags,
  query: ringForm,
  responses: {
    ...commonProblems,
    200: json(
      "The shard of the key and who holds it.",
      Type.Object({
        ...keySchema,
        shard: Type.Integer(),
        epoch: Type.Integer(),
        leader: leaderSchema,
        leader_address: leaderSchema,
        voters: nodeIds,
        learners: nodeIds,
      }),
    ),
  },
};
