import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { StatefulSet } from "kubernetes-models/apps/v1/StatefulSet";
import { PodDisruptionBudget } from "kubernetes-models/policy/v1/PodDisruptionBudget";
import { Service } from "kubernetes-models/v1/Service";
import ts from "typescript";
import { parseAllDocuments } from "yaml";

const path = new URL("../../deploy/kubernetes/flotilla.yml", import.meta.url);

/** What every manifest has; the rest is Kubernetes' to judge. */
interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string };
}

const manifests = parseAllDocuments(readFileSync(path, "utf8")).map((document) => {
  assert.deepEqual(document.errors, []);
  return document.toJS() as Manifest;
});

const models = {
  Service: { Model: Service, module: "kubernetes-models/v1/Service" },
  StatefulSet: { Model: StatefulSet, module: "kubernetes-models/apps/v1/StatefulSet" },
  PodDisruptionBudget: {
    Model: PodDisruptionBudget,
    module: "kubernetes-models/policy/v1/PodDisruptionBudget",
  },
};

function modelOf(kind: string): (typeof models)[keyof typeof models] {
  const model = Object.entries(models).find(([name]) => name === kind)?.[1];
  assert.ok(model !== undefined, `no schema for ${kind}`);
  return model;
}

/** Complaints of the compiler about an object literal of this type: the schemas let unknown fields pass, types do not. */
function unknownFields(kind: string, manifest: unknown): string[] {
  const fileName = fileURLToPath(new URL(`./manifest-${kind}.ts`, import.meta.url));
  const source = `import type { I${kind} } from "${modelOf(kind).module}";
export const manifest: I${kind} = ${JSON.stringify(manifest, null, 2)};`;
  const options: ts.CompilerOptions = {
    module: ts.ModuleKind.NodeNext,
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (name) => name === fileName || fileExists.call(host, name);
  host.readFile = (name) => (name === fileName ? source : readFile.call(host, name));
  host.getSourceFile = (name, target, ...rest) =>
    name === fileName
      ? ts.createSourceFile(name, source, target)
      : getSourceFile.call(host, name, target, ...rest);
  return ts
    .getPreEmitDiagnostics(ts.createProgram([fileName], options, host))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, " "));
}

function manifest(kind: string, name: string): Manifest {
  const found = manifests.find((each) => each.kind === kind && each.metadata.name === name);
  assert.ok(found !== undefined, `${kind} ${name}`);
  return found;
}

test("every manifest fits Kubernetes' schema of its kind", () => {
  for (const each of manifests) {
    const { Model } = modelOf(each.kind);
    // The constructors take exactly the typed form; what comes from YAML is only known after validation.
    const instance = new (Model as new (data: unknown) => { validate(): void })(each);
    instance.validate();
  }
});

test("no manifest has a field that Kubernetes does not know", () => {
  for (const each of manifests) {
    assert.deepEqual(unknownFields(each.kind, each), [], `${each.kind} ${each.metadata.name}`);
  }
});

test("a misspelt field would be found", () => {
  const set = manifest("StatefulSet", "flotilla") as Manifest & { spec: object };
  const misspelt = { ...set, spec: { ...set.spec, podManagementPolicies: "Parallel" } };
  assert.match(unknownFields("StatefulSet", misspelt).join(), /podManagementPolicies/);
});

test("nodes can find each other before they are ready, and start together", () => {
  const peers = manifest("Service", "flotilla-peers") as Manifest & {
    spec: { clusterIP: string; publishNotReadyAddresses: boolean };
  };
  assert.equal(peers.spec.clusterIP, "None");
  assert.equal(peers.spec.publishNotReadyAddresses, true);
  const set = manifest("StatefulSet", "flotilla") as Manifest & {
    spec: { serviceName: string; podManagementPolicy: string; replicas: number };
  };
  assert.equal(set.spec.serviceName, "flotilla-peers");
  assert.equal(set.spec.podManagementPolicy, "Parallel");
});

test("every replica of the set is a founder under the name that its pod will have", () => {
  const set = manifest("StatefulSet", "flotilla") as Manifest & {
    spec: {
      replicas: number;
      template: { spec: { containers: { env: { name: string; value?: string }[] }[] } };
    };
  };
  const env = set.spec.template.spec.containers[0]?.env ?? [];
  const founders = Array.from(
    { length: set.spec.replicas },
    (_, at) => `flotilla-${at}=flotilla-${at}.flotilla-peers:7080`,
  );
  assert.equal(
    env.find(({ name }) => name === "FLOTILLA_INITIAL_CLUSTER")?.value,
    founders.join(","),
  );
});

test("the disruption budget leaves a majority", () => {
  const budget = manifest("PodDisruptionBudget", "flotilla") as Manifest & {
    spec: { maxUnavailable: number };
  };
  assert.equal(budget.spec.maxUnavailable, 1);
});
