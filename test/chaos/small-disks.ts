import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const sizeMiB = 64;
const ballastStep = Buffer.alloc(64 * 1024, 1);

/** A small file system for each node's data, which can be filled to the last byte. Mounting needs the rights to. */
export class SmallDisks {
  readonly #directory: string;
  readonly #mounted: string[] = [];

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Whether this process may mount. */
  static arePossible(): boolean {
    const directory = mkdtempSync(join(tmpdir(), "flotilla-mount-"));
    const disks = new SmallDisks(directory);
    try {
      disks.mount("trial");
      return true;
    } catch {
      return false;
    } finally {
      disks.unmountAll();
      rmSync(directory, { recursive: true });
    }
  }

  mount(id: string): void {
    const path = join(this.#directory, id);
    mkdirSync(path, { recursive: true });
    const options = ["-t", "tmpfs", "-o", `size=${sizeMiB}m`, "tmpfs", path];
    execFileSync("mount", options, { stdio: "pipe" });
    this.#mounted.push(path);
  }

  /** Leaves no room. */
  fill(id: string): void {
    const ballast = this.#ballast(id);
    for (let step = ballastStep; step.length > 0;) {
      try {
        appendFileSync(ballast, step);
      } catch {
        step = step.subarray(0, Math.floor(step.length / 2));
      }
    }
  }

  free(id: string): void {
    rmSync(this.#ballast(id), { force: true });
  }

  unmountAll(): void {
    for (const path of this.#mounted.splice(0)) {
      execFileSync("umount", ["-l", path], { stdio: "pipe" });
    }
  }

  #ballast(id: string): string {
    return join(this.#directory, id, "ballast");
  }
}
