import assert from "node:assert/strict";
import { test } from "node:test";
import { type CpuProfile, summarize } from "../../scripts/bench/profile-summary.ts";

const root = "file:///repository/";

function node(id: number, functionName: string, url: string): CpuProfile["nodes"][number] {
  return { id, callFrame: { functionName, url, lineNumber: 9 } };
}

test("A profile's summary adds self time up by module and function, without idle time", () => {
  const profile: CpuProfile = {
    nodes: [
      node(1, "(idle)", ""),
      node(2, "step", `${root}cluster/raft/raft.ts`),
      node(3, "tick", `${root}cluster/raft/raft.ts`),
      node(4, "send", `${root}node_modules/@grpc/grpc-js/build/call.js`),
      node(5, "(garbage collector)", ""),
      node(6, "writev", ""),
      node(7, "emit", "node:events"),
    ],
    samples: [1, 2, 3, 2, 4, 5, 6, 7],
    timeDeltas: [2000, 3000, 1000, 1000, 2000, 1000, 1500, 500],
  };
  const { totalMs, idleMs, modules, functions } = summarize(profile, root);
  assert.equal(totalMs, 12);
  assert.equal(idleMs, 2);
  assert.deepEqual(
    modules.map(({ name, selfMs }) => [name, selfMs]),
    [
      ["cluster/raft/", 5],
      ["npm: @grpc/grpc-js", 2],
      ["native functions called from JavaScript", 1.5],
      ["garbage collector", 1],
      ["Node.js", 0.5],
    ],
  );
  assert.deepEqual(functions[0], {
    name: "step  cluster/raft/raft.ts:10",
    selfMs: 4,
    percent: 40,
  });
});
