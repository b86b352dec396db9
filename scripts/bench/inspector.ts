import type { CpuProfile } from "./profile-summary.ts";

const samplingIntervalMicroseconds = 200;

/** A process that listens to a debugger: starts and ends a CPU profile of its main thread. */
export class Inspector {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #nextId = 1;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      const answer = JSON.parse(String(data)) as Answer;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
  }

  /** Rejects when nobody listens at that port of this machine. */
  static async connect(port: number): Promise<Inspector> {
    const response = await fetch(`http://127.0.0.1:${port}/json/list`);
    const [target] = (await response.json()) as readonly Target[];
    if (target === undefined) {
      throw new Error(`nothing to inspect at port ${port}`);
    }
    const socket = new WebSocket(target.webSocketDebuggerUrl);
    await new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("error", () => reject(new Error("the inspector refused")));
    });
    return new Inspector(socket);
  }

  async startProfile(): Promise<void> {
    await this.#ask("Profiler.enable", {});
    await this.#ask("Profiler.setSamplingInterval", { interval: samplingIntervalMicroseconds });
    await this.#ask("Profiler.start", {});
  }

  async stopProfile(): Promise<CpuProfile> {
    const { result } = await this.#ask("Profiler.stop", {});
    if (result?.profile === undefined) {
      throw new Error("the inspector gave no profile");
    }
    return result.profile;
  }

  close(): void {
    this.#socket.close();
  }

  #ask(method: string, params: object): Promise<Answer> {
    const id = this.#nextId;
    this.#nextId += 1;
    this.#socket.send(JSON.stringify({ id, method, params }));
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }
}

interface Target {
  readonly webSocketDebuggerUrl: string;
}

interface Answer {
  readonly id: number;
  readonly result?: { readonly profile?: CpuProfile };
}
