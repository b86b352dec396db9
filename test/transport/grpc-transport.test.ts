import { makeGrpc } from "./grpc-harness.ts";
import { testTransport } from "./transport-suite.ts";

testTransport("gRPC", () => makeGrpc());
