import { isNodeId, NodeId } from "../cluster/types.ts";
import { type LogLevel, logLevels } from "./log.ts";
import { readSettings, type Reading } from "./read-settings.ts";
import {
  bytes,
  choice,
  flagOf,
  helpText,
  integer,
  markdownTable,
  optionalText,
  parsed,
  text,
  toggle,
  type Parsed,
  type SettingsTable,
  type ValuesOf,
} from "./settings.ts";

const node = "This node";
const cluster = "The cluster (only read when it is founded)";
const timing = "Timing";
const http = "Requests";
const limits = "Limits of requests";
const raft = "Raft";
const storage = "Log and snapshots";
const watching = "What can be seen";

/**
 * Every setting, once: flag, environment variable, default, check, unit and help all come from its row. docs/configuration.md is written
 * from it. To add a setting, add a row; it appears in `Config` under the row's name.
 */
const table = {
  nodeId: parsed({
    section: node,
    help: "Name of this node, unique in its cluster and the same for ever",
    default: "n1",
    allowed: "1 to 64 letters, digits, dots, dashes or underscores",
    parse: (written) => (isNodeId(written) ? { value: NodeId(written) } : null),
  }),
  data: optionalText({
    section: node,
    help: "Directory for everything that is durable",
    otherwise: ".data/<node-id>",
    allowed: "the path of a directory",
    check: (written) => written.length > 0,
  }),
  httpHost: text({
    section: node,
    help: "Address on which clients are served; 0.0.0.0 for all",
    default: "127.0.0.1",
    allowed: "an IP address or a host name",
    check: isHost,
  }),
  httpPort: integer({
    section: node,
    help: "Port on which clients are served; 0 takes a free one",
    default: 8080,
    min: 0,
    max: 65_535,
  }),
  httpAdvertise: optionalText({
    section: node,
    help: "Address under which clients reach this node",
    otherwise: "host and port",
    allowed: "host:port",
    check: isAddress,
  }),
  peerHost: text({
    section: node,
    help: "Address on which other nodes are served; 0.0.0.0 for all",
    default: "127.0.0.1",
    allowed: "an IP address or a host name",
    check: isHost,
  }),
  peerPort: integer({
    section: node,
    help: "Port on which other nodes are served; 0 takes a free one",
    default: 7080,
    min: 0,
    max: 65_535,
  }),
  peerAdvertise: optionalText({
    section: node,
    help: "Address under which other nodes reach this node",
    otherwise: "as in --initial-cluster, else host and port",
    allowed: "host:port",
    check: isAddress,
  }),
  zone: text({
    section: node,
    help: "Where this node is: replicas of a shard are spread over zones",
    default: "default",
    allowed: "1 to 64 letters, digits, dots, dashes or underscores",
    check: (written) => /^[A-Za-z0-9._-]{1,64}$/.test(written),
  }),
  initialCluster: parsed({
    section: cluster,
    help: "The first nodes and their peer addresses, n1=host:port,n2=host:port; empty for a single node",
    default: "",
    allowed: "id=host:port pairs, separated by commas, each id once",
    parse: parseInitialCluster,
  }),
  shards: integer({
    section: cluster,
    help: "Number of shards",
    default: 8,
    min: 1,
    max: 4096,
  }),
  replicationFactor: integer({
    section: cluster,
    help: "Replicas of each shard; as many as there are nodes, if those are fewer",
    default: 3,
    min: 1,
    max: 7,
  }),
  tickMs: milliseconds(timing, "Length of a tick, the unit of Raft's time", 50, 5, 1000),
  electionTicks: ticks(
    "Silence of a leader after which a follower campaigns; more than two heartbeats",
    20,
    3,
    1000,
  ),
  electionJitterTicks: ticks("Random part that is added to it", 10, 1, 1000),
  heartbeatTicks: ticks("Pause between a leader's heartbeats; the same on all nodes", 4, 1, 100),
  requestTimeoutMs: milliseconds(
    http,
    "Deadline of a request without ?timeout=",
    10_000,
    1,
    60_000,
  ),
  requestTimeoutMaxMs: milliseconds(http, "Longest ?timeout= and ?wait=", 60_000, 1, 600_000),
  headersTimeoutMs: milliseconds(http, "Time for a request's head to arrive", 10_000, 100, 600_000),
  bodyTimeoutMs: milliseconds(http, "Time for a whole request to arrive", 30_000, 100, 600_000),
  keepAliveTimeoutMs: milliseconds(http, "Idle connections are closed after", 72_000, 0, 3_600_000),
  watchHeartbeatMs: milliseconds(
    http,
    "Pause between signs of life of a watch",
    15_000,
    10,
    600_000,
  ),
  shutdownTimeoutMs: milliseconds(
    http,
    "Time for work under way when stopping",
    20_000,
    0,
    600_000,
  ),
  keyBytesMax: bytes({
    section: limits,
    help: "Longest key",
    default: "1KiB",
    min: "1",
    max: "4KiB",
  }),
  valueBytesMax: bytes({
    section: limits,
    help: "Largest value",
    default: "1MiB",
    min: "1",
    max: "8MiB",
  }),
  batchOperationsMax: integer({
    section: limits,
    help: "Operations in a batch or transaction",
    default: 128,
    min: 1,
    max: 10_000,
  }),
  batchBytesMax: bytes({
    section: limits,
    help: "Largest JSON body of a batch or transaction, and bytes of values in the answer to a batch",
    default: "4MiB",
    min: "1KiB",
    max: "8MiB",
  }),
  pageItemsDefault: integer({
    section: limits,
    help: "Keys on a page without ?limit=",
    default: 100,
    min: 1,
    max: 100_000,
  }),
  pageItemsMax: integer({
    section: limits,
    help: "Largest ?limit=",
    default: 1000,
    min: 1,
    max: 100_000,
  }),
  pageBytesMax: bytes({
    section: limits,
    help: "Bytes of keys and values after which a page ends",
    default: "4MiB",
    min: "1KiB",
    // One page must fit into a frame between nodes.
    max: "8MiB",
  }),
  inflightRequestsMax: integer({
    section: limits,
    help: "Requests under way; more are refused as overloaded",
    default: 4096,
    min: 1,
    max: 1_000_000,
  }),
  inflightBytesMax: bytes({
    section: limits,
    help: "Bytes of request bodies under way; more are refused as overloaded",
    default: "128MiB",
    min: "1MiB",
    max: "16GiB",
  }),
  watchersMax: integer({
    section: limits,
    help: "Watches, long polls and waits for locks at one time",
    default: 10_000,
    min: 0,
    max: 1_000_000,
  }),
  watchHistoryEvents: integer({
    section: limits,
    help: "Changes of a shard that are kept in memory for watches that come back",
    default: 20_000,
    min: 0,
    max: 100_000_000,
  }),
  watchHistoryBytes: bytes({
    section: limits,
    help: "The same in bytes, of all shards of a node together; whichever is reached first",
    default: "12MiB",
    min: "64KiB",
    max: "64GiB",
  }),
  watchBufferBytes: bytes({
    section: limits,
    help: "Changes that wait for one slow watcher; beyond, it is cut off and may resume",
    default: "1MiB",
    min: "1KiB",
    max: "1GiB",
  }),
  appendBytesMax: raftBytes("Log bytes in one message to a follower", "1MiB", "1KiB", "8MiB"),
  inflightMessagesMax: integer({
    section: raft,
    help: "Messages under way to one follower of one shard",
    default: 64,
    min: 1,
    max: 10_000,
  }),
  inflightBytesPerFollowerMax: raftBytes(
    "Log bytes under way to one follower",
    "16MiB",
    "64KiB",
    "1GiB",
  ),
  uncommittedBytesMax: raftBytes(
    "Bytes a leader accepts beyond what is committed",
    "64MiB",
    "1MiB",
    "4GiB",
  ),
  peerQueueBytesMax: raftBytes(
    "Bytes that wait for the connection to one node",
    "64MiB",
    "16MiB",
    "4GiB",
  ),
  logRetainedEntries: integer({
    section: storage,
    help: "Applied entries of a shard that are kept in memory for followers that lag",
    default: 20_000,
    min: 0,
    max: 100_000_000,
  }),
  logRetainedBytes: bytes({
    section: storage,
    help: "The same in bytes, of all shards of a node together; up to twice as much is kept",
    default: "8MiB",
    min: "64KiB",
    max: "64GiB",
  }),
  rowCacheBytes: bytes({
    section: storage,
    help: "Memory for keys and values that were read or written lately",
    default: "24MiB",
    min: "0B",
    max: "64GiB",
  }),
  snapshotChunkBytes: bytes({
    section: storage,
    help: "Size of a snapshot's chunks on the wire",
    default: "256KiB",
    min: "4KiB",
    max: "256KiB",
  }),
  logLevel: choice<LogLevel>({
    section: watching,
    help: "What is logged",
    default: "info",
    words: logLevels,
  }),
  logRequests: toggle({
    section: watching,
    help: "Log every request; costs a third of the throughput",
    default: false,
  }),
  slowRequestMs: milliseconds(
    watching,
    "Requests that take longer are kept for /v1/debug/slow",
    100,
    0,
    600_000,
  ),
  slowRequestsKept: integer({
    section: watching,
    help: "How many of them",
    default: 128,
    min: 1,
    max: 10_000,
  }),
} satisfies SettingsTable;

