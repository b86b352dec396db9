import { setTimeout as delay } from "node:timers/promises";
import * as grpc from "@grpc/grpc-js";
import { ClassicLevel } from "classic-level";
import { fastify, type FastifyInstance } from "fastify";
import { tuneEngine } from "../../server/engine.ts";
import { FloorPipeline } from "./floor-pipeline.ts";

/**
 * One process of the bare pipeline: `node floor-node.ts NODE HTTP-BASE-PORT PEER-BASE-PORT DIRECTORY`. Says `ready` on standard output when
 * it is connected to both others. See floor-pipeline.ts.
 */

type Stream = grpc.ClientDuplexStream<Buffer, Buffer> | grpc.ServerDuplexStream<Buffer, Buffer>;

const asTheyAre = (bytes: Buffer): Buffer => bytes;
const service = {
  frames: {
    path: "/floor/frames",
    requestStream: true,
    responseStream: true,
    requestSerialize: asTheyAre,
    requestDeserialize: asTheyAre,
    responseSerialize: asTheyAre,
    responseDeserialize: asTheyAre,
  },
} as const;
const connectTimeoutMs = 20_000;
const host = "127.0.0.1";

tuneEngine();
// Who started this process holds the other end: without them it ends.
process.stdin.resume().on("end", () => process.exit());
const [node = 0, httpPort = 0, peerPort = 0] = process.argv.slice(2, 5).map(Number);
const directory = process.argv[5] ?? "";

const database = new ClassicLevel<Buffer, Buffer>(directory, {
  keyEncoding: "buffer",
  valueEncoding: "buffer",
});
const streams = new Map<number, Stream>();
const pipeline = new FloorPipeline({
  node,
  send: (to, frame) => streams.get(to)?.write(frame) !== undefined,
  write: async (pairs) => {
    const batch = database.batch();
    pairs.forEach(({ key, value }) => batch.put(key, value));
    await batch.write({ sync: true });
  },
});

await database.open();
await listenToPeers();
for (let peer = 0; peer < node; peer += 1) {
  await dial(peer);
}
await listenToClients();
const startedMs = performance.now();
while (streams.size < 2) {
  if (performance.now() - startedMs > connectTimeoutMs) {
    throw new Error(`node ${node} of the bare pipeline is not connected to both others`);
  }
  await delay(10);
}
console.log("ready");

function adopt(peer: number, stream: Stream): void {
  streams.set(peer, stream);
  stream.on("data", (frame: Buffer) => pipeline.onFrame(peer, frame));
}

/** Without both others nothing can be measured. */
function endWith(stream: Stream): void {
  for (const event of ["error", "end"]) {
    stream.on(event, () => process.exit(1));
  }
}

async function listenToPeers(): Promise<void> {
  const server = new grpc.Server();
  server.addService(service, {
    frames: (stream: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      endWith(stream);
      stream.once("data", (first: Buffer) => adopt(first.readUInt8(), stream));
    },
  });
  await new Promise<void>((resolve, reject) => {
    const credentials = grpc.ServerCredentials.createInsecure();
    server.bindAsync(`${host}:${peerPort + node}`, credentials, (error) =>
      error === null ? resolve() : reject(error),
    );
  });
}

async function dial(peer: number): Promise<void> {
  const client = new grpc.Client(`${host}:${peerPort + peer}`, grpc.credentials.createInsecure());
  await new Promise<void>((resolve, reject) => {
    client.waitForReady(Date.now() + connectTimeoutMs, (error) =>
      error === undefined ? resolve() : reject(error),
    );
  });
  const stream = client.makeBidiStreamRequest(service.frames.path, asTheyAre, asTheyAre);
  endWith(stream);
  stream.write(Buffer.of(node));
  adopt(peer, stream);
}

async function listenToClients(): Promise<void> {
  const app: FastifyInstance = fastify();
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  app.put<{ Params: { key: string }; Body: Buffer }>("/v1/kv/:key", (request, reply) => {
    pipeline.put(Buffer.from(request.params.key), request.body, () => {
      reply.hijack();
      const body = '{"revision":"1"}\n';
      reply.raw.writeHead(200, [
        "Content-Type",
        "application/json",
        "Content-Length",
        String(body.length),
      ]);
      reply.raw.end(body, "latin1");
    });
  });
  await app.listen({ host, port: httpPort + node });
}
