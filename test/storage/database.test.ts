import { MemoryDatabase } from "../../storage/memory-database.ts";
import { databaseSuite } from "./database-suite.ts";
import { SimulatedDisk } from "./simulated-disk.ts";
import { temporaryLevel } from "./temporary.ts";

databaseSuite("LevelDB", temporaryLevel);
databaseSuite("memory", async () => new MemoryDatabase());
databaseSuite("a simulated disk", async () => new SimulatedDisk().open());
