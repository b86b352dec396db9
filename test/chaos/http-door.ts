import type { KvCondition, KvOutput, KvRecord } from "../checkers/kv-model.ts";
import { type Answer, type Client, pathOf, type Request } from "../e2e/client.ts";
import type { Door, HeldLock, KvWrite, Pair } from "../workload/door.ts";

/** What a node said instead of doing what it was asked. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: number;
  readonly code: string;
  /** Certainly nothing was done. */
  readonly isHarmless: boolean;

  constructor(status: number, code: string, isHarmless: boolean, text: string) {
    super(`${status} ${text}`);
    this.status = status;
    this.code = code;
    this.isHarmless = isHarmless;
  }
}

interface Metadata {
  readonly revision: string;
  readonly version: number;
}
interface Problem {
  readonly code: string;
  readonly applied: "no" | "unknown";
  readonly current?: Metadata | null;
}
interface JsonRecord extends Metadata {
  readonly value: string;
}
interface JsonTransaction {
  readonly succeeded: boolean;
  readonly revision: string;
  readonly results: readonly {
    readonly created?: boolean;
    readonly version?: number;
    readonly record?: JsonRecord | null;
  }[];
}

/** How long somebody waits in the queue of a lock. */
const lockWaitMs = 300;

/** One request to one node of a real cluster. */
export class HttpDoor implements Door {
  readonly #client: Client;
  readonly #node: number;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal;

  /** @param timeoutMs what the node is told; `signal` gives up on a node that does not answer even then */
  constructor(client: Client, node: number, timeoutMs: number, signal: AbortSignal) {
    this.#client = client;
    this.#node = node;
    this.#timeoutMs = timeoutMs;
    this.#signal = signal;
  }

  async read(key: string, consistency: "linearizable" | "lease"): Promise<KvRecord | null> {
    const answer = await this.#send(pathOf(key), { consistency }, {});
    if (answer.status === 404) {
      return null;
    }
    const { headers, text } = accepted(answer);
    return {
      value: text,
      revision: Number(headers.get("flotilla-revision")),
      version: Number(headers.get("flotilla-version")),
    };
  }

  async write(key: string, input: KvWrite, idempotencyKey: string | null): Promise<KvOutput> {
    const condition = "condition" in input ? input.condition : null;
    const headers = {
      ...conditionHeaders(condition),
      ...(idempotencyKey === null ? {} : { "idempotency-key": idempotencyKey }),
    };
    const answer = await this.#send(pathOf(key), queryOf(input), { ...bodyOf(input), headers });
    if (answer.status === 412) {
      const { current = null } = jsonOf<Problem>(answer);
      return { type: "condition_failed", current: current && metadataOf(current) };
    }
    return outputOf(input, accepted(answer));
  }

  async writeMortal(key: string, ttlMs: number): Promise<void> {
    const request = { method: "PUT", body: "v" };
    accepted(await this.#send(pathOf(key), { ttl: `${ttlMs}ms` }, request));
  }

  async writeFenced(key: string, value: string, held: HeldLock): Promise<number | null> {
    const fence = `${encodeURIComponent(held.lock)}=${held.token}`;
    const headers = { "flotilla-fence": fence };
    const answer = await this.#send(pathOf(key), {}, { method: "PUT", body: value, headers });
    return isLockLost(answer) ? null : Number(jsonOf<Metadata>(accepted(answer)).revision);
  }

  async readPair({ first, second }: Pair): Promise<KvRecord | null> {
    const success = [first, second].map((key) => ({ op: "get", key }));
    return pairRecord(await this.#transact({ success }));
  }

  async writePair({ first, second }: Pair, value: string, seen: number | null): Promise<KvOutput> {
    const compare = { key: first, target: "mod_revision", value: String(seen) };
    const transaction = await this.#transact({
      compare: seen === null ? [] : [compare],
      success: [first, second].map((key) => ({ op: "put", key, value })),
      failure: [first, second].map((key) => ({ op: "get", key })),
    });
    if (!transaction.succeeded) {
      const current = pairRecord(transaction);
      return { type: "condition_failed", current };
    }
    const [a, b] = transaction.results;
    if (a?.version !== b?.version || a?.version === undefined || a.created === undefined) {
      throw new Error(`a pair was written as ${JSON.stringify(transaction)}`);
    }
    const { created, version } = a;
    const revision = Number(transaction.revision);
    return { type: "written", created, revision, version, value: null };
  }

