/**
 * Why a store does not work, as a closed set: the process exits with a sentence for the operator, and nothing matches on texts.
 *
 * - `disk_full`, `read_only`, `no_permission`, `io_error`: the operating system refused.
 * - `corrupt`: bytes on disk are not what was written.
 * - `locked`: another process uses the directory.
 * - `wrong_cluster`, `wrong_node`: the directory belongs to someone else.
 * - `other_format`: written by another version of Flotilla, whose format this one does not read.
 * - `bad_snapshot`: received bytes are not a snapshot that can be installed; the store itself is fine.
 * - `closed`: used after close; a bug or a shutdown in progress.
 */
export type StoreFailureCode =
  | "disk_full"
  | "read_only"
  | "no_permission"
  | "io_error"
  | "corrupt"
  | "locked"
  | "wrong_cluster"
  | "wrong_node"
  | "other_format"
  | "bad_snapshot"
  | "closed";

/** The only error that storage/ throws for causes outside the program. The message says what, why and what to do next. */
export class StoreFailure extends Error {
  override readonly name = "StoreFailure";
  readonly code: StoreFailureCode;

  constructor(code: StoreFailureCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/**
 * Turns what LevelDB or the file system threw into a StoreFailure. LevelDB reports a status and a text made by strerror(3), so the
 * text is the only place where ENOSPC differs from EIO.
 *
 * @param doing what was attempted, as a noun: "writing to the store in /data"
 */
export function storeFailure(doing: string, error: unknown): StoreFailure {
  if (error instanceof StoreFailure) {
    return error;
  }
  const detail = describe(error);
  const code = classify(detail);
  return new StoreFailure(code, `${doing} failed: ${advice[code]} (${detail})`, error);
}

const advice: Readonly<Record<StoreFailureCode, string>> = {
  disk_full: "the disk is full; free space, then start the node again",
  read_only: "the file system is mounted read-only; check the disk, remount it, then start again",
  no_permission: "this user may not write there; fix the owner or mode of the directory",
  io_error: "the disk reported an error; check the system's log and the disk before starting again",
  corrupt:
    "bytes on disk are not what was written; replace the disk, empty the directory and let the node rejoin",
  locked: "another process uses this directory; stop it, or choose another directory",
  wrong_cluster: "the directory belongs to another cluster; choose another directory",
  wrong_node: "the directory belongs to another node; choose another directory",
  other_format: "another version of Flotilla wrote it; start that version",
  bad_snapshot: "the bytes are not a snapshot that can be installed; send it again",
  closed: "the store is closed",
};

function classify(detail: string): StoreFailureCode {
  for (const [pattern, code] of patterns) {
    if (pattern.test(detail)) {
      return code;
    }
  }
  return "io_error";
}

/** Order matters: a lock error also has a reason ("Resource temporarily unavailable") that must not be read as an I/O error. */
const patterns: readonly (readonly [RegExp, StoreFailureCode])[] = [
  [/LEVEL_LOCKED|already held by process/, "locked"],
  [/No space left on device|ENOSPC|Disk quota exceeded|EDQUOT|File too large/, "disk_full"],
  [/Read-only file system|EROFS/, "read_only"],
  [/Permission denied|EACCES|EPERM|Operation not permitted/, "no_permission"],
  [/LEVEL_CORRUPTION|Corruption:|does not exist \(create_if_missing is false\)/, "corrupt"],
  [/LEVEL_DATABASE_NOT_OPEN|LEVEL_ITERATOR_NOT_OPEN|LEVEL_BATCH_NOT_OPEN/, "closed"],
];

/** Code and message of the error and of its causes: abstract-level wraps the binding's error. */
function describe(error: unknown): string {
  const parts: string[] = [];
  for (let current = error, depth = 0; current instanceof Error && depth < 4; depth++) {
    const code = "code" in current && typeof current.code === "string" ? `${current.code}: ` : "";
    parts.push(code + current.message);
    current = current.cause;
  }
  return parts.length > 0 ? parts.join("; ") : String(error);
}
