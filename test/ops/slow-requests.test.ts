import assert from "node:assert/strict";
import { test } from "node:test";
import { SlowRequests, type SlowRequest } from "../../server/slow-requests.ts";

function described(requestId: string): () => Omit<SlowRequest, "durationMs"> {
  return () => ({
    at: "2026-01-01T00:00:00.000Z",
    requestId,
    traceId: null,
    method: "PUT",
    route: "/v1/kv/*",
    code: 200,
    stages: { route: 1, raft: 80, sync: 60, apply: 2 },
  });
}

test("a request is kept from the threshold on", () => {
  const slow = new SlowRequests(100, 10);
  slow.note(99.9, () => assert.fail("a fast request is not described"));
  slow.note(100, described("at"));
  slow.note(250, described("above"));
  assert.deepEqual(
    slow.list().map(({ requestId, durationMs }) => [requestId, durationMs]),
    [
      ["above", 250],
      ["at", 100],
    ],
  );
});

test("only the last ones are kept, newest first", () => {
  const slow = new SlowRequests(0, 3);
  for (const id of ["a", "b", "c", "d", "e"]) {
    slow.note(1, described(id));
  }
  assert.deepEqual(
    slow.list().map(({ requestId }) => requestId),
    ["e", "d", "c"],
  );
});

test("a threshold or capacity that makes no sense is refused", () => {
  assert.throws(() => new SlowRequests(-1, 3));
  assert.throws(() => new SlowRequests(0, 0));
});
