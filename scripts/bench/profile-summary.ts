/** A CPU profile as V8 gives it, as far as it is read here. */
export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  /** Which node ran at each sample. */
  readonly samples: readonly number[];
  /** Microseconds from the sample before to each sample. */
  readonly timeDeltas: readonly number[];
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: {
    readonly functionName: string;
    readonly url: string;
    /** From 0. */
    readonly lineNumber: number;
  };
}

/** One line of the summary. */
export interface Share {
  readonly name: string;
  readonly selfMs: number;
  /** Of the time in which the thread was not idle. */
  readonly percent: number;
}

/** Self time of the main thread, idle time left out, largest first. */
export interface ProfileSummary {
  readonly totalMs: number;
  readonly idleMs: number;
  readonly modules: readonly Share[];
  readonly functions: readonly Share[];
}

/** Sums self time by module and by function. `root` is the URL of the repository's folder, with a slash at its end. */
export function summarize(profile: CpuProfile, root: string): ProfileSummary {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const modules = new Map<string, number>();
  const functions = new Map<string, number>();
  let [totalMs, idleMs] = [0, 0];
  for (const [at, id] of profile.samples.entries()) {
    const node = nodes.get(id);
    const spentMs = (profile.timeDeltas[at] ?? 0) / 1000;
    totalMs += spentMs;
    if (node === undefined || node.callFrame.functionName === "(idle)") {
      idleMs += spentMs;
      continue;
    }
    add(modules, moduleOf(node, root), spentMs);
    add(functions, functionOf(node, root), spentMs);
  }
  const busyMs = totalMs - idleMs;
  return {
    totalMs,
    idleMs,
    modules: shares(modules, busyMs),
    functions: shares(functions, busyMs),
  };
}

function add(sums: Map<string, number>, name: string, spentMs: number): void {
  sums.set(name, (sums.get(name) ?? 0) + spentMs);
}

function shares(sums: ReadonlyMap<string, number>, busyMs: number): Share[] {
  return [...sums]
    .map(([name, selfMs]) => ({ name, selfMs, percent: (100 * selfMs) / busyMs }))
    .sort((a, b) => b.selfMs - a.selfMs);
}

/** A folder of this repository, an npm package, Node.js, the garbage collector or native code. */
function moduleOf({ callFrame: { functionName, url } }: ProfileNode, root: string): string {
  const dependency = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1];
  if (dependency !== undefined) {
    return `npm: ${dependency}`;
  }
  if (url.startsWith(root)) {
    const path = url.slice(root.length);
    return path.slice(0, path.lastIndexOf("/") + 1);
  }
  if (url.startsWith("node:")) {
    return "Node.js";
  }
  switch (functionName) {
    case "(garbage collector)":
      return "garbage collector";
    case "(program)":
      return "native, outside JavaScript (system calls, libuv, V8)";
    default:
      return "native functions called from JavaScript";
  }
}

function functionOf({ callFrame }: ProfileNode, root: string): string {
  const { functionName, url, lineNumber } = callFrame;
  const name = functionName === "" ? "(anonymous)" : functionName;
  if (url === "") {
    return name;
  }
  const path = url.startsWith(root) ? url.slice(root.length) : url;
  return `${name}  ${path.replace(/^.*node_modules\//, "")}:${lineNumber + 1}`;
}
