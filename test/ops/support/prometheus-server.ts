import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse, stringify } from "yaml";
import { getJson } from "./cluster-client.ts";
import { eventually, freePorts, run } from "./run.ts";

const deployFolder = fileURLToPath(new URL("../../../deploy/prometheus/", import.meta.url));
const installTimeoutMs = 300_000;

/** A sample or series of an answer to a query. */
export interface Result {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

/** Why no Prometheus can run here; null when one can. Installs Debian's package where that is possible and allowed. */
export async function whyNoPrometheus(): Promise<string | null> {
  const isThere = async (): Promise<boolean> =>
    (await run("prometheus", ["--version"], { timeoutMs: 10_000 })).code === 0;
  if (await isThere()) {
    return null;
  }
  if (process.env["FLOTILLA_TEST_INSTALL"] === "0") {
    return "prometheus is not installed, and FLOTILLA_TEST_INSTALL=0 forbids to install it";
  }
  if (process.getuid?.() !== 0) {
    return "prometheus is not installed, and only root could install it";
  }
  // The package would start a service of its own; RUNLEVEL=1 makes Debian's scripts leave it stopped.
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };
  await run("apt-get", ["update", "-qq"], { env, timeoutMs: installTimeoutMs });
  const args = ["install", "-y", "-qq", "--no-install-recommends", "prometheus"];
  const { stderr } = await run("apt-get", args, { env, timeoutMs: installTimeoutMs });
  return (await isThere()) ? null : `Debian's package prometheus cannot be installed: ${stderr}`;
}

/** A Prometheus on loopback with the rules of deploy/ and its configuration, but for quicker intervals and other targets. */
export class PrometheusServer {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #directory: string;

  private constructor(url: string, child: ChildProcess, directory: string) {
    this.url = url;
    this.#child = child;
    this.#directory = directory;
  }

  /** Scrapes `targets` (host:port by node id) every second; resolves when it answers. */
  static async start(targets: ReadonlyMap<string, string>): Promise<PrometheusServer> {
    const directory = await mkdtemp(join(tmpdir(), "flotilla-prometheus-"));
    await mkdir(join(directory, "data"));
    await cp(join(deployFolder, "rules"), join(directory, "rules"), { recursive: true });
    const config = parse(await readFile(join(deployFolder, "prometheus.yml"), "utf8")) as Config;
    config.global = { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" };
    const [job] = config.scrape_configs;
    if (job === undefined) {
      throw new Error("deploy/prometheus/prometheus.yml scrapes nothing");
    }
    // All nodes of the test have the same host name: their ids come with the targets.
    delete job.relabel_configs;
    await writeFile(join(directory, "prometheus.yml"), stringify(config));
    const groups = [...targets].map(([instance, address]) => ({
      targets: [address],
      labels: { instance },
    }));
    await writeFile(join(directory, "targets.yml"), stringify(groups));
    const [port] = await freePorts(1);
    const child = spawn(
      "prometheus",
      [
        `--config.file=${join(directory, "prometheus.yml")}`,
        `--storage.tsdb.path=${join(directory, "data")}`,
        `--web.listen-address=127.0.0.1:${port}`,
        "--log.level=warn",
      ],
      { stdio: ["ignore", "ignore", "inherit"] },
    );
    const server = new PrometheusServer(`http://127.0.0.1:${port}`, child, directory);
    await eventually("Prometheus ready", 30_000, async () => {
      const response = await fetch(`${server.url}/-/ready`);
      return response.ok ? true : null;
    });
    return server;
  }

  /** The present answer to a query. */
  async query(expr: string): Promise<readonly Result[]> {
    const { data } = await getJson<{ data: { result: Result[] } }>(
      `${this.url}/api/v1/query?query=${encodeURIComponent(expr)}`,
    );
    return data.result;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill("SIGTERM");
      await once(this.#child, "exit");
    }
    await rm(this.#directory, { recursive: true, force: true });
  }
}

interface Config {
  global: Record<string, string>;
  scrape_configs: { relabel_configs?: unknown }[];
}
