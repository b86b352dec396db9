import { MemoryNetwork, MemoryTransport } from "./memory-transport.ts";
import { testTransport } from "./transport-suite.ts";

testTransport("memory", () => {
  const network = new MemoryNetwork({
    schedule: (_from, _to, event) => {
      setImmediate(event);
    },
  });
  let ports = 1;
  return (setup) => {
    const address = setup.address ?? `memory:${ports++}`;
    return {
      transport: new MemoryTransport({ ...setup, network, address }),
      address: () => address,
    };
  };
});
