import { GrpcTransport } from "../../cluster/transport/grpc-transport.ts";
import type { MakeTransport } from "./harness.ts";
import { testTransport } from "./transport-suite.ts";

const makeGrpc: MakeTransport = (setup) => {
  const { snapshotReceivesMax } = setup;
  const transport = new GrpcTransport({
    ...setup,
    listenAddress: setup.address ?? "127.0.0.1:0",
    limits: snapshotReceivesMax === undefined ? {} : { snapshotReceivesMax },
  });
  return { transport, address: () => `127.0.0.1:${transport.port}` };
};

testTransport("gRPC", () => makeGrpc);
