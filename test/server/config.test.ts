import assert from "node:assert/strict";
import { test } from "node:test";
import { NodeId } from "../../cluster/types.ts";
import { readConfig, type Config } from "../../server/config.ts";

function configOf(argv: readonly string[], env: Record<string, string> = {}): Config {
  const reading = readConfig(argv, env, "1.2.3");
  assert.equal(reading.type, "config");
  return reading.config;
}

function errorsOf(argv: readonly string[], env: Record<string, string> = {}): readonly string[] {
  const reading = readConfig(argv, env, "1.2.3");
  assert.equal(reading.type, "errors");
  return reading.lines;
}

function printOf(argv: readonly string[], env: Record<string, string> = {}): string {
  const reading = readConfig(argv, env, "1.2.3");
  assert.equal(reading.type, "print");
  return reading.text;
}

test("a node without flags is a store of its own on this machine", () => {
  const config = configOf([]);
  assert.equal(config.nodeId, NodeId("n1"));
  assert.equal(config.data, ".data/n1");
  assert.equal(config.httpHost, "127.0.0.1");
  assert.equal(config.initialCluster.size, 0);
  assert.equal(config.httpAdvertise, null);
  assert.equal(config.valueBytesMax, 1024 * 1024);
});

test("flags win over variables, variables over defaults", () => {
  const env = { FLOTILLA_HTTP_PORT: "9001", FLOTILLA_PEER_PORT: "9002" };
  const config = configOf(["--http-port=9003"], env);
  assert.equal(config.httpPort, 9003);
  assert.equal(config.peerPort, 9002);
  assert.equal(config.tickMs, 50);
});

test("an empty variable counts as not set", () => {
  assert.equal(configOf([], { FLOTILLA_HTTP_PORT: "" }).httpPort, 8080);
});

test("a flag takes its value after = or as the next argument", () => {
  assert.equal(configOf(["--shards", "16"]).shards, 16);
  assert.equal(configOf(["--shards=16"]).shards, 16);
  assert.equal(configOf(["--log-requests"]).logRequests, true);
  assert.equal(configOf(["--log-requests=false"]).logRequests, false);
});

test("sizes may have units", () => {
  assert.equal(configOf(["--value-bytes-max=64KiB"]).valueBytesMax, 65_536);
  assert.equal(configOf(["--value-bytes-max=4096"]).valueBytesMax, 4096);
  assert.match(errorsOf(["--value-bytes-max=64KB"])[0] ?? "", /--value-bytes-max .*64KiB/);
});

test("the initial cluster is a list of ids and peer addresses", () => {
  const config = configOf(["--node-id=b", "--initial-cluster=a=h1:7081,b=[::1]:7082"]);
  assert.deepEqual(
    [...config.initialCluster],
    [
      ["a", "h1:7081"],
      ["b", "[::1]:7082"],
    ],
  );
  for (const bad of ["a", "a=", "a=h1", "a=h1:0", "a=h1:70000", "a=h1:1,a=h2:1", "a b=h:1"]) {
    assert.match(errorsOf([`--initial-cluster=${bad}`])[0] ?? "", /--initial-cluster/);
  }
});

test("the initial cluster must name this node", () => {
  assert.deepEqual(errorsOf(["--initial-cluster=a=h1:7081"]), [
    "--initial-cluster does not name this node, --node-id=n1",
  ]);
});

test("all errors are reported at once, each with flag, variable, value and what is allowed", () => {
  const lines = errorsOf(["--http-port=x", "--sards=4", "stray", "--tick-ms"], {
    FLOTILLA_ELECTION_TICKS: "0",
  });
  assert.equal(lines.length, 5);
  const text = lines.join("\n");
  assert.match(text, /--http-port \(FLOTILLA_HTTP_PORT\) is "x"; it must be a whole number from 0/);
  assert.match(text, /--sards is not a flag of this program; did you mean --shards\?/);
  assert.match(text, /"stray" is not a flag/);
  assert.match(text, /--tick-ms has no value/);
  assert.match(text, /FLOTILLA_ELECTION_TICKS \(--election-ticks\) is "0"/);
});

test("bounds are inclusive", () => {
  assert.equal(configOf(["--http-port=65535"]).httpPort, 65_535);
  assert.equal(errorsOf(["--http-port=65536"]).length, 1);
  assert.equal(configOf(["--http-port=0"]).httpPort, 0);
  assert.equal(errorsOf(["--http-port=-1"]).length, 1);
});

test("settings that contradict each other are refused", () => {
  assert.match(errorsOf(["--election-ticks=4", "--heartbeat-ticks=2"])[0] ?? "", /more than twice/);
});

test("a flag that is given twice is an error, not a riddle", () => {
  assert.match(errorsOf(["--shards=1", "--shards=2"])[0] ?? "", /given twice/);
});

test("help names every flag, print-config every value and its source", () => {
  assert.match(printOf(["--help"]), /--initial-cluster .*\n/);
  const shown = printOf(["--print-config", "--shards=9"], { FLOTILLA_TICK_MS: "20" });
  assert.match(shown, /^shards = 9 {2}# flag$/m);
  assert.match(shown, /^tick-ms = 20 {2}# environment$/m);
  assert.match(shown, /^zone = default {2}# default$/m);
  assert.equal(printOf(["--version"]), "1.2.3");
});
