/**
 * A node in a process of its own, for tests that kill it: `peer-process.ts ID PARENT_ID PARENT_ADDRESS`. Sends its port to the
 * parent, then the epoch of every frame that it receives. With the single argument `exit` it connects two nodes to each other, stops
 * them, and must end by itself.
 */
import { TestNode, connect } from "./harness.ts";
import { makeGrpc } from "./grpc-harness.ts";
import { NodeId } from "../../cluster/types.ts";

const [id = "", parentId = "", parentAddress = ""] = process.argv.slice(2);
if (id === "exit") {
  const n1 = new TestNode({ id: "n1" }, makeGrpc());
  const n2 = new TestNode({ id: "n2" }, makeGrpc());
  await n1.start();
  await n2.start();
  await connect(n1, n2);
  n2.transport.setPeers([n1.peer, { id: NodeId("n3"), address: "127.0.0.1:1" }]);
  await n1.transport.hello(n2.address, n1.hello, 5_000);
  await n1.transport.stop();
  await n2.transport.stop();
} else {
  const node = new TestNode({ id }, makeGrpc());
  await node.start();
  node.transport.setPeers([{ id: NodeId(parentId), address: parentAddress }]);
  process.send?.({ address: node.address });
  for (let next = 0; ; next++) {
    await foreverUntil(() => node.frames().length > next);
    process.send?.({ epoch: node.frames()[next]?.epoch });
  }
}

async function foreverUntil(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
