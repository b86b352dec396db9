import { assert } from "../cluster/assert.ts";
import type { NodeId } from "../cluster/types.ts";

/** How a suspicion is computed; milliseconds. */
export interface FailureDetectorOptions {
  /** Heartbeats are sent this often, at least. Frames that come faster than this teach nothing about silence. */
  readonly heartbeatMs: number;
  /** Intervals remembered per peer. */
  readonly samplesMax: number;
  /** Floor of the standard deviation: a very regular network must not make one late heartbeat a death. */
  readonly deviationMinMs: number;
  /** Added to the mean: a pause that is nothing to talk about. */
  readonly acceptablePauseMs: number;
}

/** Suspicion is cut off here: beyond 10^-30 more digits mean nothing, and infinity is no number in JSON. */
export const suspicionMax = 30;

/**
 * Phi-accrual failure detector (Hayashibara et al., 2004): instead of "dead" or "alive", a number that grows with the silence of a
 * peer, measured against how regularly it used to speak. Suspicion phi means: with what the peer has shown so far, a silence this
 * long has the probability 10^-phi. Only for eyes and for placement: Raft decides by its own timeouts.
 *
 * Pure: time comes in as monotonic milliseconds.
 */
export class FailureDetector {
  readonly #options: FailureDetectorOptions;
  readonly #peers = new Map<NodeId, Arrivals>();

  constructor(options: FailureDetectorOptions) {
    assert(options.heartbeatMs > 0, "heartbeatMs must be positive");
    assert(options.samplesMax >= 2, "samplesMax must be at least 2");
    assert(options.deviationMinMs > 0, "deviationMinMs must be positive");
    assert(options.acceptablePauseMs >= 0, "acceptablePauseMs must not be negative");
    this.#options = options;
  }

  /** Anything at all arrived from the peer. */
  heard(peer: NodeId, nowMs: number): void {
    const arrivals = this.#peers.get(peer);
    if (arrivals === undefined) {
      this.#peers.set(peer, new Arrivals(nowMs, this.#options.samplesMax));
      return;
    }
    const intervalMs = Math.max(nowMs - arrivals.lastMs, this.#options.heartbeatMs);
    arrivals.lastMs = Math.max(arrivals.lastMs, nowMs);
    arrivals.add(intervalMs);
  }

  /** The peer was disconnected and is back, or this process was stopped: the silence in between says nothing about the peer. */
  forgive(peer: NodeId, nowMs: number): void {
    const arrivals = this.#peers.get(peer);
    if (arrivals !== undefined) {
      arrivals.lastMs = Math.max(arrivals.lastMs, nowMs);
    }
  }

  /** The peer is no longer a member. */
  forget(peer: NodeId): void {
    this.#peers.delete(peer);
  }

  /** 0 (just heard) to `suspicionMax`; a peer that has never been heard is not suspected of having stopped. */
  suspicion(peer: NodeId, nowMs: number): number {
    const arrivals = this.#peers.get(peer);
    if (arrivals === undefined) {
      return 0;
    }
    const { mean, deviation } = arrivals.statistics(this.#options.heartbeatMs);
    const expectedMs = mean + this.#options.acceptablePauseMs;
    const spreadMs = Math.max(deviation, this.#options.deviationMinMs);
    return phi((nowMs - arrivals.lastMs - expectedMs) / spreadMs);
  }
}

/** A window over the last intervals between arrivals, with running sums. */
class Arrivals {
  lastMs: number;
  readonly #intervals: number[] = [];
  readonly #samplesMax: number;
  #next = 0;
  #sum = 0;
  #sumOfSquares = 0;

  constructor(nowMs: number, samplesMax: number) {
    this.lastMs = nowMs;
    this.#samplesMax = samplesMax;
  }

  add(intervalMs: number): void {
    const dropped = this.#intervals[this.#next] ?? 0;
    this.#intervals[this.#next] = intervalMs;
    this.#next = (this.#next + 1) % this.#samplesMax;
    this.#sum += intervalMs - dropped;
    this.#sumOfSquares += intervalMs ** 2 - dropped ** 2;
  }

  statistics(expectedMs: number): { readonly mean: number; readonly deviation: number } {
    const count = this.#intervals.length;
    if (count === 0) {
      return { mean: expectedMs, deviation: expectedMs / 2 };
    }
    const mean = this.#sum / count;
    // Rounding may push a variance of zero just below it.
    return { mean, deviation: Math.sqrt(Math.max(0, this.#sumOfSquares / count - mean ** 2)) };
  }
}

/**
 * -log10 of the probability that a standard normal variable exceeds `deviations`, by the logistic approximation: within 6 % of the
 * true phi up to 4 deviations, too suspicious beyond. Written so that it neither overflows nor loses its digits far out.
 */
function phi(deviations: number): number {
  const exponent = deviations * (1.5976 + 0.070566 * deviations ** 2);
  if (exponent <= -700) {
    return 0;
  }
  const odds = exponent > 700 ? exponent : Math.log1p(Math.exp(exponent));
  return Math.min(suspicionMax, Math.max(0, odds / Math.LN10));
}
