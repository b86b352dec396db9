import type { NodeId } from "../cluster/types.ts";
import type { Instruments, Metrics } from "./metrics.ts";
import type { WorkObserver } from "./work-observer.ts";

/** Puts what router and reads tell of their work into metrics. */
export class WorkMetrics implements WorkObserver {
  readonly #into: Instruments;

  constructor(metrics: Metrics) {
    this.#into = metrics.instruments;
  }

  onOperation(op: string, consistency: string, result: string, durationMs: number): void {
    this.#into.operations.inc({ op, result }, 1);
    this.#into.operationSeconds.observe({ op, consistency }, durationMs / 1000);
  }

  onValue(op: string, bytes: number): void {
    this.#into.valueBytes.observe({ op }, bytes);
  }

  onProposal(result: "applied" | "refused" | "dropped" | "unknown", durationMs: number): void {
    this.#into.proposals.inc({ result }, 1);
    if (result === "applied") {
      this.#into.commitSeconds.observe(durationMs / 1000);
    }
  }

  onForward(peer: NodeId, result: string): void {
    this.#into.forwardedRequests.inc({ peer, result }, 1);
  }

  onReadIndex(durationMs: number, failure: string | null): void {
    if (failure === null) {
      this.#into.readIndexSeconds.observe(durationMs / 1000);
    } else {
      this.#into.readIndexFailures.inc({ reason: failure }, 1);
    }
  }

  onWrongMap(): void {
    this.#into.wrongShard.inc(1);
  }
}