/** All settings of a node, checked. */
export type Config = Omit<ValuesOf<typeof table>, "data"> & { readonly data: string };

/** What the command line asks for. */
export type ConfigReading =
  | { readonly type: "config"; readonly config: Config }
  /** `--help`, `--version`, `--print-config`: show this and end. */
  | { readonly type: "print"; readonly text: string }
  /** Nothing can be started; every line is one complaint. */
  | { readonly type: "errors"; readonly lines: readonly string[] };

const commands = ["help", "version", "print-config"] as const;

/** Reads flags and `FLOTILLA_*` variables. Flags win. Reports everything that is wrong at once. */
export function readConfig(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  version: string,
): ConfigReading {
  const reading = readSettings(table, commands, argv, env);
  if (reading.commands.has("help")) {
    return { type: "print", text: usage() };
  }
  if (reading.commands.has("version")) {
    return { type: "print", text: version };
  }
  if (reading.errors.length > 0) {
    return { type: "errors", lines: reading.errors };
  }
  const config = configOf(reading);
  const lines = contradictions(config);
  if (lines.length > 0) {
    return { type: "errors", lines };
  }
  return reading.commands.has("print-config")
    ? { type: "print", text: printed(reading) }
    : { type: "config", config };
}

/** The settings of a node that was given none: what tests start from. */
export function defaultConfig(changes: Partial<Config> = {}): Config {
  return { ...configOf(readSettings(table, [], [], {})), ...changes };
}

