import type { TestContext } from "node:test";
import { GrpcTransport } from "../../cluster/transport/grpc-transport.ts";
import type { TransportLimits } from "../../cluster/transport/limits.ts";
import { TestNode, type MakeTransport, type TestNodeOptions } from "./harness.ts";

/** Transports over gRPC on loopback. */
export function makeGrpc(limits: Partial<TransportLimits> = {}): MakeTransport {
  return (setup) => {
    const { snapshotReceivesMax } = setup;
    const transport = new GrpcTransport({
      ...setup,
      listenAddress: setup.address ?? "127.0.0.1:0",
      limits: snapshotReceivesMax === undefined ? limits : { ...limits, snapshotReceivesMax },
    });
    return { transport, address: () => `127.0.0.1:${transport.port}` };
  };
}

/** A node over gRPC, started, and stopped when the test ends. */
export async function startGrpc(
  t: TestContext,
  options: TestNodeOptions,
  limits: Partial<TransportLimits> = {},
): Promise<TestNode> {
  const node = new TestNode(options, makeGrpc(limits));
  t.after(() => node.transport.stop());
  await node.start();
  return node;
}
