import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { dashboardFiles, dashboardFolder } from "../../scripts/dashboards/write.ts";
import { settingsTable } from "../../server/config.ts";
import { Metrics } from "../../server/metrics.ts";

const root = new URL("../../", import.meta.url);
const rulesFolder = new URL("deploy/prometheus/rules/", root);

function read(path: string): string {
  return readFileSync(new URL(path, root), "utf8");
}

/** Rule files as Prometheus reads them. */
interface RuleFile {
  groups: { rules: Rule[] }[];
}

interface Rule {
  record?: string;
  alert?: string;
  expr: string;
  annotations?: Record<string, string>;
  labels?: Record<string, string>;
}

const rules = ["recording.yml", "alerts.yml"].flatMap((file) =>
  (parse(read(`deploy/prometheus/rules/${file}`)) as RuleFile).groups.flatMap(
    (group) => group.rules,
  ),
);

/** Every name that a query may ask for: what /metrics exposes, what rules record, what Prometheus adds. */
async function knownNames(): Promise<ReadonlySet<string>> {
  const names = new Set(["up", "ALERTS"]);
  const metrics = new Metrics();
  metrics.observeProcess();
  for (const [, name = "", type] of (await metrics.render()).matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    names.add(name);
    for (const suffix of type === "histogram" ? ["_bucket", "_sum", "_count"] : []) {
      names.add(`${name}${suffix}`);
    }
  }
  for (const { record } of rules) {
    if (record !== undefined) {
      names.add(record);
    }
  }
  return names;
}

/** Metric names in a PromQL expression: words that are no function, no keyword and no label. */
function metricNames(expr: string): string[] {
  const bare = expr
    .replaceAll(/\{[^}]*\}/g, " ")
    .replaceAll(/\b(by|without|on|ignoring)\s*\([^)]*\)/g, " ")
    .replaceAll(/\[[^\]]*\]/g, " ");
  return [...bare.matchAll(/[a-zA-Z_:][a-zA-Z0-9_:]*(?!\s*\(|[a-zA-Z0-9_:])/g)]
    .map(([name]) => name)
    .filter((name) => !["and", "or", "unless", "bool", "by", "without"].includes(name))
    .filter((name) => !/^e?\d*$/.test(name));
}

