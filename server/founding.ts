import { createHash } from "node:crypto";
import type { Hello } from "../cluster/multiraft/transport.ts";
import type { NodeId } from "../cluster/types.ts";

/** What a node knows once it belongs to a cluster. */
export interface Membership {
  readonly clusterId: string;
  /** Instance of every initial node at the founding. */
  readonly founders: ReadonlyMap<NodeId, string>;
  /**
   * This data directory was there at the founding (or is founding now). False: the cluster exists and knew this node with another data
   * directory, or not at all; what it once promised is lost, so it must not vote before it was given a snapshot.
   */
  readonly isFounder: boolean;
}

/** What a node with an empty directory knows, and how it asks the others. */
export interface FoundingOptions {
  readonly own: Hello;
  /** Peer addresses of all initial nodes, the own one included. */
  readonly initialCluster: ReadonlyMap<NodeId, string>;
  /** Whatever else must be equal on all founders, as text: shard count, replication factor. */
  readonly settings: string;
  readonly hello: (address: string, own: Hello, timeoutMs: number) => Promise<Hello>;
  /** Waits before the next round of questions. */
  readonly pause: () => Promise<void>;
  /** Told once per change: who has not answered yet. */
  readonly onWaiting: (missing: readonly NodeId[]) => void;
  readonly isStopped: () => boolean;
}

const helloTimeoutMs = 1000;

/**
 * Finds out, with an empty data directory, whether a cluster is to be founded or exists already. The same command starts a node the
 * first time and ever after.
 *
 * A cluster is founded only when every initial node has answered and none of them belongs to one: so a wiped node can never be
 * mistaken for a new one, and a new cluster never begins beside an old one. All founders compute the same cluster id from the same
 * answers. If anybody belongs to a cluster, this node does too: as a founder when the cluster remembers this very data directory, else
 * as one that lost its data.
 *
 * Resolves to null when stopped while waiting.
 */
export async function settleMembership(options: FoundingOptions): Promise<Membership | null> {
  const others = [...options.initialCluster].filter(([id]) => id !== options.own.nodeId);
  let lastMissing = "";
  while (!options.isStopped()) {
    const answers = await Promise.all(others.map(([id, address]) => ask(options, id, address)));
    const hellos = answers.filter((hello) => hello !== null);
    const member = hellos.find((hello) => hello.clusterId !== null);
    if (member !== undefined) {
      return joined(options.own, member);
    }
    if (hellos.length === others.length) {
      return founded(options, [options.own, ...hellos]);
    }
    const missing = others.filter((_, at) => answers[at] === null).map(([id]) => id);
    if (missing.join() !== lastMissing) {
      lastMissing = missing.join();
      options.onWaiting(missing);
    }
    await options.pause();
  }
  return null;
}

async function ask(options: FoundingOptions, id: NodeId, address: string): Promise<Hello | null> {
  try {
    const hello = await options.hello(address, options.own, helloTimeoutMs);
    return hello.nodeId === id ? hello : null;
  } catch {
    // Not up yet, or not reachable: asked again in the next round.
    return null;
  }
}

function joined(own: Hello, member: Hello): Membership {
  return {
    clusterId: member.clusterId ?? "",
    founders: member.founders,
    isFounder: member.founders.get(own.nodeId) === own.instanceId,
  };
}

function founded(options: FoundingOptions, hellos: readonly Hello[]): Membership {
  const sorted = [...hellos].sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  const founders = new Map(sorted.map((hello) => [hello.nodeId, hello.instanceId]));
  const hash = createHash("sha256").update(options.settings);
  for (const [id, instance] of founders) {
    hash.update(`\n${id}=${instance}`);
  }
  return { clusterId: hash.digest("hex").slice(0, 32), founders, isFounder: true };
}
