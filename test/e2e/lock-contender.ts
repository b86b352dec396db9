import { setTimeout as delay } from "node:timers/promises";

/** What happened to a contender. Times are of `monotonicMs`. */
export type LockEvent =
  | {
      readonly type: "granted";
      readonly owner: string;
      readonly token: number;
      readonly callMs: number;
      readonly returnMs: number;
    }
  /** A fenced write was accepted. */
  | { readonly type: "wrote"; readonly token: number; readonly revision: number }
  /** A fenced write was refused with `lock_lost`. */
  | { readonly type: "refused"; readonly token: number }
  /** Will not keep the lock alive any more, nor release it. */
  | { readonly type: "abandoned"; readonly token: number; readonly atMs: number }
  /** An answer that nobody should get. */
  | { readonly type: "wrong"; readonly what: string };

/** How a contender behaves. */
export interface ContenderOptions {
  readonly name: string;
  readonly urls: readonly string[];
  readonly lock: string;
  /** On the lock's shard; written under the lock. */
  readonly key: string;
  readonly ttlMs: number;
  /** How long it holds the lock at most. */
  readonly holdMsMax: number;
  /** How often it lets the lock expire instead of releasing it, from 0 to 1. */
  readonly abandons: number;
}

/** Milliseconds of a clock that all processes of this machine share, and that never jumps. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/**
 * Acquires the lock, writes the fenced key under it, releases it or lets it expire, and again, until the signal ends it. Each turn has
 * an owner of its own: so a turn that was given up is not taken up again. Asks the next node when one does not answer.
 */
export async function contend(
  options: ContenderOptions,
  signal: AbortSignal,
  tell: (event: LockEvent) => void,
): Promise<void> {
  const contender = new Contender(options, signal, tell);
  for (let turn = 0; !signal.aborted; turn += 1) {
    await contender.takeTurn(`${options.name}-${turn}`);
  }
}

interface Answer {
  readonly status: number;
  readonly body: { readonly code?: string; readonly token?: string; readonly revision?: string };
}

const requestTimeoutMs = 15_000;

class Contender {
  readonly #options: ContenderOptions;
  readonly #signal: AbortSignal;
  readonly #tell: (event: LockEvent) => void;
  #node = Math.floor(Math.random() * 100);

  constructor(options: ContenderOptions, signal: AbortSignal, tell: (event: LockEvent) => void) {
    this.#options = options;
    this.#signal = signal;
    this.#tell = tell;
  }

  async takeTurn(owner: string): Promise<void> {
    const token = await this.#acquire(owner);
    if (token === null) {
      return;
    }
    const isHeld = await this.#hold(owner, token);
    if (isHeld && Math.random() >= this.#options.abandons) {
      await this.#send("DELETE", `${this.#lockPath}?owner=${owner}&token=${token}`, null);
      await this.#write(token);
    } else if (isHeld) {
      this.#tell({ type: "abandoned", token, atMs: monotonicMs() });
      await delay(this.#options.ttlMs * (0.5 + Math.random()));
      await this.#write(token);
    }
  }

  get #lockPath(): string {
    return `/v1/locks/${encodeURIComponent(this.#options.lock)}`;
  }

  async #acquire(owner: string): Promise<number | null> {
    const body = JSON.stringify({ owner, ttl: `${this.#options.ttlMs}ms` });
    while (!this.#signal.aborted) {
      const callMs = monotonicMs();
      const answer = await this.#send("POST", `${this.#lockPath}?wait=2s`, body);
      if (answer?.status === 200) {
        const token = Number(answer.body.token);
        this.#tell({ type: "granted", owner, token, callMs, returnMs: monotonicMs() });
        return token;
      }
    }
    return null;
  }

  /** Writes and keeps the lock alive for a while; whether it is still held, as far as the contender knows. */
  async #hold(owner: string, token: number): Promise<boolean> {
    const endMs = monotonicMs() + Math.random() * this.#options.holdMsMax;
    const body = JSON.stringify({ owner, token: `${token}`, ttl: `${this.#options.ttlMs}ms` });
    while (!this.#signal.aborted) {
      if ((await this.#write(token)) === "refused") {
        return false;
      }
      if (monotonicMs() >= endMs) {
        return true;
      }
      await delay(30);
      const kept = await this.#send("PUT", this.#lockPath, body);
      if (kept?.status === 412) {
        await this.#write(token);
        return false;
      }
    }
    return true;
  }

  async #write(token: number): Promise<"accepted" | "refused" | "unknown"> {
    const { lock, key } = this.#options;
    const headers = { "Flotilla-Fence": `${encodeURIComponent(lock)}=${token}` };
    const path = `/v1/kv/${encodeURIComponent(key)}`;
    const answer = await this.#send("PUT", path, `${token}`, headers);
    if (answer === null || answer.status >= 500) {
      return "unknown";
    }
    if (answer.status === 412 && answer.body.code === "lock_lost") {
      this.#tell({ type: "refused", token });
      return "refused";
    }
    if (answer.status === 200 || answer.status === 201) {
      this.#tell({ type: "wrote", token, revision: Number(answer.body.revision) });
      return "accepted";
    }
    this.#tell({ type: "wrong", what: `a fenced write was answered ${JSON.stringify(answer)}` });
    return "unknown";
  }

  /** The answer, or null when there was none: the node was killed, or the test is over. */
  async #send(
    method: string,
    path: string,
    body: string | null,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer | null> {
    const { urls } = this.#options;
    try {
      const response = await fetch(`${urls[this.#node % urls.length]}${path}`, {
        method,
        body,
        headers: body === null ? headers : { "content-type": "application/json", ...headers },
        signal: AbortSignal.any([this.#signal, AbortSignal.timeout(requestTimeoutMs)]),
      });
      const answer = { status: response.status, body: (await response.json()) as Answer["body"] };
      if (answer.status >= 500) {
        await this.#tryNextNode();
      }
      return answer;
    } catch {
      await this.#tryNextNode();
      return null;
    }
  }

  async #tryNextNode(): Promise<void> {
    this.#node += 1;
    await delay(20);
  }
}
