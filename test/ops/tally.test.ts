import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics } from "../../server/metrics.ts";
import { HistogramTally, NumberTally } from "../../server/tally.ts";

test("a bucket holds what is up to its bound, and all buckets before it", () => {
  const tally = new HistogramTally(["op"], [1, 2, 4]);
  for (const value of [0, 1, 1.5, 2, 3.9, 4.1, 1000]) {
    tally.observe({ op: "put" }, value);
  }
  const shown = tally.samples().map(({ suffix, bound, value }) => [suffix, bound, value]);
  assert.deepEqual(shown, [
    ["_bucket", 1, 2],
    ["_bucket", 2, 4],
    ["_bucket", 4, 5],
    ["_bucket", "+Inf", 7],
    ["_sum", null, 1012.5],
    ["_count", null, 7],
  ]);
});

test("an observation that is no number is a bug of the caller", () => {
  const tally = new HistogramTally([], [1]);
  assert.throws(() => tally.observe({}, NaN), /an observation is a number/);
});

test("series are told apart by every label, in whatever order the labels are given", () => {
  const tally = new NumberTally(["a", "b"]);
  tally.inc({ a: "1", b: "2" }, 1);
  tally.inc({ b: "2", a: "1" }, 10);
  tally.inc({ a: "2", b: "1" }, 100);
  tally.inc({ a: "12", b: "" }, 1000);
  const shown = tally.samples().map(({ shared, value }) => [{ ...shared }, value]);
  assert.deepEqual(shown, [
    [{ a: "1", b: "2" }, 11],
    [{ a: "2", b: "1" }, 100],
    [{ a: "12", b: "" }, 1000],
  ]);
  tally.reset();
  assert.deepEqual(tally.samples(), []);
  tally.inc({ a: "1", b: "2" }, 1);
  assert.equal(tally.samples()[0]?.value, 1);
});

test("a scrape is in the text format, with label values escaped", async () => {
  const metrics = new Metrics();
  metrics.instruments.httpRejected.inc({ code: 'a "quoted" \\ one\n' }, 2);
  metrics.httpRequest("PUT", "/v1/kv/*", 200, 0.0005);
  const lines = (await metrics.render()).split("\n");
  const shown = (name: string): string[] => lines.filter((line) => line.startsWith(name));
  assert.deepEqual(shown("flotilla_http_rejected_total"), [
    'flotilla_http_rejected_total{code="a \\"quoted\\" \\\\ one\\n"} 2',
  ]);
  assert.deepEqual(shown("flotilla_http_request_duration_seconds_bucket").slice(0, 2), [
    'flotilla_http_request_duration_seconds_bucket{le="0.0005",method="PUT",route="/v1/kv/*"} 1',
    'flotilla_http_request_duration_seconds_bucket{le="0.001",method="PUT",route="/v1/kv/*"} 1',
  ]);
  assert.deepEqual(shown("flotilla_http_request_duration_seconds_count"), [
    'flotilla_http_request_duration_seconds_count{method="PUT",route="/v1/kv/*"} 1',
  ]);
  assert.deepEqual(shown("flotilla_wrong_shard_total"), ["flotilla_wrong_shard_total 0"]);
  assert.ok(lines.includes("# TYPE flotilla_http_request_duration_seconds histogram"));
});
