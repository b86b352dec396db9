import type { NodeId } from "../types.ts";

/** Node-level liveness: who has been heard lately. Stands in for the heartbeats of all quiet groups. */
export class Peers {
  readonly #lastHeardTick = new Map<NodeId, number>();
  readonly #connected = new Set<NodeId>();

  /** Says who the peers are; the others are forgotten. */
  set(peers: readonly NodeId[]): void {
    const wanted = new Set(peers);
    for (const id of this.#lastHeardTick.keys()) {
      if (!wanted.has(id)) {
        this.#lastHeardTick.delete(id);
        this.#connected.delete(id);
      }
    }
    for (const id of peers) {
      if (!this.#lastHeardTick.has(id)) {
        this.#lastHeardTick.set(id, Number.NEGATIVE_INFINITY);
      }
    }
  }

  get ids(): IterableIterator<NodeId> {
    return this.#lastHeardTick.keys();
  }

  heard(peer: NodeId, tick: number): void {
    if (this.#lastHeardTick.has(peer)) {
      this.#lastHeardTick.set(peer, tick);
    }
  }

  connected(peer: NodeId): void {
    this.#connected.add(peer);
  }

  disconnected(peer: NodeId): void {
    this.#connected.delete(peer);
  }

  isConnected(peer: NodeId): boolean {
    return this.#connected.has(peer);
  }

  /** Whether the peer has been silent for more than `silentTicks`. */
  isSilent(peer: NodeId, tick: number, silentTicks: number): boolean {
    const heard = this.#lastHeardTick.get(peer);
    return heard === undefined || tick - heard > silentTicks;
  }
}
