import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { LocalCluster } from "./lib/local-cluster.ts";

const usage = `npm start -- [options]: a Flotilla cluster on this machine

  --nodes N             number of nodes                       (3)
  --shards N            shards of a new cluster               (8)
  --replication-factor  replicas of each shard                (3)
  --base-port P         HTTP port of the first node           (8081)
  --peer-base-port P    peer port of the first node           (7081)
  --data DIR            where the nodes keep their data       (.data)
  --fresh               forget what an earlier cluster stored

While it runs, type:  status | kill n2 | restart n2 | pause n2 | resume n2 | quit`;

interface Choices {
  readonly nodes: number;
  readonly shards: number;
  readonly replicationFactor: number;
  readonly basePort: number;
  readonly peerBasePort: number;
  readonly dataDirectory: string;
  readonly fresh: boolean;
}

function readChoices(): Choices {
  const { values } = parseArgs({
    options: {
      nodes: { type: "string", default: "3" },
      shards: { type: "string", default: "8" },
      "replication-factor": { type: "string", default: "3" },
      "base-port": { type: "string", default: "8081" },
      "peer-base-port": { type: "string", default: "7081" },
      data: { type: "string", default: ".data" },
      fresh: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  return {
    nodes: count("--nodes", values.nodes, 99),
    shards: count("--shards", values.shards, 4096),
    replicationFactor: count("--replication-factor", values["replication-factor"], 7),
    basePort: count("--base-port", values["base-port"], 65_535),
    peerBasePort: count("--peer-base-port", values["peer-base-port"], 65_535),
    dataDirectory: values.data,
    fresh: values.fresh,
  };
}

function count(flag: string, text: string, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > max) {
    throw new Error(`${flag} must be a whole number from 1 to ${max}, not ${text}`);
  }
  return value;
}

/** One log line, with its node in front; pino's JSON shortened to what a person reads. */
function printLine(id: string, line: string): void {
  let text = line;
  if (line.startsWith("{")) {
    try {
      const { level, time: _time, node: _node, msg, ...fields } = JSON.parse(line);
      const rest = Object.entries(fields).map(([name, value]) => `${name}=${shown(value)}`);
      const mark = level >= 50 ? "ERROR " : level >= 40 ? "WARN " : "";
      text = [`${mark}${msg}`, ...rest].join("  ");
    } catch {
      // Not a log line after all: printed as it is.
    }
  }
  console.log(`${id} | ${text}`);
}

function shown(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function welcome(cluster: LocalCluster): void {
  const [first, second] = cluster.nodes;
  for (const { id, url, pid } of cluster.nodes) {
    console.log(`${id}  ${url}  pid ${pid}`);
  }
  console.log(`
Try:
  curl -X PUT --data-binary 'hello' ${first?.url}/v1/kv/greeting
  curl -i ${(second ?? first)?.url}/v1/kv/greeting
  curl ${first?.url}/v1/cluster
Type: status | kill n2 | restart n2 | pause n2 | resume n2 | quit
`);
}

async function printStatus(cluster: LocalCluster): Promise<void> {
  for (const { id, url, pid } of cluster.nodes) {
    const state = pid === null ? "down" : (await cluster.isReady(id)) ? "ready" : "not ready";
    console.log(`${id}  ${url}  pid ${pid ?? "-"}  ${state}`);
  }
}

/** Runs one line that was typed. */
async function command(cluster: LocalCluster, line: string): Promise<void> {
  const [verb, id = ""] = line.trim().split(/\s+/);
  switch (verb) {
    case "":
    case undefined:
      return;
    case "status":
      return printStatus(cluster);
    case "kill":
      return cluster.kill(id);
    case "restart":
      return cluster.restart(id);
    case "pause":
      return cluster.pause(id);
    case "resume":
      return cluster.resume(id);
    default:
      console.log("commands: status | kill n2 | restart n2 | pause n2 | resume n2 | quit");
  }
}

async function main(): Promise<void> {
  const choices = readChoices();
  const cluster = new LocalCluster({
    ...choices,
    onLine: printLine,
    onExit: (id, how, expected) =>
      console.log(`${id} | ended (${how})${expected ? "" : `; type: restart ${id}`}`),
  });
  let isStopping = false;
  const stop = async (): Promise<void> => {
    if (isStopping) {
      return;
    }
    isStopping = true;
    console.log("stopping ...");
    await cluster.stopAll();
    process.exit(0);
  };
  process.on("SIGINT", () => void stop());
  process.on("SIGTERM", () => void stop());
  await cluster.start();
  try {
    await cluster.ready(30_000);
  } catch (error) {
    await cluster.stopAll();
    throw error;
  }
  welcome(cluster);
  const terminal = createInterface({ input: process.stdin });
  for await (const line of terminal) {
    if (line.trim() === "quit") {
      await stop();
    }
    try {
      await command(cluster, line);
    } catch (error) {
      console.log(error instanceof Error ? error.message : String(error));
    }
  }
  // The end of the input is not the end of the cluster: it may have been started in the background.
  if (process.stdin.isTTY) {
    await stop();
  }
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  console.error(`\n${usage}`);
  process.exit(1);
}
