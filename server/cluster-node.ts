import type { MultiRaft } from "../cluster/multiraft/multi-raft.ts";
import type { MultiRaftEvents } from "../cluster/multiraft/options.ts";
import type { Replica } from "../cluster/multiraft/replica.ts";
import type { Finding } from "../cluster/multiraft/state-comparison.ts";
import type { RecoveredShard } from "../cluster/multiraft/store.ts";
import type { Hello, Transport, TransportHandlers } from "../cluster/multiraft/transport.ts";
import type { NodeRecord } from "../cluster/sharding/cluster-map.ts";
import { type ClusterMap, foundingMap } from "../cluster/sharding/cluster-map.ts";
import { metaShard, type NodeId, type ShardId } from "../cluster/types.ts";
import type { Database } from "../storage/database.ts";
import type { Identity } from "../storage/identity-file.ts";
import type { Witness } from "../storage/log-store.ts";
import { Announcer } from "./announcer.ts";
import type { Config } from "./config.ts";
import { Forwarder, idsOfStart } from "./forwarder.ts";
import { type Membership, settleMembership } from "./founding.ts";
import { Groups } from "./groups.ts";
import { LeaderWatch } from "./leader-watch.ts";
import { LocalReads } from "./local-reads.ts";
import type { Log } from "./log.ts";
import { configurationOf, desiredReplicas, MapFollower } from "./map-follower.ts";
import { RequestServer } from "./request-server.ts";
import { RequestWindow } from "./request-window.ts";
import { Router } from "./router.ts";
import { Ticker } from "./ticker.ts";
import { pause, type Timers } from "./timers.ts";
import { EntryTracing } from "./entry-tracing.ts";
import type { Tracer } from "./tracing.ts";
import type { WorkObserver } from "./work-observer.ts";
import { NodeWatchAccess } from "./watch-access.ts";
import { WatchHub } from "./watch-hub.ts";
import { WatchService } from "./watch-service.ts";

/** A node's directory, as far as its groups are concerned. */
export interface NodeHome {
  readonly database: Database;
  readonly witness: Witness | null;
  readonly identity: Identity;
  /** Remembers durably which cluster the node belongs to. */
  joinCluster(clusterId: string, founders: ReadonlyMap<NodeId, string>): Promise<void>;
}

/** What a node is made of besides its own code: everything that touches the world comes in here. */
export interface ClusterNodeOptions {
  readonly config: Config;
  readonly home: NodeHome;
  readonly transport: Transport;
  readonly log: Log;
  /** Monotonic milliseconds. */
  readonly clock: () => number;
  readonly timers: Timers;
  /** Runs a function soon, after the input that is already queued; never synchronously. */
  readonly schedule: (run: () => void) => void;
  readonly random: () => number;
  /** Where others reach this node; a port may be chosen late, but from `start()` on they are the same. */
  readonly addresses: () => NodeAddresses;
  /** Milliseconds since a replica's leader was last heard of. */
  readonly stalenessMs: (replica: Replica) => number;
  readonly events: ClusterNodeEvents;
  /** Measures what router and reads do; left out where nobody looks. */
  readonly work?: WorkObserver;
  /** Left out while tracing is off. */
  readonly tracer?: Tracer;
}

/** Both `host:port`. */
export interface NodeAddresses {
  readonly peer: string;
  readonly http: string;
}

/** What a node's groups tell their host beyond what the node itself acts upon and logs. Called synchronously; must not throw. */
export type ClusterNodeEvents = Pick<
  MultiRaftEvents,
  "onFatal" | "onLeaderChange" | "onPeerFrame" | "onWrite"
> & {
  readonly onSnapshot?: MultiRaftEvents["onSnapshot"];
  readonly onStatesDiffer?: MultiRaftEvents["onStatesDiffer"];
  readonly onHandOver?: MultiRaftEvents["onHandOver"];
  readonly onExpired?: () => void;
  readonly onTick: (elapsedTicks: number) => void;
};

const tokensPerShard = 64;
/** Pause between two rounds of questions while the cluster is being founded. */
const foundingPauseMs = 50;
/** Pause between two times that idle watchers hear how far they are. */
const watchProgressMs = 5_000;
/** Other nodes' watchers ask here once per shard that their node does not hold. */
const watchPollsPerWatcher = 8;
/** Pause between two looks at whether leadership has been handed over. */
const handOverPauseMs = 20;

/**
 * One member of a cluster, without a face for clients: groups, routing, map and founding, put together over a given disk, network and
 * clock. A server gives it real ones, a simulation gives it others: both run the same code.
 */
