/** Runs a program to its end. What it throws is told in one line; a signal ends it through `exit`, so that its last tidying runs. */
export async function runProgram(main: () => Promise<void>): Promise<void> {
  process.once("SIGTERM", () => process.exit(143));
  process.once("SIGINT", () => process.exit(130));
  try {
    await main();
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
