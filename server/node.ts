import { GrpcTransport } from "../cluster/transport/grpc-transport.ts";
import { DataDirectory } from "../storage/data-directory.ts";
import { ClusterNode, type ClusterNodeEvents } from "./cluster-node.ts";
import type { Config } from "./config.ts";
import { FailureDetector } from "./failure-detector.ts";
import { HttpServer } from "./http/server.ts";
import type { Log } from "./log.ts";
import { GroupMetrics } from "./group-metrics.ts";
import { Insight } from "./insight.ts";
import { Metrics } from "./metrics.ts";
import { Observation } from "./observation.ts";
import { Service } from "./service.ts";
import { ShardObserver } from "./shard-observer.ts";
import { soon, systemTimers as timers } from "./timers.ts";
import { startTracing, type Tracing } from "./tracing-start.ts";
import { WorkMetrics } from "./work-metrics.ts";

/** Monotonic milliseconds: nothing here depends on the time of day. */
const clock = (): number => performance.now();

const diskMeasureTicks = 200;

/**
 * One server process, put together: a ClusterNode over a real disk, network and clock, HTTP in front of it, and everything that lets it be
 * seen from outside. Says in which order things start; they stop in the reverse order.
 */
export class Node {
  readonly #config: Config;
  readonly #log: Log;
  readonly #onFatal: (error: Error) => void;
  readonly #directory: DataDirectory;
  readonly #transport: GrpcTransport;
  readonly #cluster: ClusterNode;
  readonly #observation: Observation;
  readonly #http: HttpServer;
  readonly #metrics: Metrics;
  readonly #detector: FailureDetector;
  readonly #observer: ShardObserver;
  readonly #tracing: Tracing | null;
  #lastTickMs: number | null = null;
  #ticks = 0;
  #stopped: Promise<void> | null = null;

