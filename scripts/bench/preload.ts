import { setTimeout as delay } from "node:timers/promises";
import type { Store } from "./store.ts";

/** Keys `prefix` + from ... `prefix` + to, as the load names them. */
export interface PreloadOptions {
  readonly prefix: string;
  readonly from: number;
  readonly to: number;
  readonly valueBytes: number;
}

/** Operations in one request: etcd takes 128 at most, and so does a batch of Flotilla. */
const operationsMax = 128;

/** Bytes of values in one request; etcd takes 1.5 MiB of JSON with values in base64. */
const bytesMax = 768 * 1024;

const attemptsMax = 20;

/** Writes every key once, so that reads find what they ask for. Rejects when that cannot be done. */
export async function preload(store: Store, options: PreloadOptions): Promise<void> {
  const { prefix, from, to, valueBytes } = options;
  const value = "v".repeat(valueBytes);
  const step = Math.max(1, Math.min(operationsMax, Math.floor(bytesMax / valueBytes)));
  let next = from;
  const writer = async (url: string): Promise<void> => {
    while (next <= to) {
      const first = next;
      next += step;
      const length = Math.min(step, to - first + 1);
      await write(
        store,
        url,
        Array.from({ length }, (_, at) => `${prefix}${first + at}`),
        value,
      );
    }
  };
  await Promise.all([...store.urls, ...store.urls].map(writer));
}

async function write(
  store: Store,
  url: string,
  keys: readonly string[],
  value: string,
): Promise<void> {
  const { path, body } = request(store, keys, value);
  let answer = "";
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const response = await fetch(`${url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    answer = await response.text();
    if (response.ok && isComplete(store, answer)) {
      return;
    }
    await delay(100);
  }
  throw new Error(`the store did not take its keys: ${answer.slice(0, 300)}`);
}

function request(
  { dialect }: Store,
  keys: readonly string[],
  value: string,
): { readonly path: string; readonly body: string } {
  if (dialect === "flotilla") {
    const operations = keys.map((key) => ({ op: "put", key, value }));
    return { path: "/v1/batch", body: JSON.stringify({ operations }) };
  }
  const encoded = Buffer.from(value).toString("base64");
  const success = keys.map((key) => ({
    requestPut: { key: Buffer.from(key).toString("base64"), value: encoded },
  }));
  return { path: "/v3/kv/txn", body: JSON.stringify({ success }) };
}

/** A batch is not atomic: each operation has a status. */
function isComplete({ dialect }: Store, answer: string): boolean {
  if (dialect === "etcd") {
    return true;
  }
  const { results } = JSON.parse(answer) as { results: readonly { status: number }[] };
  return results.every(({ status }) => status < 300);
}
