import type { MultiRaftEvents } from "../cluster/multiraft/options.ts";
import type { RecoveredShard } from "../cluster/multiraft/store.ts";
import type { Hello } from "../cluster/multiraft/transport.ts";
import { type ClusterMap, foundingMap } from "../cluster/sharding/cluster-map.ts";
import { GrpcTransport } from "../cluster/transport/grpc-transport.ts";
import { metaShard, type NodeId } from "../cluster/types.ts";
import { DataDirectory } from "../storage/data-directory.ts";
import { Announcer } from "./announcer.ts";
import type { Config } from "./config.ts";
import { ServiceError } from "./errors.ts";
import { FailureDetector } from "./failure-detector.ts";
import { Forwarder } from "./forwarder.ts";
import { type Membership, settleMembership } from "./founding.ts";
import { Groups } from "./groups.ts";
import { HttpServer } from "./http/server.ts";
import { LeaderWatch } from "./leader-watch.ts";
import { LocalReads } from "./local-reads.ts";
import type { Log } from "./log.ts";
import { configurationOf, desiredReplicas, MapFollower } from "./map-follower.ts";
import { Metrics } from "./metrics.ts";
import { Observation } from "./observation.ts";
import { RequestServer } from "./request-server.ts";
import { RequestWindow } from "./request-window.ts";
import { Router } from "./router.ts";
import { Service } from "./service.ts";
import { ShardObserver } from "./shard-observer.ts";
import { Ticker } from "./ticker.ts";
import { pause, soon, systemTimers as timers } from "./timers.ts";
import { WatchHub } from "./watch-hub.ts";

/** Monotonic milliseconds: nothing here depends on the time of day. */
const clock = (): number => performance.now();

const tokensPerShard = 64;
/** Pause between two rounds of questions while the cluster is being founded. */
const foundingPauseMs = 50;
/** Pause between two looks at whether leadership has been handed over. */
const handOverPauseMs = 20;
const diskMeasureTicks = 200;

/**
 * One node, put together: the only place that makes everything, and the order in which it starts. It stops in the reverse order.
 */
export class Node {
  readonly #config: Config;
  readonly #log: Log;
  readonly #onFatal: (error: Error) => void;
  readonly #directory: DataDirectory;
  readonly #transport: GrpcTransport;
  readonly #groups: Groups;
  readonly #follower: MapFollower;
  readonly #router: Router;
  readonly #forwarder: Forwarder;
  readonly #requests: RequestServer;
  readonly #announcer: Announcer;
  readonly #observation: Observation;
  readonly #http: HttpServer;
  readonly #ticker: Ticker;
  readonly #leaders = new LeaderWatch(timers);
  readonly #hub = new WatchHub();
  readonly #metrics = new Metrics();
  readonly #detector: FailureDetector;
  readonly #observer: ShardObserver;
  /** What the founders said of themselves, for the first map. */
  readonly #founderAddresses = new Map<NodeId, Hello>();
  #ticks = 0;
  #isStopping = false;
  #stopped: Promise<void> | null = null;

