import { runSeed } from "./sweep.ts";

// A process of a sweep: it is sent seeds and answers with results, until it is disconnected.
process.on("message", (seed) => {
  runSeed(Number(seed), process.argv[2] === "odd").then(
    (result) => process.send?.(result),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