  private constructor(
    config: Config,
    log: Log,
    directory: DataDirectory,
    version: string,
    metrics: Metrics,
    tracing: Tracing | null,
    onFatal: (error: Error) => void,
  ) {
    this.#metrics = metrics;
    this.#tracing = tracing;
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
    this.#cluster = new ClusterNode({
      config,
      home: directory,
      transport: this.#transport,
      log,
      clock,
      timers,
      schedule: soon,
      random: Math.random,
      addresses: () => ({ peer: this.#peerAddress(), http: this.#http.advertisedAddress }),
      stalenessMs: (replica) => this.#observation.stalenessMs(replica),
      events: this.#events(),
      work: new WorkMetrics(metrics),
      ...(tracing === null ? {} : { tracer: tracing.tracer }),
    });
    this.#observation = this.#makeObservation();
    this.#http = this.#makeHttp(version);
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
    const metrics = new Metrics();
    metrics.observeProcess();
    metrics.describeBuild(version, process.env["GIT_COMMIT"] ?? "unknown");
    const tracing = await startTracing({
      nodeId: config.nodeId,
      version,
      onResult: (result, spans, error) => {
        metrics.instruments.traceSpans.inc({ result }, spans);
        if (error !== null) {
          log.warn({ spans, error }, "spans could not be exported");
        }
      },
    });
    const node = new Node(config, log, directory, version, metrics, tracing, onFatal);
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
    await this.#transport.start(this.#cluster.transportHandlers());
    if (await this.#cluster.start()) {
      this.#metrics.instruments.startReplaySeconds.set((clock() - startedMs) / 1000);
      const addresses = { http: this.#http.address, peer: this.#peerAddress() };
      this.#log.info(addresses, "node started");
    }
  }

  /** Stops taking requests, hands leadership over, finishes what is under way, closes everything. Idempotent. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#observation.isStopping = true;
    const { shutdownTimeoutMs } = this.#config;
    const startedMs = clock();
    await this.#http.drain();
    await this.#cluster.handOver(startedMs + shutdownTimeoutMs / 2);
    await this.#http.stop(Math.max(0, startedMs + shutdownTimeoutMs - clock()));
    await this.#cluster.stop();
    await this.#transport.stop();
    await this.#directory.close();
    await this.#tracing?.stop();
    this.#log.info({}, "node stopped");
  }

  #makeObservation(): Observation {
    const { multiRaft, leaders, follower, watches } = this.#cluster;
    return new Observation({
      nodeId: this.#config.nodeId,
      dataDirectory: this.#config.data,
      multiRaft,
      transport: this.#transport,
      detector: this.#detector,
      leaders,
      map: () => follower.map,
      watcherCount: () => watches.streamCount,
      watchCounts: () => watches.counts,
      clock,
    });
  }

  #makeHttp(version: string): HttpServer {
    const config = this.#config;
    const log = this.#log;
    const observation = this.#observation;
    const { leaders, follower, router, watches } = this.#cluster;
    const metrics = this.#metrics;
    const insight = new Insight({
      config,
      log,
      metrics,
      observation,
      observer: this.#observer,
      clock,
    });
    const watch: Service["watch"] = (request) => watches.watch(request);
    return new HttpServer({
      config,
      log,
      version,
      service: new Service({ router, leaders, follower, observation, watch, clock, timers }),
      observer: insight,
      tracer: this.#tracing?.tracer ?? null,
      insight,
    });
  }

  #makeTransport(): GrpcTransport {
    const { peerHost, peerPort, peerQueueBytesMax } = this.#config;
    return new GrpcTransport({
      listenAddress: `${peerHost}:${peerPort}`,
      own: () => this.#cluster.hello(),
      onProblem: (peer, problem) => {
        // While a cluster starts, refusals are what one expects.
        const level = this.#directory.identity.clusterId === null ? "debug" : "warn";
        this.#log[level]({ peer, problem }, "connection to a peer failed");
      },
      limits: { queueBytesMax: peerQueueBytesMax },
    });
  }

  #events(): ClusterNodeEvents {
    const groups = new GroupMetrics(this.#metrics, this.#config.nodeId);
    return {
      onFatal: (error) => {
        groups.onFatal(error);
        this.#observation.failed(error);
        this.#onFatal(error);
      },
      onLeaderChange: (shard, leader) => {
        groups.onLeaderChange(leader);
        this.#observer.leaderChanged(shard, leader, clock(), (old) =>
          this.#observation.silenceMs(old),
        );
      },
      onHandOver: (_shard, reason) => groups.onHandOver(reason),
      onPeerFrame: (peer, roundTripMs) => {
        this.#detector.heard(peer, clock());
        this.#observation.heard(peer, roundTripMs);
        if (roundTripMs !== null) {
          this.#metrics.instruments.peerRoundTripSeconds.observe({ peer }, roundTripMs / 1000);
        }
      },
      onWrite: (durationMs, entries) => groups.onWrite(durationMs, entries),
      onSnapshot: (_shard, op, error, transfer) => groups.onSnapshot(op, error, transfer),
      onStatesDiffer: (shard, { type }) => {
        if (type === "differ") {
          groups.onStatesDiffer(shard);
        }
      },
      onExpired: () => groups.onExpired(),
      onTick: () => this.#ticked(),
    };
  }

  #ticked(): void {
    const nowMs = clock();
    const { tickMs } = this.#config;
    const lateMs = this.#lastTickMs === null ? 0 : nowMs - this.#lastTickMs - tickMs;
    this.#metrics.instruments.tickDelaySeconds.observe(Math.max(0, lateMs) / 1000);
    this.#lastTickMs = nowMs;
    this.#observation.ticked(nowMs);
    if (this.#ticks % diskMeasureTicks === 0) {
      this.#observation
        .measureDisk()
        .catch((error: unknown) => this.#log.warn({ error }, "the disk could not be measured"));
    }
    this.#ticks += 1;
  }

  #peerAddress(): string {
    const { peerAdvertise, initialCluster, nodeId, peerHost } = this.#config;
    return peerAdvertise ?? initialCluster.get(nodeId) ?? `${peerHost}:${this.#transport.port}`;
  }
}