  private constructor(
    config: Config,
    log: Log,
    directory: DataDirectory,
    version: string,
    onFatal: (error: Error) => void,
  ) {
    this.#config = config;
    this.#log = log;
    this.#directory = directory;
    this.#onFatal = onFatal;
    this.#detector = new FailureDetector({
      heartbeatMs: config.heartbeatTicks * config.tickMs,
      samplesMax: 200,
      deviationMinMs: config.tickMs,
      acceptablePauseMs: 2 * config.tickMs,
    });
    this.#observer = new ShardObserver((shard, leaderlessMs) => {
      this.#metrics.instruments.shardLeaderlessSeconds.observe(leaderlessMs / 1000);
      this.#log.info({ shard, leaderlessMs: Math.round(leaderlessMs) }, "shard has a leader again");
    });
    this.#transport = this.#makeTransport();
    this.#groups = new Groups({
      config,
      database: directory.database,
      witness: directory.witness,
      transport: this.#transport,
      hub: this.#hub,
      events: this.#events(),
      onMap: (map) => this.#follower.follow(map),
      clock,
      schedule: soon,
      random: Math.random,
    });
    const { multiRaft } = this.#groups;
    this.#forwarder = new Forwarder(timers, (to, request) => multiRaft.request(to, request));
    this.#observation = new Observation({
      nodeId: config.nodeId,
      dataDirectory: config.data,
      multiRaft,
      transport: this.#transport,
      detector: this.#detector,
      leaders: this.#leaders,
      map: () => this.#follower.map,
      watcherCount: () => this.#hub.listenerCount,
      clock,
    });
    const localReads = new LocalReads({
      multiRaft,
      machine: (shard) => this.#groups.machine(shard),
      clock,
      timers,
      stalenessMs: (replica) => this.#observation.stalenessMs(replica),
    });
    const { nodeId, incarnation } = directory.identity;
    this.#router = new Router({
      nodeId,
      multiRaft,
      forwarder: this.#forwarder,
      leaders: this.#leaders,
      window: new RequestWindow(`${nodeId}/${incarnation}/${directory.identity.instanceId}`),
      localReads,
      clock,
      timers,
      isConnected: (peer) => multiRaft.isConnected(peer),
    });
    this.#follower = new MapFollower({
      nodeId,
      multiRaft,
      transport: this.#transport,
      router: this.#router,
      onMap: (map) => this.#log.info({ epoch: map.epoch }, "cluster map is in force"),
    });
    this.#requests = new RequestServer({
      multiRaft,
      localReads,
      leaders: this.#leaders,
      clock,
      ringEpoch: () => this.#follower.ringEpoch,
    });
    this.#announcer = new Announcer({
      router: this.#router,
      log,
      clock,
      map: () => this.#groups.map,
      own: () => this.#ownRecord(),
      foundingMap: () => this.#foundingMap(),
      leadsMeta: () => multiRaft.replica(metaShard)?.raft.isLeader ?? false,
    });
    this.#ticker = new Ticker(config.tickMs, clock, (elapsed) => this.#tick(elapsed));
    this.#http = new HttpServer({
      config,
      log,
      version,
      service: new Service({
        router: this.#router,
        leaders: this.#leaders,
        follower: this.#follower,
        observation: this.#observation,
        watch: () => {
          throw new ServiceError("starting", "watches are not served yet");
        },
      }),
      observer: null,
      tracer: null,
    });
  }

  /**
   * Opens the data directory and starts everything; resolves when this node takes part in its cluster. Rejects with a StoreFailure when
   * the directory cannot be used.
   */
  static async start(
    config: Config,
    log: Log,
    version: string,
    onFatal: (error: Error) => void,
  ): Promise<Node> {
    const directory = await DataDirectory.open({
      path: config.data,
      nodeId: config.nodeId,
      clusterId: null,
      verifiesTables: false,
    });
    const node = new Node(config, log, directory, version, onFatal);
    try {
      await node.#start();
    } catch (error) {
      await node.stop();
      throw error;
    }
    return node;
  }

  /** Where clients reach this node. */
  get httpAddress(): string {
    return this.#http.address;
  }

  async #start(): Promise<void> {
    const startedMs = clock();
    // Probes are answered from the first moment; everything else is refused as `starting` until the map is known.
    await this.#http.start();
    await this.#transport.start({
      onFrame: (from, frame) => this.#groups.multiRaft.onFrame(from, frame),
      onSnapshot: (from, header, chunks) => this.#groups.multiRaft.onSnapshot(from, header, chunks),
      onPeerConnected: (peer) => this.#groups.multiRaft.onPeerConnected(peer),
      onPeerDisconnected: (peer, evidence) =>
        this.#groups.multiRaft.onPeerDisconnected(peer, evidence),
      onHello: () => this.#hello(),
    });
    const membership = await this.#settleMembership();
    if (membership === null) {
      return;
    }
    const { multiRaft } = this.#groups;
    this.#reportRecovery(await multiRaft.start());
    this.#metrics.instruments.startReplaySeconds.set((clock() - startedMs) / 1000);
    this.#createFirstReplicas(membership);
    await this.#directory.joinCluster(membership.clusterId, membership.founders);
    const { map } = this.#groups;
    if (map === null) {
      const peers = [...this.#config.initialCluster].map(([id, address]) => ({ id, address }));
      this.#transport.setPeers(peers);
      multiRaft.setPeers(peers.map((peer) => peer.id));
    } else {
      this.#follower.follow(map);
    }
    this.#ticker.start();
    this.#log.info(
      { http: this.#http.address, peer: this.#peerAddress(), clusterId: membership.clusterId },
      "node started",
    );
  }

  /** Stops taking requests, hands leadership over, finishes what is under way, closes everything. Idempotent. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#isStopping = true;
    this.#observation.isStopping = true;
    const deadlineMs = clock() + this.#config.shutdownTimeoutMs;
    const handOverDeadlineMs = clock() + this.#config.shutdownTimeoutMs / 2;
    const { multiRaft } = this.#groups;
    await this.#http.drain();
    while (multiRaft.handOverAll() > 0 && clock() < handOverDeadlineMs) {
      await pause(timers, handOverPauseMs);
    }
    await this.#http.stop(Math.max(0, deadlineMs - clock()));
    this.#ticker.stop();
    this.#forwarder.stop();
    this.#leaders.stop();
    await multiRaft.stop();
    await this.#transport.stop();
    await this.#directory.close();
    this.#log.info({}, "node stopped");
  }

  #makeTransport(): GrpcTransport {
    const { peerHost, peerPort, peerQueueBytesMax } = this.#config;
    return new GrpcTransport({
      listenAddress: `${peerHost}:${peerPort}`,
      own: () => this.#hello(),
      onProblem: (peer, problem) => {
        // While a cluster starts, refusals are what one expects.
        const level = this.#directory.identity.clusterId === null ? "debug" : "warn";
        this.#log[level]({ peer, problem }, "connection to a peer failed");
      },
      limits: { queueBytesMax: peerQueueBytesMax },
    });
  }

  #events(): MultiRaftEvents {
    return {
      onFatal: (error) => {
        this.#observation.failed(error);
        this.#onFatal(error);
      },
      onLeaderChange: (shard, leader, term) => {
        this.#leaders.set(shard, leader);
        this.#observer.leaderChanged(shard, leader, clock(), 0);
        this.#log.info({ shard, leader, term }, "shard leader changed");
      },
      onRequest: (from, request) => this.#requests.onRequest(from, request),
      onResponse: (_from, response) => this.#forwarder.onResponse(response),
      onPeerConnected: (peer) => this.#log.info({ peer }, "peer connected"),
      onPeerDisconnected: (peer, evidence) => {
        this.#forwarder.onPeerDisconnected(peer);
        this.#log.info({ peer, evidence }, "peer disconnected");
      },
      onPeerFrame: (peer, roundTripMs) => {
        this.#detector.heard(peer, clock());
        this.#observation.heard(peer, roundTripMs);
      },
      onWrite: (durationMs, entries) => {
        this.#metrics.instruments.syncSeconds.observe(durationMs / 1000);
        if (entries > 0) {
          this.#metrics.instruments.batchEntries.observe(entries);
        }
      },
      onSnapshot: (shard, operation, error) =>
        error === null
          ? this.#log.info({ shard, operation }, "snapshot transfer ended")
          : this.#log.warn({ shard, operation, error }, "snapshot transfer failed"),
    };
  }

  #tick(elapsedTicks: number): void {
    const { multiRaft } = this.#groups;
    multiRaft.tick(elapsedTicks);
    this.#announcer.check();
    this.#observation.ticked(clock());
    if (this.#ticks % diskMeasureTicks === 0) {
      this.#observation
        .measureDisk()
        .catch((error: unknown) => this.#log.warn({ error }, "the disk could not be measured"));
    }
    this.#ticks += 1;
    if (elapsedTicks > 2) {
      this.#log.warn({ elapsedTicks }, "this process was paused or its event loop held up");
    }
  }

  async #settleMembership(): Promise<Membership | null> {
    const { clusterId, founders } = this.#directory.identity;
    if (clusterId !== null) {
      return { clusterId, founders, isFounder: true };
    }
    const { initialCluster, shards, replicationFactor, nodeId } = this.#config;
    const self = new Map([[nodeId, this.#peerAddress()]]);
    return settleMembership({
      own: this.#hello(),
      initialCluster: initialCluster.size === 0 ? self : initialCluster,
      settings: `shards=${shards} replicas=${replicationFactor}`,
      hello: async (address, own, timeoutMs) => {
        const answer = await this.#transport.hello(address, own, timeoutMs);
        this.#founderAddresses.set(answer.nodeId, answer);
        return answer;
      },
      pause: () => pause(timers, foundingPauseMs),
      onWaiting: (missing) =>
        this.#log.info(
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
    const { multiRaft } = this.#groups;
    const { nodeId } = this.#config;
    if (this.#groups.map !== null || multiRaft.replica(metaShard) !== null) {
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
    this.#log.info(
      { isFounder: membership.isFounder, clusterId: membership.clusterId },
      membership.isFounder ? "cluster is being founded" : "joining with an empty directory",
    );
  }

  #foundingMap(): ClusterMap | null {
    const { clusterId, founders } = this.#directory.identity;
    return clusterId === null
      ? null
      : this.#foundingMapOf({ clusterId, founders, isFounder: true });
  }

  #foundingMapOf(membership: Membership): ClusterMap {
    const { shards, replicationFactor, initialCluster } = this.#config;
    const own = this.#ownRecord();
    const result = foundingMap({
      clusterId: membership.clusterId,
      nodes: [...membership.founders].map(([id, instanceId]) => {
        const known = this.#founderAddresses.get(id);
        const peerAddress = initialCluster.get(id) ?? known?.peerAddress ?? "";
        return id === own.id
          ? own
          : {
              id,
              instanceId,
              peerAddress,
              httpAddress: known?.httpAddress ?? peerAddress,
              zone: own.zone,
            };
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

  #hello(): Hello {
    const { nodeId, instanceId, clusterId, founders, incarnation } = this.#directory.identity;
    return {
      nodeId,
      instanceId,
      clusterId,
      founders,
      incarnation,
      peerAddress: this.#peerAddress(),
      httpAddress: this.#http.advertisedAddress,
    };
  }

  #ownRecord() {
    const { nodeId, instanceId } = this.#directory.identity;
    return {
      id: nodeId,
      instanceId,
      peerAddress: this.#peerAddress(),
      httpAddress: this.#http.advertisedAddress,
      zone: this.#config.zone,
    };
  }

  #peerAddress(): string {
    const { peerAdvertise, initialCluster, nodeId, peerHost } = this.#config;
    return peerAdvertise ?? initialCluster.get(nodeId) ?? `${peerHost}:${this.#transport.port}`;
  }

  #reportRecovery(recovered: readonly RecoveredShard[]): void {
    for (const { shard, verdict, isQuarantined } of recovered) {
      if (verdict.type !== "ok") {
        this.#log.error(
          { shard, verdict: verdict.type, index: verdict.index, isQuarantined },
          "the log of a shard is damaged",
        );
      }
    }
  }
}
