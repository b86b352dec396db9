import assert from "node:assert/strict";
import { test } from "node:test";
import { NodeId } from "../../cluster/types.ts";
import { FailureDetector, suspicionMax } from "../../server/failure-detector.ts";

const peer = NodeId("n2");
const options = { heartbeatMs: 100, samplesMax: 50, deviationMinMs: 25, acceptablePauseMs: 50 };

/** A detector that has heard the peer every `intervalMs`, `count` times, and the time of the last. */
function trained(intervalMs: number, count: number): { detector: FailureDetector; nowMs: number } {
  const detector = new FailureDetector(options);
  let nowMs = 1000;
  for (let i = 0; i < count; i += 1) {
    nowMs += intervalMs;
    detector.heard(peer, nowMs);
  }
  return { detector, nowMs };
}

test("a peer that was never heard is not suspected", () => {
  assert.equal(new FailureDetector(options).suspicion(peer, 1_000_000), 0);
});

test("a peer that speaks regularly is hardly suspected", () => {
  const { detector, nowMs } = trained(100, 100);
  assert.ok(detector.suspicion(peer, nowMs) < 0.01);
  assert.ok(detector.suspicion(peer, nowMs + 100) < 0.1);
});

test("suspicion grows with silence, without a jump back, up to its maximum", () => {
  const { detector, nowMs } = trained(100, 100);
  let previous = 0;
  for (let silenceMs = 0; silenceMs <= 10_000; silenceMs += 10) {
    const suspicion = detector.suspicion(peer, nowMs + silenceMs);
    assert.ok(suspicion >= previous, `suspicion fell at ${silenceMs} ms`);
    previous = suspicion;
  }
  assert.equal(previous, suspicionMax);
});

test("phi is the negative decimal logarithm of the normal tail", () => {
  // Mean 100, floor of the deviation 25, pause 50: a silence of 150 + 25 d milliseconds lies d deviations out.
  const { detector, nowMs } = trained(100, 100);
  const tails = [
    [0, 0.5],
    [1, 0.158655],
    [2, 0.02275],
    [3, 0.00135],
    [4, 0.0000316712],
  ] as const;
  for (const [deviations, tail] of tails) {
    const suspicion = detector.suspicion(peer, nowMs + 150 + 25 * deviations);
    const expected = -Math.log10(tail);
    assert.ok(Math.abs(suspicion / expected - 1) < 0.06, `${deviations}: ${suspicion}`);
  }
});

test("the same silence is more suspicious of a regular peer than of an irregular one", () => {
  const regular = trained(100, 100);
  const irregular = new FailureDetector(options);
  let nowMs = 0;
  for (let i = 0; i < 100; i += 1) {
    nowMs += i % 2 === 0 ? 100 : 500;
    irregular.heard(peer, nowMs);
  }
  const silenceMs = 600;
  assert.ok(
    regular.detector.suspicion(peer, regular.nowMs + silenceMs) >
      irregular.suspicion(peer, nowMs + silenceMs) + 1,
  );
});

test("a burst of frames does not make the next ordinary heartbeat look late", () => {
  const { detector, nowMs } = trained(1, 1000);
  assert.ok(detector.suspicion(peer, nowMs + options.heartbeatMs) < 0.1);
});

test("hearing the peer again ends the suspicion", () => {
  const { detector, nowMs } = trained(100, 100);
  assert.ok(detector.suspicion(peer, nowMs + 5000) > 8);
  detector.heard(peer, nowMs + 5000);
  assert.ok(detector.suspicion(peer, nowMs + 5000) < 0.5);
});

test("a silence that is forgiven neither counts nor widens what is expected", () => {
  const { detector, nowMs } = trained(100, 100);
  detector.forgive(peer, nowMs + 60_000);
  assert.ok(detector.suspicion(peer, nowMs + 60_100) < 0.1);
  detector.heard(peer, nowMs + 60_100);
  assert.ok(detector.suspicion(peer, nowMs + 61_100) > 8);
});

test("a forgotten peer begins anew", () => {
  const { detector, nowMs } = trained(100, 100);
  detector.forget(peer);
  assert.equal(detector.suspicion(peer, nowMs + 60_000), 0);
});

test("the window forgets: an old irregularity does not excuse a new silence", () => {
  const { detector, nowMs: startMs } = trained(900, 50);
  let nowMs = startMs;
  for (let i = 0; i < options.samplesMax; i += 1) {
    nowMs += 100;
    detector.heard(peer, nowMs);
  }
  assert.ok(detector.suspicion(peer, nowMs + 900) > 8);
});
