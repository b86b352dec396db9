import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatTraceparent, parseTraceparent, randomId } from "../../server/trace-context.ts";
import { Tracer, type FinishedSpan } from "../../server/tracing.ts";

const traceId = "0af7651916cd43dd8448eb211c80319c";
const spanId = "b7ad6b7169203331";
const sampled = `00-${traceId}-${spanId}-01`;
const unsampled = `00-${traceId}-${spanId}-00`;
const seed = Number(process.env["SEED"] ?? Date.now() % 2 ** 31);

/** A tracer whose clock moves by 1 ms at each look. */
function tracerThatCollects(sampleRatio: number): { tracer: Tracer; spans: FinishedSpan[] } {
  const spans: FinishedSpan[] = [];
  let nowMs = 0;
  const tracer = new Tracer({
    export: (span) => spans.push(span),
    sampleRatio,
    random: Math.random,
    now: () => (nowMs += 1),
  });
  return { tracer, spans };
}

test("the standard's own example is read", () => {
  assert.deepEqual(parseTraceparent(sampled), { traceId, spanId, isSampled: true });
  assert.deepEqual(parseTraceparent(unsampled), { traceId, spanId, isSampled: false });
});

test("only the sampled flag counts among the flags", () => {
  assert.equal(parseTraceparent(`00-${traceId}-${spanId}-03`)?.isSampled, true);
  assert.equal(parseTraceparent(`00-${traceId}-${spanId}-02`)?.isSampled, false);
});

test("a future version may carry more, version 00 may not", () => {
  assert.notEqual(parseTraceparent(`cc-${traceId}-${spanId}-01-what-comes`), null);
  assert.notEqual(parseTraceparent(`cc-${traceId}-${spanId}-01`), null);
  assert.equal(parseTraceparent(`cc-${traceId}-${spanId}-01.what`), null);
  assert.equal(parseTraceparent(`00-${traceId}-${spanId}-01-more`), null);
});

test("what is no traceparent is read as none", () => {
  const malformed = [
    "",
    "00",
    `ff-${traceId}-${spanId}-01`,
    `00-${"0".repeat(32)}-${spanId}-01`,
    `00-${traceId}-${"0".repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${traceId}-${spanId}-1`,
    `00-${traceId}-${spanId}-0g`,
    ` ${sampled}`,
    `${sampled}\r\nx: y`,
  ];
  for (const header of malformed) {
    assert.equal(parseTraceparent(header), null, JSON.stringify(header));
  }
});

test(`any context survives being written and read (SEED=${seed})`, () => {
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
      (isSampled, chance) => {
        const random = (): number => chance.next().value ?? 0;
        const context = { traceId: randomId(32, random), spanId: randomId(16, random), isSampled };
        assert.deepEqual(parseTraceparent(formatTraceparent(context)), context);
      },
    ),
    { seed },
  );
});

test("an id is never all zeros", () => {
  assert.equal(
    randomId(16, () => 0),
    "0000000000000001",
  );
});

test("a request with a sampled traceparent continues its trace under the caller's span", () => {
  const { tracer, spans } = tracerThatCollects(0);
  const span = tracer.beginRequest("PUT /v1/kv/*", sampled);
  assert.ok(span !== null);
  const child = tracer.begin("raft.propose", "internal", span.traceparent);
  assert.ok(child !== null);
  child.set({ shard: 3 });
  child.end();
  span.end();
  const [inner, outer] = spans;
  assert.ok(inner !== undefined && outer !== undefined);
  assert.equal(outer.traceId, traceId);
  assert.equal(outer.parentSpanId, spanId);
  assert.equal(outer.kind, "server");
  assert.equal(inner.traceId, traceId);
  assert.equal(inner.parentSpanId, outer.spanId);
  assert.deepEqual(inner.attributes, { shard: 3 });
  assert.ok(outer.startMs < inner.startMs);
  assert.ok(inner.endMs < outer.endMs);
});

test("a caller that does not sample makes nobody sample", () => {
  const { tracer } = tracerThatCollects(1);
  assert.equal(tracer.beginRequest("GET", unsampled), null);
  assert.equal(tracer.begin("raft.apply", "internal", unsampled), null);
  assert.equal(tracer.begin("raft.apply", "internal", ""), null);
});

test("requests without a traceparent are sampled by the ratio", () => {
  assert.equal(tracerThatCollects(0).tracer.beginRequest("GET", ""), null);
  const { tracer, spans } = tracerThatCollects(1);
  tracer.beginRequest("GET", "nonsense")?.end();
  assert.equal(spans[0]?.parentSpanId, null);
});

test("a span ends once, and its first end counts", () => {
  const { tracer, spans } = tracerThatCollects(1);
  const span = tracer.beginRequest("GET", "");
  span?.end("timed out");
  span?.end();
  assert.equal(spans.length, 1);
  assert.equal(spans[0]?.error, "timed out");
});
