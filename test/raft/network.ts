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

  /** Takes the messages of a direction (`a->b`), optionally of one type, out of the network. */
  take(direction: string, type: string | null): readonly Message[] {
    const taken = this.peek(direction, type);
    this.#inFlight = this.#inFlight.filter((message) => !taken.includes(message));
    return taken;
  }

  peek(direction: string, type: string | null): readonly Message[] {
    return this.#inFlight.filter(
      (message) =>
        `${message.from}->${message.to}` === direction && (type === null || message.type === type),
    );
  }

  takeAll(): readonly Message[] {
    const taken = this.#inFlight;
    this.#inFlight = [];
    return taken;
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
