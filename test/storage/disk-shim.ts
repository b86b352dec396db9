import { execFileSync } from "node:child_process";
import { join } from "node:path";
import type { TestContext } from "node:test";

/** Compiles disk-shim.c into `directory`; null, with a reason in the test's output, where that is impossible. */
export function buildDiskShim(context: TestContext, directory: string): string | null {
  if (process.platform !== "linux") {
    context.diagnostic("the disk shim needs Linux");
    return null;
  }
  const library = join(directory, "disk-shim.so");
  const source = join(import.meta.dirname, "disk-shim.c");
  try {
    execFileSync("cc", ["-O1", "-fPIC", "-shared", "-o", library, source, "-ldl"], {
      stdio: "pipe",
    });
    return library;
  } catch (error) {
    context.diagnostic(`the disk shim cannot be compiled: ${String(error)}`);
    return null;
  }
}
