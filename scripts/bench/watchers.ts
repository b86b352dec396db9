import { Agent, request as httpRequest } from "node:http";

/** Clients that watch, and count the put events that they get. */
export class Watchers {
  readonly #agent = new Agent({ keepAlive: false });
  #events = 0;
  #ended = 0;
  #wanted = Infinity;
  #done: (atMs: number) => void = () => {};

  /** Events since the first watch began. */
  get events(): number {
    return this.#events;
  }

  /** Watches that the node has ended. */
  get ended(): number {
    return this.#ended;
  }

  /** Resolves when `count` more watches of this address have begun. */
  async open(url: string, count: number): Promise<void> {
    for (let opened = 0; opened < count; opened += 50) {
      const some = Math.min(50, count - opened);
      await Promise.all(Array.from({ length: some }, () => this.#open(url)));
    }
  }

  /** Resolves to the time at which `count` more events have come. */
  told(count: number): Promise<number> {
    this.#wanted = this.#events + count;
    return new Promise((resolve) => (this.#done = resolve));
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Resolves at the first event, which says that the watch has begun. */
  #open(url: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const request = httpRequest(url, { agent: this.#agent }, (response) => {
        response.setEncoding("latin1");
        response.on("error", () => {});
        response.once("close", () => (this.#ended += 1));
        response.on("data", (text: string) => {
          if (text.includes("event: progress")) {
            resolve();
          }
          this.#take(text.split("event: put").length - 1);
        });
      });
      request.on("error", reject);
      request.end();
    });
  }

  #take(events: number): void {
    this.#events += events;
    if (this.#events >= this.#wanted) {
      this.#wanted = Infinity;
      this.#done(performance.now());
    }
  }
}