export class ClusterNode {
  readonly groups: Groups;
  readonly router: Router;
  readonly follower: MapFollower;
  readonly leaders: LeaderWatch;
  readonly hub = new WatchHub();
  readonly watches: WatchService;
  readonly #options: ClusterNodeOptions;
  readonly #forwarder: Forwarder;
  readonly #requests: RequestServer;
  readonly #announcer: Announcer;
  readonly #ticker: Ticker;
  readonly #tracing: EntryTracing | null;
  /** What the founders said of themselves, for the first map. */
  readonly #founderAddresses = new Map<NodeId, Hello>();
  #isStopping = false;

  constructor(options: ClusterNodeOptions) {
    this.#options = options;
    const { config, home, transport, clock, timers, schedule, random, log } = options;
    const { nodeId } = config;
    const { tracer, work = null } = options;
    const tracing = tracer ? new EntryTracing(tracer, () => this.multiRaft) : null;
    this.#tracing = tracing;
    this.leaders = new LeaderWatch(timers);
    this.groups = new Groups({
      config,
      database: home.database,
      witness: home.witness,
      transport,
      hub: this.hub,
      events: this.#events(),
      onMap: (map) => this.follower.follow(map),
      onExpired: () => options.events.onExpired?.(),
      clock,
      schedule,
      after: (delayMs, run) => timers.after(delayMs, run),
      random,
    });
    const { multiRaft } = this.groups;
    this.#forwarder = new Forwarder(
      timers,
      (to, request) => multiRaft.request(to, request),
      idsOfStart(home.identity),
    );
    const localReads = new LocalReads({
      multiRaft,
      machine: (shard) => this.groups.machine(shard),
      clock,
      timers,
      stalenessMs: options.stalenessMs,
      work,
    });
    const { incarnation, instanceId } = home.identity;
    this.router = new Router({
      nodeId,
      multiRaft,
      forwarder: this.#forwarder,
      leaders: this.leaders,
      window: new RequestWindow(`${nodeId}/${incarnation}/${instanceId}`),
      localReads,
      clock,
      timers,
      isConnected: (peer) => multiRaft.isConnected(peer),
      work,
      tracing,
    });
    this.follower = new MapFollower({
      nodeId,
      multiRaft,
      transport,
      router: this.router,
      onMap: (map) => {
        this.watches.refresh();
        log.info({ epoch: map.epoch }, "cluster map is in force");
      },
    });
    this.watches = this.#makeWatches(localReads);
    this.#requests = this.#makeRequestServer(localReads);
    this.#announcer = this.#makeAnnouncer();
    this.#ticker = new Ticker({
      intervalMs: config.tickMs,
      clock,
      timers,
      onTick: (elapsed) => this.#tick(elapsed),
    });
  }

  #makeWatches(localReads: LocalReads): WatchService {
    const { config, clock, timers } = this.#options;
    return new WatchService({
      access: new NodeWatchAccess({
        nodeId: config.nodeId,
        router: this.router,
        localReads,
        forwarder: this.#forwarder,
        leaders: this.leaders,
        machine: (shard) => this.groups.machine(shard),
        isConnected: (peer) => this.multiRaft.isConnected(peer),
        clock,
      }),
      hub: this.hub,
      timers,
      bufferBytes: config.watchBufferBytes,
      progressMs: watchProgressMs,
      pollsMax: watchPollsPerWatcher * config.watchersMax,
    });
  }

  #makeRequestServer(localReads: LocalReads): RequestServer {
    const { clock, work = null } = this.#options;
    return new RequestServer({
      multiRaft: this.multiRaft,
      localReads,
      leaders: this.leaders,
      watches: this.watches,
      clock,
      ringEpoch: () => this.follower.ringEpoch,
      work,
      tracing: this.#tracing,
    });
  }

  #makeAnnouncer(): Announcer {
    const { log, clock } = this.#options;
    return new Announcer({
      router: this.router,
      log,
      clock,
      map: () => this.groups.map,
      own: () => this.#ownRecord(),
      foundingMap: () => this.#foundingMap(),
      leadsMeta: () => this.multiRaft.replica(metaShard)?.raft.isLeader ?? false,
    });
  }

  get multiRaft(): MultiRaft {
    return this.groups.multiRaft;
  }

  /** What the node's transport must be started with, before `start`. */
  transportHandlers(): TransportHandlers {
    const { multiRaft } = this.groups;
    return {
      onFrame: (from, frame) => multiRaft.onFrame(from, frame),
      onSnapshot: (from, header, chunks) => multiRaft.onSnapshot(from, header, chunks),
      onPeerConnected: (peer) => multiRaft.onPeerConnected(peer),
      onPeerDisconnected: (peer, evidence) => multiRaft.onPeerDisconnected(peer, evidence),
      onHello: () => this.hello(),
    };
  }

  /** What this node says of itself to others. */
  hello(): Hello {
    const { nodeId, instanceId, clusterId, founders, incarnation } = this.#options.home.identity;
    const { peer, http } = this.#options.addresses();
    return {
      nodeId,
      instanceId,
      clusterId,
      founders,
      incarnation,
      peerAddress: peer,
      httpAddress: http,
    };
  }

  /** Finds or founds the cluster, opens the replicas, lets time pass for them; false when it was stopped before there was a cluster. */
  async start(): Promise<boolean> {
    const { config, home, transport, log } = this.#options;
    const { multiRaft } = this.groups;
    const membership = await this.#settleMembership();
    if (membership === null) {
      return false;
    }
    this.#reportRecovery(await multiRaft.start());
    this.#createFirstReplicas(membership);
    await home.joinCluster(membership.clusterId, membership.founders);
    const { map } = this.groups;
    if (map === null) {
      const peers = [...config.initialCluster].map(([id, address]) => ({ id, address }));
      transport.setPeers(peers);
      multiRaft.setPeers(peers.map((peer) => peer.id));
    } else {
      this.follower.follow(map);
    }
    this.#ticker.start();
    log.info({ clusterId: membership.clusterId }, "node takes part in its cluster");
    return true;
  }

  /** Asks others to lead what this node leads; resolves when they do, or at `deadlineMs`. */
  async handOver(deadlineMs: number): Promise<void> {
    const { clock, timers } = this.#options;
    this.#isStopping = true;
    while (this.multiRaft.handOverAll() > 0 && clock() < deadlineMs) {
      await pause(timers, handOverPauseMs);
    }
  }

  /** Answers whoever waits and resolves when the write in flight has ended. Transport and home are the host's to close. Idempotent. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#ticker.stop();
    this.watches.stop();
    this.#forwarder.stop();
    this.leaders.stop();
    await this.multiRaft.stop();
  }

  #events(): MultiRaftEvents {
    const { log, events } = this.#options;
    return {
      onFatal: (error) => events.onFatal(error),
      onLeaderChange: (shard, leader, term) => {
        this.leaders.set(shard, leader);
        this.#forwarder.onLeaderChange(shard, leader);
        events.onLeaderChange(shard, leader, term);
        log.info({ shard, leader, term }, "shard leader changed");
      },
      onRequest: (from, request) => this.#requests.onRequest(from, request),
      onResponse: (_from, response) => this.#forwarder.onResponse(response),
      onPeerConnected: (peer) => log.info({ peer }, "peer connected"),
      onPeerDisconnected: (peer, evidence) => {
        this.#forwarder.onPeerDisconnected(peer);
        log.info({ peer, evidence }, "peer disconnected");
      },
      onPeerFrame: (peer, roundTripMs) => events.onPeerFrame(peer, roundTripMs),
      onProgress: (shard) => this.#tracing?.progressed(shard),
      onWrite: (durationMs, entries) => {
        this.#tracing?.written();
        events.onWrite(durationMs, entries);
      },
      onStatesDiffer: (shard, finding) => {
        events.onStatesDiffer?.(shard, finding);
        this.#reportDifference(shard, finding);
      },
      onHandOver: (shard, reason) => {
        events.onHandOver?.(shard, reason);
        log.info({ shard, reason }, "handing a shard's leadership over");
      },
      onSnapshot: (shard, operation, error, transfer) => {
        events.onSnapshot?.(shard, operation, error, transfer);
        if (error === null) {
          log.info({ shard, operation }, "snapshot transfer ended");
        } else {
          log.warn({ shard, operation, error }, "snapshot transfer failed");
        }
      },
    };
  }

  #tick(elapsedTicks: number): void {
    this.multiRaft.tick(elapsedTicks);
    this.#announcer.check();
    this.#options.events.onTick(elapsedTicks);
    if (elapsedTicks > 2) {
      this.#options.log.warn({ elapsedTicks }, "this process was paused or its event loop held up");
    }
  }

  async #settleMembership(): Promise<Membership | null> {
    const { config, home, transport, timers, log } = this.#options;
    const { clusterId, founders } = home.identity;
    if (clusterId !== null) {
      return { clusterId, founders, isFounder: true };
    }
    const { initialCluster, shards, replicationFactor, nodeId } = config;
    const self = new Map([[nodeId, this.#options.addresses().peer]]);
    return settleMembership({
      own: this.hello(),
      initialCluster: initialCluster.size === 0 ? self : initialCluster,
      settings: `shards=${shards} replicas=${replicationFactor}`,
      hello: async (address, own, timeoutMs) => {
        const answer = await transport.hello(address, own, timeoutMs);
        this.#founderAddresses.set(answer.nodeId, answer);
        return answer;
      },
      pause: () => pause(timers, foundingPauseMs),
      onWaiting: (missing) =>
        log.info(
          { missing },
          "waiting for the other nodes of --initial-cluster: a new cluster is founded when all have answered once",
        ),
      isStopped: () => this.#isStopping,
    });
  }

  /**
   * A founder's own replicas begin with an empty log, as everybody's do. Who came too late, or lost its data, begins with a quarantined
   * replica of the meta shard: the map that it is sent there tells the rest.
   */
  #createFirstReplicas(membership: Membership): void {
    const { multiRaft } = this.groups;
    const { config, log } = this.#options;
    const { nodeId } = config;
    if (this.groups.map !== null || multiRaft.replica(metaShard) !== null) {
      return;
    }
    const first = this.#foundingMapOf(membership);
    // Before the replicas exist, so that each shard's preferred leader is the first to campaign.
    multiRaft.setDesired(desiredReplicas(first), 0);
    for (const shard of first.shards) {
      const isHere = shard.voters.includes(nodeId) || shard.learners.includes(nodeId);
      if (isHere && (membership.isFounder || shard.id === metaShard)) {
        multiRaft.create({
          shard: shard.id,
          configuration: configurationOf(shard),
          isQuarantined: !membership.isFounder,
        });
      }
    }
    log.info(
      { isFounder: membership.isFounder, clusterId: membership.clusterId },
      membership.isFounder ? "cluster is being founded" : "joining with an empty directory",
    );
  }

  #foundingMap(): ClusterMap | null {
    const { clusterId, founders } = this.#options.home.identity;
    return clusterId === null
      ? null
      : this.#foundingMapOf({ clusterId, founders, isFounder: true });
  }

  #foundingMapOf(membership: Membership): ClusterMap {
    const { shards, replicationFactor, initialCluster } = this.#options.config;
    const own = this.#ownRecord();
    const result = foundingMap({
      clusterId: membership.clusterId,
      nodes: [...membership.founders].map(([id, instanceId]) => {
        const known = this.#founderAddresses.get(id);
        const peerAddress = initialCluster.get(id) ?? known?.peerAddress ?? "";
        const httpAddress = known?.httpAddress ?? peerAddress;
        return id === own.id ? own : { id, instanceId, peerAddress, httpAddress, zone: own.zone };
      }),
      shardCount: shards,
      replicationFactor,
      tokensPerShard,
    });
    if (result.type === "refused") {
      throw new Error(`the cluster cannot be founded: ${result.reason}`);
    }
    return result.map;
  }

  #ownRecord(): Omit<NodeRecord, "state"> {
    const { home, config, addresses } = this.#options;
    const { nodeId, instanceId } = home.identity;
    const { peer, http } = addresses();
    return {
      id: nodeId,
      instanceId,
      peerAddress: peer,
      httpAddress: http,
      zone: config.zone,
    };
  }

  #reportDifference(shard: ShardId, { type, index, digests, odd }: Finding): void {
    const { log, config } = this.#options;
    const found = { shard, index, digests: Object.fromEntries(digests) };
    switch (type) {
      case "differ":
        log.error(found, "replicas of a shard differ in their state");
        break;
      case "split":
        log.error(found, "replicas of a shard differ in their state and no majority agrees");
        break;
      case "odd":
        log.error({ ...found, odd }, "odd replicas of a shard go out of service");
    }
    if (odd.includes(config.nodeId)) {
      // Watches that read from this node's replica go on elsewhere.
      this.watches.refresh();
    }
  }

  #reportRecovery(recovered: readonly RecoveredShard[]): void {
    for (const { shard, verdict, isQuarantined } of recovered) {
      if (verdict.type !== "ok") {
        this.#options.log.error(
          { shard, verdict: verdict.type, index: verdict.index, isQuarantined },
          "the log of a shard is damaged",
        );
      }
    }
  }
}
