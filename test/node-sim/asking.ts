import type { ClusterNode } from "../../server/cluster-node.ts";
import { errorDefinitions, ServiceError } from "../../server/errors.ts";
import type { RequestContext } from "../../server/http/service.ts";
import type { Prng } from "../sim/prng.ts";
import type { Ending } from "../workload/history.ts";
import type { Machine } from "./machine.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface AskingOptions {
  readonly time: VirtualTime;
  readonly random: Prng;
  readonly machines: readonly Machine[];
  readonly timeoutMs: number;
  readonly onUnexpected: (error: unknown) => void;
}

/** How long a client waits beyond the deadline that it gave, at most. */
const graceMsMax = 300;

/** The way of a client's request to some node and of the answer back; either may get lost with the node's process. */
export class Asking {
  readonly #options: AskingOptions;
  #requests = 0;

  constructor(options: AskingOptions) {
    this.#options = options;
  }

  /** A machine at random, most often one that is up, as behind a load balancer. */
  pickMachine(): Machine {
    const { random, machines } = this.#options;
    const first = random.pick(machines);
    return first.isUp ? first : random.pick(machines);
  }

  /** Asks one node; never rejects. `writes` says whether silence leaves the outcome open. */
  ask<T>(
    machine: Machine,
    writes: boolean,
    run: (node: ClusterNode, context: RequestContext) => Promise<T>,
  ): Promise<Ending<T>> {
    const { time, timeoutMs } = this.#options;
    const process = machine.process;
    if (process === null) {
      return time.pause(1).then(() => ({ type: "failed", reason: "connection refused" }));
    }
    return new Promise((resolve) => {
      const lost: Ending<T> = { type: writes ? "unknown" : "failed", reason: "no answer" };
      time.after(timeoutMs + Math.min(timeoutMs, graceMsMax), () => resolve(lost));
      const answer = (ending: Ending<T>): void => {
        if (!process.loop.isDead) {
          time.after(this.#wireMs(), () => resolve(ending));
        }
      };
      time.after(this.#wireMs(), () =>
        process.loop.enter("io", () => {
          const context = this.#context(process.loop.clock() + timeoutMs);
          run(process.node, context).then(
            (value) => answer({ type: "done", value }),
            (error: unknown) => answer(this.#refusal(error)),
          );
        }),
      );
    });
  }

  #refusal(error: unknown): Ending<never> {
    if (!(error instanceof ServiceError)) {
      this.#options.onUnexpected(error);
      return { type: "unknown", reason: String(error) };
    }
    const applied = error.options.applied ?? errorDefinitions[error.code].applied;
    return { type: applied === "no" ? "failed" : "unknown", reason: error.code };
  }

  #context(deadlineMs: number): RequestContext {
    this.#requests += 1;
    return {
      requestId: `r${this.#requests}`,
      deadlineMs,
      signal: null,
      trace: "",
      timings: new Map(),
    };
  }

  #wireMs(): number {
    return 0.1 + this.#options.random.next() * 2;
  }
}