  async acquire(
    lock: string,
    owner: string,
    ttlMs: number,
    waits: boolean,
  ): Promise<number | null> {
    const request = { method: "POST", json: { owner, ttl: `${ttlMs}ms`, value: "v" } };
    const query = waits ? { wait: `${lockWaitMs}ms` } : {};
    const answer = await this.#send(lockPath(lock), query, request);
    return answer.status === 423 ? null : Number(jsonOf<{ token: string }>(accepted(answer)).token);
  }

  async keep({ lock, owner, token }: HeldLock, ttlMs: number): Promise<void> {
    const json = { owner, token: String(token), ttl: `${ttlMs}ms` };
    const answer = await this.#send(lockPath(lock), {}, { method: "PUT", json });
    if (!isLockLost(answer)) {
      accepted(answer);
    }
  }

  async release({ lock, owner, token }: HeldLock): Promise<void> {
    const query = { owner, token: String(token) };
    const answer = await this.#send(lockPath(lock), query, { method: "DELETE" });
    if (!isLockLost(answer)) {
      accepted(answer);
    }
  }

  async #transact(json: object): Promise<JsonTransaction> {
    const answer = await this.#send("/v1/txn", {}, { method: "POST", json });
    return jsonOf<JsonTransaction>(accepted(answer));
  }

  #send(path: string, query: Readonly<Record<string, string>>, request: Request): Promise<Answer> {
    const text = new URLSearchParams({ ...query, timeout: `${this.#timeoutMs}ms` });
    const { headers = {} } = request;
    const typed =
      request.body === undefined ? headers : { "content-type": "text/plain", ...headers };
    return this.#client.send(this.#node, `${path}?${text}`, {
      ...request,
      headers: typed,
      signal: this.#signal,
    });
  }
}

function lockPath(lock: string): string {
  return `/v1/locks/${encodeURIComponent(lock)}`;
}

/** Throws a Refusal unless the node did it. */
function accepted(answer: Answer): Answer {
  if (answer.status >= 200 && answer.status < 300) {
    return answer;
  }
  const { code, applied } = jsonOf<Problem>(answer);
  throw new Refusal(answer.status, code, applied === "no", answer.text);
}

/** Only what Flotilla's own documents say; a document of another shape shows in the history. */
function jsonOf<T>(answer: Answer): T {
  return JSON.parse(answer.text) as T;
}

function isLockLost(answer: Answer): boolean {
  return answer.status === 412 && jsonOf<Problem>(answer).code === "lock_lost";
}

function conditionHeaders(condition: KvCondition | null): Readonly<Record<string, string>> {
  if (condition === null) {
    return {};
  }
  return condition === "absent" ? { "if-none-match": "*" } : { "if-match": `"${condition}"` };
}

function queryOf(input: KvWrite): Readonly<Record<string, string>> {
  switch (input.type) {
    case "put":
    case "delete":
      return {};
    case "increment":
      return { op: "increment", by: String(input.by) };
    case "append":
      return { op: "append" };
  }
}

function bodyOf(input: KvWrite): Request {
  switch (input.type) {
    case "put":
      return { method: "PUT", body: input.value };
    case "delete":
      return { method: "DELETE" };
    case "increment":
      return { method: "POST" };
    case "append":
      return { method: "POST", body: input.value };
  }
}

interface JsonChange extends Metadata {
  readonly created: boolean;
  readonly deleted: boolean;
  readonly value: string;
  readonly length: number;
}

function outputOf(input: KvWrite, answer: Answer): KvOutput {
  const change = jsonOf<JsonChange>(answer);
  const { created, version } = change;
  const revision = Number(change.revision);
  switch (input.type) {
    case "put":
      return { type: "written", created, revision, version, value: null };
    case "delete":
      return { type: "deleted", deleted: change.deleted, revision };
    case "increment":
      return { type: "written", created, revision, version, value: change.value };
    case "append":
      return { type: "written", created, revision, version, value: String(change.length) };
  }
}

function metadataOf({ revision, version }: Metadata): { revision: number; version: number } {
  return { revision: Number(revision), version };
}

/** What both keys of a pair hold. */
function pairRecord({ results: [a, b] }: JsonTransaction): KvRecord | null {
  const [first, second] = [a?.record ?? null, b?.record ?? null].map(
    (record) => record && { value: record.value, ...metadataOf(record) },
  );
  if (JSON.stringify(first) !== JSON.stringify(second)) {
    throw new Error(`a pair was torn: ${JSON.stringify([first, second])}`);
  }
  return first ?? null;
}
