import { connect } from "node:net";

/**
 * What a bare TCP connection attempt found.
 * - `answered`: a process listens there and has said something; an HTTP/2 server speaks first. That the kernel accepts is not enough: it
 *   does so for a paused process too, and for one that is just dying.
 * - `refused`: the machine answers, and nobody listens: the process is not there
 * - `closed`: accepted, and closed before a word was said
 * - `unreachable`: the name does not resolve, or no route leads to the address
 * - `silent`: no answer in time
 */
export type ProbeResult = "answered" | "refused" | "closed" | "unreachable" | "silent";

/** A `host:port` in its parts; IPv6 addresses in brackets. Null when it is malformed. */
export function parseAddress(address: string): { host: string; port: number } | null {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:\s[\]]+)):(\d{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host === undefined || !(port <= 65535) ? null : { host, port };
}

/**
 * Knocks at a peer's door and goes away. Resolves names anew each time. Never rejects.
 *
 * gRPC hides the cause of a failed connection in a sentence; this shows it, within a round trip.
 */
export function probe(
  address: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const target = parseAddress(address);
  if (target === null || signal.aborted) {
    return Promise.resolve("unreachable");
  }
  const { promise, resolve } = Promise.withResolvers<ProbeResult>();
  const socket = connect({ ...target, noDelay: true });
  const finish = (result: ProbeResult) => {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    socket.destroy();
    resolve(result);
  };
  const onAbort = () => finish("silent");
  const timer = setTimeout(() => finish("silent"), timeoutMs);
  signal.addEventListener("abort", onAbort);
  socket.once("data", () => finish("answered"));
  socket.once("end", () => finish("closed"));
  socket.on("error", (error) => finish(classify(error)));
  return promise;
}

const resultOfCode = new Map<string, ProbeResult>([
  ["ECONNREFUSED", "refused"],
  ["ECONNRESET", "closed"],
  ["EPIPE", "closed"],
  ["ETIMEDOUT", "silent"],
]);

function classify(error: Error): ProbeResult {
  const code = "code" in error ? String(error.code) : "";
  return resultOfCode.get(code) ?? "unreachable";
}
