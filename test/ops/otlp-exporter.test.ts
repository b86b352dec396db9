import assert from "node:assert/strict";
import { test } from "node:test";
import { OtlpExporter, readOtlpTarget, type OtlpTarget } from "../../server/otlp-exporter.ts";
import type { FinishedSpan } from "../../server/tracing.ts";
import { OtlpReceiver } from "./support/otlp-receiver.ts";

const span: FinishedSpan = {
  name: "raft.apply",
  kind: "internal",
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203331",
  parentSpanId: "00f067aa0ba902b7",
  startMs: 1_795_000_000_000.25,
  endMs: 1_795_000_000_001.5,
  attributes: { shard: 3, late: false, ratio: 0.5, node: "n1" },
  error: null,
};

type Results = [result: string, count: number][];

/** An exporter that only sends when told to. */
function exporterTo(target: OtlpTarget): { exporter: OtlpExporter; results: Results } {
  const results: Results = [];
  const exporter = new OtlpExporter({
    ...target,
    intervalMs: 1_000_000,
    queueMax: 3,
    batchMax: 2,
    onResult: (result, count) => results.push([result, count]),
  });
  return { exporter, results };
}

function targetAt(endpoint: string): OtlpTarget {
  const target = readOtlpTarget({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, "n1");
  assert.ok(target !== null);
  return target;
}

test("spans arrive at the collector as they were", async () => {
  const receiver = new OtlpReceiver();
  const { exporter, results } = exporterTo(targetAt(await receiver.start()));
  try {
    exporter.export(span);
    exporter.export({ ...span, kind: "server", parentSpanId: null, error: "timed out" });
    await exporter.flush();
    const [plain, failed] = receiver.spans;
    assert.deepEqual(plain, {
      service: "flotilla",
      instance: "n1",
      traceId: span.traceId,
      spanId: span.spanId,
      parentSpanId: span.parentSpanId,
      name: "raft.apply",
      kind: 1,
      startTimeUnixNano: 1_795_000_000_000_250_000n,
      endTimeUnixNano: 1_795_000_000_001_500_000n,
      attributes: new Map([
        ["shard", "3"],
        ["late", "false"],
        ["ratio", "0.5"],
        ["node", "n1"],
      ]),
      statusCode: 0,
    });
    assert.equal(failed?.kind, 2);
    assert.equal(failed?.parentSpanId, null);
    assert.equal(failed?.statusCode, 2);
    assert.deepEqual(results, [["exported", 2]]);
  } finally {
    await exporter.stop();
    await receiver.stop();
  }
});

test("a full queue drops the newest spans and says so", async () => {
  const receiver = new OtlpReceiver();
  const { exporter, results } = exporterTo(targetAt(await receiver.start()));
  try {
    for (let i = 0; i < 5; i += 1) {
      exporter.export({ ...span, name: `span-${i}` });
    }
    await exporter.stop();
    assert.deepEqual(
      receiver.spans.map(({ name }) => name),
      ["span-0", "span-1", "span-2"],
    );
    assert.deepEqual(results, [
      ["dropped", 1],
      ["dropped", 1],
      ["exported", 2],
      ["exported", 1],
    ]);
  } finally {
    await receiver.stop();
  }
});

test("a collector that refuses, or is not there, costs the spans and nothing else", async () => {
  const receiver = new OtlpReceiver();
  const target = targetAt(await receiver.start());
  const { exporter, results } = exporterTo(target);
  receiver.statusCode = 503;
  exporter.export(span);
  await exporter.flush();
  await receiver.stop();
  exporter.export(span);
  await exporter.flush();
  assert.deepEqual(results, [
    ["failed", 1],
    ["failed", 1],
  ]);
  await exporter.stop();
});

test("flushes that overlap send every span once", async () => {
  const receiver = new OtlpReceiver();
  const { exporter } = exporterTo(targetAt(await receiver.start()));
  try {
    const flushes: Promise<void>[] = [];
    for (let i = 0; i < 3; i += 1) {
      exporter.export({ ...span, name: `span-${i}` });
      flushes.push(exporter.flush());
    }
    await Promise.all(flushes);
    assert.deepEqual(receiver.spans.map(({ name }) => name).toSorted(), [
      "span-0",
      "span-1",
      "span-2",
    ]);
  } finally {
    await exporter.stop();
    await receiver.stop();
  }
});

test("headers go along with every batch", async () => {
  const receiver = new OtlpReceiver();
  const endpoint = await receiver.start();
  const target = readOtlpTarget(
    { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_EXPORTER_OTLP_HEADERS: "x-team=a%20b, x-two=2" },
    "n1",
  );
  assert.ok(target !== null);
  const { exporter } = exporterTo(target);
  try {
    exporter.export(span);
    await exporter.flush();
    assert.equal(receiver.headers[0]?.["x-team"], "a b");
    assert.equal(receiver.headers[0]?.["x-two"], "2");
    assert.equal(receiver.headers[0]?.["content-type"], "application/json");
  } finally {
    await exporter.stop();
    await receiver.stop();
  }
});

test("the standard variables say where spans go", () => {
  assert.equal(readOtlpTarget({}, "n1"), null);
  assert.equal(readOtlpTarget({ OTEL_EXPORTER_OTLP_ENDPOINT: "" }, "n1"), null);
  assert.equal(targetAt("http://collector:4318/").url, "http://collector:4318/v1/traces");
  const own = readOtlpTarget({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://c/own" }, "n1");
  assert.equal(own?.url, "http://c/own");
  const named = readOtlpTarget(
    {
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318",
      OTEL_SERVICE_NAME: "orders",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
    },
    "n1",
  );
  assert.deepEqual(named?.resource, {
    "service.name": "orders",
    "service.instance.id": "n1",
    "deployment.environment.name": "test",
  });
});

test("variables that make no sense are refused at the start", () => {
  assert.throws(
    () => readOtlpTarget({ OTEL_EXPORTER_OTLP_ENDPOINT: "collector" }, "n1"),
    /not a URL/,
  );
  assert.throws(
    () =>
      readOtlpTarget(
        { OTEL_EXPORTER_OTLP_ENDPOINT: "http://c", OTEL_EXPORTER_OTLP_TIMEOUT: "soon" },
        "n1",
      ),
    /OTEL_EXPORTER_OTLP_TIMEOUT/,
  );
});
