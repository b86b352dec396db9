import type { Message } from "../../cluster/raft/message.ts";
import type { NodeId } from "../../cluster/types.ts";

/** The network of a golden script: everything that left and has not arrived, oldest first, and the directions that are cut. */
export class ScriptNetwork {
  #inFlight: Message[] = [];
  readonly #cuts = new Set<string>();

  get inFlight(): readonly Message[] {
    return this.#inFlight;
  }

  send(messages: readonly Message[]): void {
    this.#inFlight.push(...messages);
  }

  /** Like `peek`, and takes them out of the network. */
  take(direction: string, which: string | null): readonly Message[] {
    const taken = this.peek(direction, which);
    this.#inFlight = this.#inFlight.filter((message) => !taken.includes(message));
    return taken;
  }

  /** The messages of a direction: all, those of one type, or the one that was sent `last`. */
  peek(direction: string, which: string | null): readonly Message[] {
    const found = this.#inFlight.filter(({ from, to }) => `${from}->${to}` === direction);
    if (which === "last") {
      return found.slice(-1);
    }
    return found.filter((message) => which === null || message.type === which);
  }

  /** Takes everything but the messages of one type, which stay under way. */
  takeAll(butType: string | null): readonly Message[] {
    const taken = this.#inFlight.filter(({ type }) => type !== butType);
    this.#inFlight = this.#inFlight.filter(({ type }) => type === butType);
    return taken;
  }

  clear(): void {
    this.#inFlight = [];
    this.#cuts.clear();
  }

  isCut(message: Message): boolean {
    return this.#cuts.has(`${message.from}->${message.to}`);
  }

  cut(from: NodeId, to: NodeId): void {
    this.#cuts.add(`${from}->${to}`);
  }

  heal(): void {
    this.#cuts.clear();
  }
}