/** All queries of a dashboard, the ones of its variables included. */
function dashboardQueries(name: string): string[] {
  const text = readFileSync(new URL(name, dashboardFolder), "utf8");
  const exprs = [...text.matchAll(/"expr": ("(?:[^"\\]|\\.)*")/g)].map(([, json]) => json ?? "");
  const labels = [...text.matchAll(/"query": "label_values\((\w+), \w+\)"/g)].map(
    ([, n]) => n ?? "",
  );
  return [...exprs.map((json) => JSON.parse(json) as string), ...labels];
}

test("every metric that a dashboard asks for exists", async () => {
  const known = await knownNames();
  for (const file of readdirSync(dashboardFolder)) {
    const queries = dashboardQueries(file);
    assert.ok(queries.length > 10, `${file} asks little`);
    for (const name of queries.flatMap(metricNames)) {
      assert.ok(known.has(name), `${file}: ${name}`);
    }
  }
});

test("every metric that a rule asks for exists", async () => {
  const known = await knownNames();
  for (const rule of rules) {
    const names = metricNames(rule.expr);
    assert.ok(names.length > 0, rule.expr);
    for (const name of names) {
      assert.ok(known.has(name), `${rule.alert ?? rule.record}: ${name}`);
    }
  }
});

test("a metric that does not exist would be found", async () => {
  const names = metricNames(
    'sum by (job) (rate(flotilla_no_such_thing_total{job="x"}[5m])) > 2e3 or vector(0)',
  );
  assert.deepEqual(names, ["flotilla_no_such_thing_total"]);
  assert.ok(!(await knownNames()).has("flotilla_no_such_thing_total"));
});

test("the dashboards are what the generator writes", () => {
  assert.deepEqual(
    new Map(
      readdirSync(dashboardFolder).map((file) => [
        file,
        readFileSync(new URL(file, dashboardFolder), "utf8"),
      ]),
    ),
    dashboardFiles(),
    "run: node scripts/dashboards/write.ts",
  );
});

test("every alert says what is wrong and where to read on, and has a unit test in which it fires", () => {
  const readme = read("deploy/README.md");
  const tests = read("deploy/prometheus/rules/alerts_test.yml");
  for (const { alert, annotations, labels } of rules.filter((rule) => rule.alert !== undefined)) {
    assert.match(labels?.["severity"] ?? "", /^(warning|critical)$/, alert);
    assert.ok((annotations?.["summary"] ?? "").length > 0, alert);
    assert.ok((annotations?.["description"] ?? "").length > 0, alert);
    assert.equal(annotations?.["runbook"], `deploy/README.md#${alert?.toLowerCase()}`);
    assert.ok(readme.includes(`### ${alert}\n`), `deploy/README.md has no section ${alert}`);
    const fires = new RegExp(
      `alertname[=:]\\s*"?${alert}"?[\\s\\S]{0,120}(exp_alerts:\\s*\\n|value: 1)`,
    );
    assert.match(tests, fires, `${alert} has no unit test`);
  }
});

test("promtool accepts the rules and their unit tests", (context) => {
  if (spawnSync("promtool", ["--version"]).status !== 0) {
    context.skip("promtool is not installed: Debian's package prometheus has it");
    return;
  }
  for (const args of [
    ["check", "rules", "recording.yml", "alerts.yml"],
    ["test", "rules", "alerts_test.yml"],
  ]) {
    const result = spawnSync("promtool", args, {
      cwd: fileURLToPath(rulesFolder),
      encoding: "utf8",
    });
    assert.equal(result.status, 0, `${result.stdout}${result.stderr}`);
  }
});

test("every variable that the images, compose and Kubernetes set is a setting", () => {
  const settings = settingsTable();
  const files = [
    "Dockerfile",
    "docker-compose.yml",
    "deploy/five-nodes.env",
    "deploy/kubernetes/flotilla.yml",
  ];
  // Read by the compose file itself, not by a node.
  const ofCompose = /^FLOTILLA_(IMAGE|NODES|HTTP_PORT_)$/;
  for (const file of files) {
    for (const [name] of read(file).matchAll(/FLOTILLA_[A-Z_]+/g)) {
      assert.ok(
        ofCompose.test(name) || settings.includes(`\`${name}\``),
        `${file} sets ${name}, which is no setting`,
      );
    }
  }
});

interface ComposeFile {
  services: Record<string, ComposeService>;
  networks: Record<string, unknown>;
  volumes: Record<string, unknown>;
}

interface ComposeService {
  profiles?: string[];
  depends_on?: unknown;
  hostname?: string;
  environment?: Record<string, string>;
  ports: string[];
  volumes: string[];
  healthcheck?: { test: string[] };
  read_only: boolean;
  cap_drop: string[];
  security_opt: string[];
  init?: boolean;
  stop_grace_period?: string;
  restart: string;
}

const compose = parse(read("docker-compose.yml"), { merge: true }) as ComposeFile;
const nodes = Object.entries(compose.services).filter(([name]) => /^n\d$/.test(name));

test("compose starts three nodes by default and five with the profile", () => {
  const named = nodes.map(([name, { profiles }]) => `${name}${profiles?.join() ?? ""}`);
  assert.deepEqual(named, ["n1", "n2", "n3", "n4five", "n5five"]);
  for (const [name, node] of nodes) {
    const { environment = {}, hostname, ports, volumes } = node;
    assert.equal(hostname, name);
    assert.equal(environment["FLOTILLA_NODE_ID"], name);
    const number = name.slice(1);
    assert.deepEqual(ports, [`127.0.0.1:\${FLOTILLA_HTTP_PORT_${number}:-808${number}}:8080`]);
    assert.deepEqual(volumes, [`${name}:/var/lib/flotilla`]);
    assert.ok(name in compose.volumes);
    assert.match(node.healthcheck?.test.join(" ") ?? "", /healthcheck\.js$/);
    assert.equal(node.init, true);
    assert.ok(node.stop_grace_period !== undefined);
  }
  const five = read("deploy/five-nodes.env");
  for (const [name] of nodes) {
    assert.ok(five.includes(`${name}=${name}.peers:7080`), `${name} is no founder`);
  }
});

test("no service of compose waits for another, runs with rights it does not need, or listens to the world", () => {
  for (const [name, service] of Object.entries(compose.services)) {
    assert.equal(service.depends_on, undefined, name);
    assert.deepEqual(service.cap_drop, ["ALL"], name);
    assert.deepEqual(service.security_opt, ["no-new-privileges:true"], name);
    assert.equal(service.read_only, true, name);
    assert.ok(
      service.ports.every((port) => port.startsWith("127.0.0.1:")),
      name,
    );
    for (const volume of service.volumes.filter((each) => each.startsWith("./"))) {
      const source = volume.split(":")[0]?.replace("${FLOTILLA_NODES", "three") ?? "";
      assert.ok(source.startsWith("./deploy/"), source);
    }
  }
});

test("Prometheus scrapes the nodes of either size of cluster", () => {
  for (const [size, count] of [
    ["three", 3],
    ["five", 5],
  ] as const) {
    const [group] = parse(read(`deploy/prometheus/targets-${size}.yml`)) as { targets: string[] }[];
    const expected = nodes.slice(0, count).map(([name]) => `${name}:8080`);
    assert.deepEqual(group?.targets, expected);
  }
});

test("no file for operators holds a secret", () => {
  const files = [
    "docker-compose.yml",
    "Dockerfile",
    "deploy/kubernetes/flotilla.yml",
    "deploy/five-nodes.env",
  ];
  for (const file of files) {
    assert.doesNotMatch(
      read(file),
      /(password|passwd|secret|(?<!Account)token|api[_-]?key)"?\s*[:=]/i,
      file,
    );
  }
});
