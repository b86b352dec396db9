import { fileURLToPath } from "node:url";
import { isReady } from "./cluster-client.ts";
import { eventually, freePorts, run, runWell } from "./run.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const engineScript = `${root}scripts/container-engine.sh`;
const baseImage = "node:24-bookworm-slim";
const image = "flotilla:test";

const engineTimeoutMs = 600_000;
const commandTimeoutMs = 60_000;
const readyTimeoutMs = 60_000;

/** Why no containers can run here, or null when they can. */
export async function whyNoContainers(): Promise<string | null> {
  const { code, stderr } = await run(engineScript, ["up"], { timeoutMs: engineTimeoutMs });
  return code === 0 ? null : stderr.trim();
}

/** Stops the engine if `whyNoContainers` had to start it: the machine is left as it was found. */
export async function leaveEngine(): Promise<void> {
  await run(engineScript, ["down"], { timeoutMs: commandTimeoutMs });
}

/** Debian's own client, where there is one, as in scripts/container-engine.sh. */
async function dockerProgram(): Promise<string> {
  const { code } = await run("/usr/bin/docker", ["--version"], { timeoutMs: commandTimeoutMs });
  return code === 0 ? "/usr/bin/docker" : "docker";
}

/** The cluster of docker-compose.yml, three nodes of it, on ports of its own. */
export class ComposeCluster {
  readonly ids = ["n1", "n2", "n3"] as const;
  readonly #docker: string;
  readonly #project = `flotilla-test-${process.pid}`;
  readonly #env: NodeJS.ProcessEnv;
  readonly #urls: ReadonlyMap<string, string>;

  private constructor(docker: string, ports: readonly number[]) {
    this.#docker = docker;
    this.#urls = new Map(this.ids.map((id, at) => [id, `http://127.0.0.1:${ports[at]}`]));
    this.#env = {
      ...process.env,
      COMPOSE_PROJECT_NAME: this.#project,
      FLOTILLA_IMAGE: image,
      ...Object.fromEntries(
        ports.map((port, at) => [`FLOTILLA_HTTP_PORT_${at + 1}`, String(port)]),
      ),
    };
  }

  /** Builds the image and resolves when the nodes run; call `down` in the end, also when this rejects. */
  static async create(): Promise<ComposeCluster> {
    await runWell(engineScript, ["image", baseImage], { timeoutMs: engineTimeoutMs });
    return new ComposeCluster(await dockerProgram(), await freePorts(3));
  }

  /** Builds the image; resolves to the bytes that it adds to its base. */
  async build(): Promise<number> {
    await this.docker(["build", "--network", "host", "--tag", image, "."], engineTimeoutMs);
    const sizes = await Promise.all(
      [image, baseImage].map((name) =>
        this.docker(["image", "inspect", "--format", "{{.Size}}", name]),
      ),
    );
    return Number(sizes[0]) - Number(sizes[1]);
  }

  async up(): Promise<void> {
    await this.compose(["up", "--detach", "--no-build", ...this.ids]);
    await Promise.all(this.ids.map((id) => this.ready(id)));
  }

  /** Stops and removes everything, data too. */
  async down(): Promise<void> {
    await this.compose(["down", "--volumes", "--timeout", "1"]);
  }

  url(id: string): string {
    const url = this.#urls.get(id);
    if (url === undefined) {
      throw new Error(`there is no node ${id}`);
    }
    return url;
  }

  /** Resolves when the node says that it is ready. */
  async ready(id: string): Promise<void> {
    await eventually(`${id} ready`, readyTimeoutMs, async () =>
      (await isReady(this.url(id))) ? true : null,
    );
  }

  /** SIGKILL. */
  async kill(id: string): Promise<void> {
    await this.docker(["kill", await this.#container(id)]);
  }

  /** SIGTERM, and time to end in order. */
  async stop(id: string): Promise<void> {
    await this.compose(["stop", id]);
  }

  async start(id: string): Promise<void> {
    await this.compose(["up", "--detach", "--no-build", "--no-deps", id]);
  }

  /** Takes the node off the network of the peers: silence, without a word to anybody. */
  async disconnect(id: string): Promise<void> {
    const container = await this.#container(id);
    await this.docker(["network", "disconnect", `${this.#project}_peers`, container]);
  }

  async reconnect(id: string): Promise<void> {
    const container = await this.#container(id);
    const network = `${this.#project}_peers`;
    await this.docker(["network", "connect", "--alias", `${id}.peers`, network, container]);
  }

  /** The engine's verdict: starting, healthy, unhealthy. */
  async health(id: string): Promise<string> {
    const container = await this.#container(id);
    const verdict = await this.docker([
      "inspect",
      "--format",
      "{{.State.Health.Status}}",
      container,
    ]);
    return verdict.trim();
  }

  /** Runs a command inside a node's container. */
  async exec(id: string, ...command: readonly string[]): Promise<string> {
    const { stdout, stderr } = await run(
      this.#docker,
      ["exec", await this.#container(id), ...command],
      {
        timeoutMs: commandTimeoutMs,
      },
    );
    return stdout + stderr;
  }

  /** What the nodes logged, for a failed test. */
  async logs(): Promise<string> {
    return await this.compose(["logs", "--no-color", "--tail", "60"]);
  }

  compose(args: readonly string[]): Promise<string> {
    return runWell("docker-compose", args, {
      cwd: root,
      env: this.#env,
      timeoutMs: commandTimeoutMs,
    });
  }

  docker(args: readonly string[], timeoutMs = commandTimeoutMs): Promise<string> {
    return runWell(this.#docker, args, { cwd: root, env: this.#env, timeoutMs });
  }

  async #container(id: string): Promise<string> {
    return (await this.compose(["ps", "--quiet", id])).trim();
  }
}
