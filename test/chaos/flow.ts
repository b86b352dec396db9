import type { Socket } from "node:net";
import type { Prng } from "../sim/prng.ts";

/** What happens to bytes on their way from one node to another. */
export interface Weather {
  /** Nothing arrives; what is under way arrives when it is over, as TCP repeats it. */
  isCut: boolean;
  delayMsMin: number;
  delayMsMax: number;
  /** Share of packets that are lost. TCP repeats them: the bytes come late, and everything behind them too. */
  lossRate: number;
}

/** Nothing happens to them. */
export function fairWeather(): Weather {
  return { isCut: false, delayMsMin: 0, delayMsMax: 0, lossRate: 0 };
}

/** Linux repeats a segment after this at first, then after twice as long. */
const repeatMs = 200;
const repeatsMax = 5;
/** More than this on its way makes the sender wait, as full socket buffers do. */
const bytesMax = 1024 * 1024;

/** What is passed on: bytes, the end of the stream, or that the connection broke. */
type Cargo = Buffer | "end" | "reset";

interface Item {
  readonly dueMs: number;
  readonly cargo: Cargo;
}

/** One direction of one connection: bytes leave in the order in which they came, when the weather lets them. */
export class Flow {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #weather: Weather;
  readonly #random: Prng;
  readonly #queue: Item[] = [];
  #queuedBytes = 0;
  #lastDueMs = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(from: Socket, to: Socket, weather: Weather, random: Prng) {
    this.#from = from;
    this.#to = to;
    this.#weather = weather;
    this.#random = random;
    from.on("data", (bytes: Buffer) => this.#take(bytes));
    from.on("end", () => this.#take("end"));
    from.on("error", () => this.#take("reset"));
    to.on("drain", () => this.#from.resume());
    to.on("close", () => this.#drop());
  }

  /** To be called when the weather has changed. */
  pump(): void {
    if (this.#timer !== null) {
      clearTimeout(this.#timer);
      this.#timer = null;
    }
    for (let item = this.#queue[0]; item !== undefined; item = this.#queue[0]) {
      const waitMs = item.dueMs - performance.now();
      if (this.#weather.isCut) {
        return;
      }
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), waitMs);
        return;
      }
      this.#queue.shift();
      this.#pass(item);
    }
  }

  #take(cargo: Cargo): void {
    const dueMs = Math.max(this.#lastDueMs, performance.now() + this.#delayMs());
    this.#lastDueMs = dueMs;
    this.#queue.push({ dueMs, cargo });
    this.#queuedBytes += cargo.length;
    if (this.#queuedBytes > bytesMax) {
      this.#from.pause();
    }
    this.pump();
  }

  #delayMs(): number {
    const { delayMsMin, delayMsMax, lossRate } = this.#weather;
    let delayMs = delayMsMin + this.#random.next() * (delayMsMax - delayMsMin);
    for (let lost = 0; lost < repeatsMax && this.#random.chance(lossRate); lost += 1) {
      delayMs += repeatMs * 2 ** lost;
    }
    return delayMs;
  }

  #pass({ cargo }: Item): void {
    this.#queuedBytes -= cargo.length;
    if (cargo === "reset") {
      reset(this.#to);
    } else if (cargo === "end") {
      this.#to.end();
    } else if (!this.#to.write(cargo)) {
      this.#from.pause();
    } else if (this.#queuedBytes <= bytesMax / 2) {
      this.#from.resume();
    }
  }

  #drop(): void {
    if (this.#timer !== null) {
      clearTimeout(this.#timer);
    }
    this.#queue.length = 0;
  }
}

/** Breaks a connection: the other side is told that it is gone for good, not that it has ended. */
export function reset(socket: Socket): void {
  if (socket.writableEnded) {
    // libuv refuses to reset what is being shut down, and Node 24 then never lets go of it: not even the process could end.
    socket.destroy();
  } else {
    socket.resetAndDestroy();
  }
}
