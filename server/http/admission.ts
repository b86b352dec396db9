import { ServiceError } from "../errors.ts";

/** How much this node takes on at a time. */
export interface AdmissionLimits {
  readonly inflightRequestsMax: number;
  readonly inflightBytesMax: number;
  readonly watchersMax: number;
}

/** What is under way. */
export interface Load {
  readonly requests: number;
  readonly bodyBytes: number;
  readonly watchers: number;
}

const retryAfterMs = 1000;

/**
 * Refuses work early instead of queueing it: before the body is read, before Raft sees it. A refused request has certainly done
 * nothing, and the answer costs microseconds.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  #requests = 0;
  #bodyBytes = 0;
  #watchers = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  get load(): Load {
    return { requests: this.#requests, bodyBytes: this.#bodyBytes, watchers: this.#watchers };
  }

  /** Counts a request in, or answers why not. */
  enter(bodyBytes: number): ServiceError | null {
    const { inflightRequestsMax, inflightBytesMax } = this.#limits;
    if (this.#requests >= inflightRequestsMax) {
      return overloaded(`${inflightRequestsMax} requests are under way, as many as it takes`);
    }
    if (bodyBytes > inflightBytesMax) {
      // It will not fit later either.
      return new ServiceError(
        "body_too_large",
        `the body has ${bodyBytes} bytes; this node takes ${inflightBytesMax} at a time, for all requests`,
      );
    }
    if (this.#bodyBytes + bodyBytes > inflightBytesMax) {
      return overloaded(`request bodies under way would exceed ${inflightBytesMax} bytes`);
    }
    this.#requests += 1;
    this.#bodyBytes += bodyBytes;
    return null;
  }

  leave(bodyBytes: number): void {
    this.#requests -= 1;
    this.#bodyBytes -= bodyBytes;
  }

  /** Counts a watcher in; throws when there are too many. */
  enterWatcher(): void {
    if (this.#watchers >= this.#limits.watchersMax) {
      throw new ServiceError(
        "too_many_watchers",
        `this node serves ${this.#limits.watchersMax} watches and waits, as many as it may; ask another node`,
        { retryAfterMs },
      );
    }
    this.#watchers += 1;
  }

  leaveWatcher(): void {
    this.#watchers -= 1;
  }
}

function overloaded(why: string): ServiceError {
  return new ServiceError("overloaded", `this node is at its limit: ${why}`, { retryAfterMs });
}
