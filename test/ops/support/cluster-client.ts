/** What the tests read of GET /v1/cluster. */
export interface ClusterBody {
  readonly node_id: string;
  readonly nodes: readonly { readonly id: string; readonly suspicion: number }[];
  readonly shards: readonly {
    readonly id: number;
    readonly leader: string | null;
    readonly local: { readonly applied_index: number; readonly digest: string } | null;
  }[];
}

const answerTimeoutMs = 5000;

/** GET of a JSON document; rejects unless the answer is 200. */
export async function getJson<T>(url: string): Promise<T> {
  const response = await fetch(url, { signal: AbortSignal.timeout(answerTimeoutMs) });
  const text = await response.text();
  if (!response.ok) {
    throw new Error(`${url} answered ${response.status}: ${text}`);
  }
  return JSON.parse(text) as T;
}

/** The cluster as one node sees it. */
export function clusterSeenBy(url: string): Promise<ClusterBody> {
  return getJson(`${url}/v1/cluster`);
}

/** Whether the node says that clients may come. */
export async function isReady(url: string): Promise<boolean> {
  const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(answerTimeoutMs) });
  await response.arrayBuffer();
  return response.ok;
}

/** One key per data shard. */
export async function keyOfEachShard(url: string): Promise<ReadonlyMap<number, string>> {
  const { shards } = await clusterSeenBy(url);
  const wanted = shards.map(({ id }) => id).filter((id) => id !== 0);
  const keys = new Map<number, string>();
  for (let number = 0; keys.size < wanted.length; number += 1) {
    const key = `key-${number}`;
    const { shard } = await getJson<{ shard: number }>(`${url}/v1/cluster/ring/${key}`);
    if (!keys.has(shard)) {
      keys.set(shard, key);
    }
  }
  return keys;
}

/** The node that leads most shards. */
export function busiestLeader(cluster: ClusterBody): string {
  const led = new Map<string, number>();
  for (const { leader } of cluster.shards) {
    if (leader !== null) {
      led.set(leader, (led.get(leader) ?? 0) + 1);
    }
  }
  const [busiest] = [...led].sort(([, a], [, b]) => b - a);
  if (busiest === undefined) {
    throw new Error("nobody leads anything");
  }
  return busiest[0];
}