/** The table of docs/configuration.md. */
export function settingsTable(): string {
  return markdownTable(table);
}

function configOf(reading: Reading): Config {
  // Every row was parsed by its own setting, under its own name.
  const values = Object.fromEntries(reading.values) as ValuesOf<typeof table>;
  return { ...values, data: dataOf(reading, values.nodeId) };
}

function dataOf(reading: Reading, nodeId: NodeId): string {
  const given = reading.texts.get("data");
  return given === undefined || given.source === "default" ? `.data/${nodeId}` : given.text;
}

/** Settings that are right one by one and wrong together. */
function contradictions(config: Config): readonly string[] {
  const rules: readonly (readonly [holds: boolean, otherwise: string])[] = [
    [
      config.initialCluster.size === 0 || config.initialCluster.has(config.nodeId),
      `--initial-cluster does not name this node, --node-id=${config.nodeId}`,
    ],
    [
      config.electionTicks > 2 * config.heartbeatTicks,
      "--election-ticks must be more than twice --heartbeat-ticks",
    ],
    [
      config.requestTimeoutMs <= config.requestTimeoutMaxMs,
      "--request-timeout-ms must not exceed --request-timeout-max-ms",
    ],
    [
      config.headersTimeoutMs <= config.bodyTimeoutMs,
      "--headers-timeout-ms must not exceed --body-timeout-ms",
    ],
    [
      config.pageItemsDefault <= config.pageItemsMax,
      "--page-items-default must not exceed --page-items-max",
    ],
    [
      config.valueBytesMax <= config.inflightBytesMax,
      "--value-bytes-max must not exceed --inflight-bytes-max",
    ],
    [
      config.batchBytesMax <= config.inflightBytesMax,
      "--batch-bytes-max must not exceed --inflight-bytes-max",
    ],
  ];
  return rules.filter(([holds]) => !holds).map(([, otherwise]) => otherwise);
}

function usage(): string {
  return [
    "flotilla [flags]: one node of a replicated key-value store",
    "",
    "Without any flag it is a store of its own. Every flag is also a variable: --http-port is FLOTILLA_HTTP_PORT.",
    "",
    "  --help              show this",
    "  --version           show the version",
    "  --print-config      show the settings in force, and where each comes from",
    helpText(table),
  ].join("\n");
}

function printed(reading: Reading): string {
  return [...reading.texts]
    .map(([name, { text: written, source }]) => `${flagOf(name)} = ${written}  # ${source}`)
    .join("\n");
}

function milliseconds(section: string, help: string, standard: number, min: number, max: number) {
  return integer({ section, help, default: standard, min, max, unit: "ms" });
}

function ticks(help: string, standard: number, min: number, max: number) {
  return integer({ section: timing, help, default: standard, min, max, unit: "ticks" });
}

function raftBytes(help: string, standard: string, min: string, max: string) {
  return bytes({ section: raft, help, default: standard, min, max });
}

function isHost(written: string): boolean {
  return /^[A-Za-z0-9._:-]{1,253}$/.test(written);
}

/** `host:port`, with brackets around an IPv6 address. */
function isAddress(written: string): boolean {
  const match = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):(\d{1,5})$/.exec(written);
  return match !== null && Number(match[1]) >= 1 && Number(match[1]) <= 65_535;
}

function parseInitialCluster(written: string): Parsed<ReadonlyMap<NodeId, string>> | null {
  const nodes = new Map<NodeId, string>();
  for (const pair of written === "" ? [] : written.split(",")) {
    const [id = "", address = "", ...rest] = pair.trim().split("=");
    if (!isNodeId(id) || !isAddress(address) || rest.length > 0 || nodes.has(NodeId(id))) {
      return null;
    }
    nodes.set(NodeId(id), address);
  }
  return { value: nodes };
}
