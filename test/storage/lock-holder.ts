import { NodeId } from "../../cluster/types.ts";
import { DataDirectory } from "../../storage/data-directory.ts";

/** Opens the directory given as argument, says so, and keeps it until it is killed. */
const path = process.argv[2] ?? "";
await DataDirectory.open({ path, nodeId: NodeId("n1"), clusterId: null, verifiesTables: true });
process.stdout.write("open\n");
setInterval(() => undefined, 60_000);
