import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { startTracing, type Tracing } from "../../server/tracing-start.ts";
import { OtlpReceiver } from "./support/otlp-receiver.ts";

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/** Tracing of a node n1 with these variables of the environment, and what became of its spans. */
async function tracingWith(
  variables: Record<string, string>,
): Promise<{ tracing: Tracing | null; fates: [string, number][] }> {
  Object.assign(process.env, variables);
  const fates: [string, number][] = [];
  const tracing = await startTracing({
    nodeId: "n1",
    version: "1.2.3",
    onResult: (fate, spans) => fates.push([fate, spans]),
  });
  return { tracing, fates };
}

afterEach(() => {
  for (const name of Object.keys(process.env)) {
    if (name.startsWith("OTEL_")) {
      delete process.env[name];
    }
  }
});

test("without an endpoint there is no tracing", async () => {
  assert.equal((await tracingWith({})).tracing, null);
  assert.equal((await tracingWith({ OTEL_EXPORTER_OTLP_ENDPOINT: "" })).tracing, null);
});

test("spans arrive at the collector as they were", async () => {
  const receiver = new OtlpReceiver();
  const before = BigInt(Date.now()) * 1_000_000n;
  const { tracing, fates } = await tracingWith({
    OTEL_EXPORTER_OTLP_ENDPOINT: await receiver.start(),
    OTEL_EXPORTER_OTLP_HEADERS: "x-team=a%20b",
  });
  assert.ok(tracing !== null);
  try {
    const request = tracing.tracer.beginRequest("PUT /v1/kv/*", traceparent);
    assert.ok(request !== null);
    const apply = tracing.tracer.begin("raft.apply", "internal", request.traceparent);
    apply?.set({ shard: 3, late: false, ratio: 0.5 });
    apply?.end();
    request.end("timed out");
  } finally {
    await tracing.stop();
    await receiver.stop();
  }
  const [apply, request] = receiver.spans;
  assert.ok(apply !== undefined && request !== undefined);
  assert.equal(apply.name, "raft.apply");
  assert.equal(apply.kind, 1);
  assert.equal(apply.statusCode, 0);
  assert.equal(apply.parentSpanId, request.spanId);
  assert.deepEqual(
    [...apply.attributes],
    [
      ["shard", "3"],
      ["late", "false"],
      ["ratio", "0.5"],
    ],
  );
  assert.equal(request.kind, 2);
  assert.equal(request.statusCode, 2);
  assert.equal(request.traceId, "0af7651916cd43dd8448eb211c80319c");
  assert.equal(request.parentSpanId, "b7ad6b7169203331");
  assert.equal(request.service, "flotilla");
  assert.equal(request.instance, "n1");
  assert.equal(receiver.headers[0]?.["x-team"], "a b");
  assert.deepEqual(fates, [["exported", 2]]);
  const after = BigInt(Date.now() + 1) * 1_000_000n;
  for (const { startTimeUnixNano, endTimeUnixNano } of receiver.spans) {
    assert.ok(startTimeUnixNano >= before && endTimeUnixNano >= startTimeUnixNano);
    assert.ok(endTimeUnixNano <= after);
  }
});

test("the standard variables name the service", async () => {
  const receiver = new OtlpReceiver();
  const { tracing } = await tracingWith({
    OTEL_EXPORTER_OTLP_ENDPOINT: await receiver.start(),
    OTEL_SERVICE_NAME: "orders",
    OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
  });
  try {
    tracing?.tracer.beginRequest("GET", traceparent)?.end();
    await tracing?.stop();
  } finally {
    await receiver.stop();
  }
  assert.equal(receiver.spans[0]?.service, "orders");
});

test("a collector that refuses costs the spans and nothing else", async () => {
  const receiver = new OtlpReceiver();
  const { tracing, fates } = await tracingWith({
    OTEL_EXPORTER_OTLP_ENDPOINT: await receiver.start(),
  });
  receiver.statusCode = 400;
  try {
    tracing?.tracer.beginRequest("GET", traceparent)?.end();
    await tracing?.stop();
  } finally {
    await receiver.stop();
  }
  assert.deepEqual(fates, [["failed", 1]]);
});

test("requests without a traceparent are traced unless the sampler's argument says less", async () => {
  const receiver = new OtlpReceiver();
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: await receiver.start() };
  try {
    const all = await tracingWith(endpoint);
    assert.notEqual(all.tracing?.tracer.beginRequest("GET", ""), null);
    await all.tracing?.stop();
    const none = await tracingWith({ ...endpoint, OTEL_TRACES_SAMPLER_ARG: "0" });
    assert.equal(none.tracing?.tracer.beginRequest("GET", ""), null);
    await none.tracing?.stop();
    const nonsense = tracingWith({ ...endpoint, OTEL_TRACES_SAMPLER_ARG: "2" });
    await assert.rejects(nonsense, /OTEL_TRACES_SAMPLER_ARG/);
  } finally {
    await receiver.stop();
  }
});
