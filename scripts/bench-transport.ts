/**
 * What a frame costs between two nodes: the codec alone, against the one that proto-loader generates, and end to end over loopback.
 * The frame is a busy one: 8 AppendEntries of one 2 KiB entry each and 20 forwarded requests of 300 bytes.
 *
 *   node scripts/bench-transport.ts
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { loadSync, type MessageTypeDefinition } from "@grpc/proto-loader";
import type { Frame, Hello } from "../cluster/multiraft/transport.ts";
import { decodeFrame, encodeFrame } from "../cluster/transport/frame-codec.ts";
import { GrpcTransport } from "../cluster/transport/grpc-transport.ts";
import { LogIndex, NodeId, Revision, ShardId, Term } from "../cluster/types.ts";

const from = NodeId("n1");
const to = NodeId("n2");
const codecRounds = 20_000;
const streamFrames = 20_000;
/** Frames under way at a time in the throughput run. */
const window = 32;

if (process.argv[2] === "echo") {
  await echo();
} else {
  benchCodec("busy frame", busyFrame());
  benchCodec("empty frame", emptyFrame());
  await benchStream();
}

function emptyFrame(): Frame {
  const items = { messages: [], requests: [], responses: [], digests: [] };
  return { ...items, floor: Revision(1e6), epoch: 12, sentMs: 1e6, echoMs: 1e6 };
}

function busyFrame(): Frame {
  const messages = Array.from({ length: 8 }, (_, shard) => ({
    shard: ShardId(shard),
    message: {
      type: "AppendEntries",
      from,
      to,
      term: Term(7),
      prevIndex: LogIndex(1_000_000),
      prevTerm: Term(7),
      entries: [
        {
          index: LogIndex(1_000_001),
          term: Term(7),
          type: "command",
          payload: new Uint8Array(2048).fill(shard),
        },
      ],
      commit: LogIndex(999_990),
    } as const,
  }));
  const requests = Array.from({ length: 20 }, (_, id) => ({
    id: 5_000_000 + id,
    shard: ShardId(id % 8),
    kind: "write" as const,
    epoch: 12,
    timeoutMs: 4_999.5,
    payload: new Uint8Array(300).fill(id),
    trace: "",
  }));
  return { ...emptyFrame(), messages, requests };
}

function benchCodec(name: string, frame: Frame): void {
  const proto = fileURLToPath(new URL("../proto/peer.proto", import.meta.url));
  const definition = loadSync(proto, { longs: Number, enums: Number });
  const type = definition["flotilla.peer.v1.Frame"] as unknown as MessageTypeDefinition<
    object,
    object
  >;
  const route = { from, to };
  const bytes = encodeFrame(frame, route);
  const plain = type.deserialize(bytes);
  print(
    `${name}, ${bytes.length} bytes: encode, ours`,
    measure(() => encodeFrame(frame, route)),
  );
  print(
    `${name}: encode, proto-loader`,
    measure(() => type.serialize(plain)),
  );
  print(
    `${name}: decode and check, ours`,
    measure(() => decodeFrame(bytes, route)),
  );
  print(
    `${name}: decode, proto-loader`,
    measure(() => type.deserialize(bytes)),
  );
}

/** Microseconds of CPU for one call. */
function measure(call: () => unknown): number {
  for (let round = 0; round < codecRounds / 4; round++) {
    call();
  }
  const start = process.cpuUsage();
  for (let round = 0; round < codecRounds; round++) {
    call();
  }
  return cpuMicros(start) / codecRounds;
}

/** A child that answers each frame with an empty one. */
async function benchStream(): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), ["echo"]);
  let answered = 0;
  let onAnswer = () => {};
  const transport = makeTransport(from);
  const connected = Promise.withResolvers<void>();
  await transport.start({
    onFrame: () => {
      answered++;
      onAnswer();
    },
    onSnapshot: () => Promise.resolve(),
    onPeerConnected: () => connected.resolve(),
    onPeerDisconnected: () => {},
    onHello: () => helloOf(from),
  });
  const [port] = await once(child, "message");
  transport.setPeers([{ id: to, address: `127.0.0.1:${Number(port)}` }]);
  await connected.promise;
  for (const [name, frame, inFlight] of [
    ["empty frames, one at a time", emptyFrame(), 1],
    [`empty frames, ${window} in flight`, emptyFrame(), window],
    ["busy frames, one at a time", busyFrame(), 1],
    [`busy frames, ${window} in flight`, busyFrame(), window],
  ] as const) {
    answered = 0;
    let sent = 0;
    const done = Promise.withResolvers<void>();
    onAnswer = () => {
      while (sent < streamFrames && sent - answered < inFlight) {
        sent++;
        transport.send(to, frame);
      }
      if (answered === streamFrames) {
        done.resolve();
      }
    };
    const startMs = performance.now();
    const start = process.cpuUsage();
    onAnswer();
    await done.promise;
    const seconds = (performance.now() - startMs) / 1000;
    const rate = Math.round(streamFrames / seconds);
    print(`${name}: ${rate} round trips/s; this side`, cpuMicros(start) / streamFrames);
  }
  child.kill();
  await transport.stop();
}

async function echo(): Promise<void> {
  const transport = makeTransport(to);
  const answer = emptyFrame();
  await transport.start({
    onFrame: (peer) => {
      transport.send(peer, answer);
    },
    onSnapshot: () => Promise.resolve(),
    onPeerConnected: () => {},
    onPeerDisconnected: () => {},
    onHello: () => helloOf(to),
  });
  transport.setPeers([{ id: from, address: "127.0.0.1:1" }]);
  process.send?.(transport.port);
}

function makeTransport(id: NodeId): GrpcTransport {
  return new GrpcTransport({ listenAddress: "127.0.0.1:0", own: () => helloOf(id) });
}

function helloOf(nodeId: NodeId): Hello {
  return {
    nodeId,
    instanceId: "bench",
    clusterId: "bench",
    founders: new Map(),
    incarnation: 1,
    peerAddress: "",
    httpAddress: "",
  };
}

function cpuMicros(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return user + system;
}

function print(what: string, micros: number): void {
  console.log(`${what}: ${micros.toFixed(1)} µs CPU`);
}
