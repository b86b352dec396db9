import { type ErrorCode, ServiceError, type ServiceErrorOptions } from "../errors.ts";

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
  readonly #onRefused: (code: ErrorCode) => void;
  #requests = 0;
  #bodyBytes = 0;
  #watchers = 0;

  /** `onRefused` is told of everything that was not taken on. */
  constructor(limits: AdmissionLimits, onRefused: (code: ErrorCode) => void = () => {}) {
    this.#limits = limits;
    this.#onRefused = onRefused;
  }

  get load(): Load {
    return { requests: this.#requests, bodyBytes: this.#bodyBytes, watchers: this.#watchers };
  }

  /** Counts a request in, or answers why not. */
  enter(bodyBytes: number): ServiceError | null {
    const { inflightRequestsMax, inflightBytesMax } = this.#limits;
    if (this.#requests >= inflightRequestsMax) {
      return this.#overloaded(`${inflightRequestsMax} requests are under way, as many as it takes`);
    }
    if (bodyBytes > inflightBytesMax) {
      // It will not fit later either.
      return this.#refusal(
        "body_too_large",
        `the body has ${bodyBytes} bytes; this node takes ${inflightBytesMax} at a time, for all requests`,
      );
    }
    if (this.#bodyBytes + bodyBytes > inflightBytesMax) {
      return this.#overloaded(`request bodies under way would exceed ${inflightBytesMax} bytes`);
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
      throw this.#refusal(
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

  #overloaded(why: string): ServiceError {
    return this.#refusal("overloaded", `this node is at its limit: ${why}`, { retryAfterMs });
  }

  #refusal(code: ErrorCode, detail: string, options: ServiceErrorOptions = {}): ServiceError {
    this.#onRefused(code);
    return new ServiceError(code, detail, options);
  }
}
