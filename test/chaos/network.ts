import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { Prng } from "../sim/prng.ts";
import { connectionOwner } from "./connection-owner.ts";
import { fairWeather, Flow, reset, type Weather } from "./flow.ts";

/** One node in the network: where it listens itself, and where the others find it. */
export interface NetworkNode {
  readonly id: string;
  readonly port: number;
  /** The proxy's. */
  readonly publicPort: number;
  /** Its process; null while there is none. */
  readonly pid: () => number | null;
}

/** A connection through the proxy of a node. */
interface Connection {
  readonly from: string;
  readonly to: string;
  readonly sockets: readonly Socket[];
  readonly flows: readonly Flow[];
}

/**
 * The network between nodes, through TCP proxies: every node has one at the address that the others know. The proxy sees which process
 * dials, so each direction between two nodes has its own weather, whoever has opened the connection. A proxy whose node is down refuses, as a
 * port without a process does.
 */
export class FaultyNetwork {
  readonly #nodes: readonly NetworkNode[];
  readonly #random: Prng;
  readonly #weathers = new Map<string, Weather>();
  readonly #servers = new Map<string, Server>();
  readonly #connections = new Set<Connection>();
  /** Connections that cannot be made before the weather changes. */
  #waiting: (() => void)[] = [];

  constructor(nodes: readonly NetworkNode[], random: Prng) {
    this.#nodes = nodes;
    this.#random = random;
  }

  get ids(): readonly string[] {
    return this.#nodes.map(({ id }) => id);
  }

  /** Listens for a node: to be called before its process starts. */
  async up(id: string): Promise<void> {
    const node = this.#nodes.find((candidate) => candidate.id === id);
    if (node === undefined || this.#servers.has(id)) {
      return;
    }
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
      this.#accept(node, socket),
    );
    this.#servers.set(id, server);
    server.listen(node.publicPort, "127.0.0.1");
    await once(server, "listening");
  }

  /** The node's process is gone: who dials is refused. */
  down(id: string): void {
    this.#servers.get(id)?.close();
    this.#servers.delete(id);
  }

  /** Changes the weather from one node to another. */
  change(from: string, to: string, change: Partial<Weather>): void {
    Object.assign(this.#weather(from, to), change);
    this.#changed();
  }

  /** Fair weather everywhere. */
  heal(): void {
    for (const weather of this.#weathers.values()) {
      Object.assign(weather, fairWeather());
    }
    this.#changed();
  }

  /** Breaks all connections of a node. */
  cutConnections(id: string): void {
    for (const { from, to, sockets } of this.#connections) {
      if (from === id || to === id) {
        sockets.forEach(reset);
      }
    }
  }

  close(): void {
    this.ids.forEach((id) => this.down(id));
    this.#connections.forEach(({ sockets }) => sockets.forEach((socket) => socket.destroy()));
  }

  #weather(from: string, to: string): Weather {
    const key = `${from}>${to}`;
    const weather = this.#weathers.get(key) ?? fairWeather();
    this.#weathers.set(key, weather);
    return weather;
  }

  #changed(): void {
    this.#connections.forEach(({ flows }) => flows.forEach((flow) => flow.pump()));
    const waiting = this.#waiting;
    this.#waiting = [];
    waiting.forEach((retry) => retry());
  }

  #accept(node: NetworkNode, incoming: Socket): void {
    incoming.on("error", ignore);
    const from = this.#dialler(node, incoming.remotePort ?? 0);
    if (from === null) {
      incoming.destroy();
      return;
    }
    this.#join(from, node, incoming);
  }

  #dialler(node: NetworkNode, port: number): string | null {
    const pids = this.#nodes.flatMap(({ pid }) => pid() ?? []);
    const owner = connectionOwner(port, node.publicPort, pids);
    return this.#nodes.find(({ pid }) => owner !== null && pid() === owner)?.id ?? null;
  }

  /** Connects both ends, once packets go both ways: a handshake needs both. */
  #join(from: string, node: NetworkNode, incoming: Socket): void {
    if (incoming.destroyed) {
      return;
    }
    const [there, back] = [this.#weather(from, node.id), this.#weather(node.id, from)];
    if (there.isCut || back.isCut) {
      this.#waiting.push(() => this.#join(from, node, incoming));
      return;
    }
    const outgoing = connect({
      port: node.port,
      host: "127.0.0.1",
      allowHalfOpen: true,
      noDelay: true,
    });
    outgoing.on("error", ignore);
    const connection: Connection = {
      from,
      to: node.id,
      sockets: [incoming, outgoing],
      flows: [
        new Flow(incoming, outgoing, there, this.#random),
        new Flow(outgoing, incoming, back, this.#random),
      ],
    };
    this.#connections.add(connection);
    for (const socket of connection.sockets) {
      socket.once("close", () => {
        if (connection.sockets.every(({ destroyed }) => destroyed)) {
          this.#connections.delete(connection);
        }
      });
    }
  }
}

/** A socket that breaks is passed on by its flow. */
function ignore(): void {}
