import { setTimeout as delay } from "node:timers/promises";

/** An answer, read whole. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** What a request carries besides its path. */
export interface Request {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Sent as JSON. */
  readonly json?: object;
  /** Gives up when it is aborted. */
  readonly signal?: AbortSignal;
}

/** A client of a cluster: names nodes by their place, and keys as they are. */
export class Client {
  readonly urls: readonly string[];

  constructor(urls: readonly string[]) {
    this.urls = urls;
  }

  /** One request to the node at this place; places go round. */
  async send(node: number, path: string, request: Request = {}): Promise<Answer> {
    const { method = "GET", headers = {}, json, signal = null } = request;
    const body = json === undefined ? request.body : JSON.stringify(json);
    const response = await fetch(`${this.urls[node % this.urls.length]}${path}`, {
      method,
      headers: json === undefined ? headers : { "content-type": "application/json", ...headers },
      body: body ?? null,
      signal,
    });
    return { status: response.status, headers: response.headers, text: await response.text() };
  }

  /** The same, again and again while there is no leader or no node; for requests that may be repeated. */
  async sendUntilAnswered(node: number, path: string, request: Request): Promise<Answer> {
    const deadline = performance.now() + 30_000;
    for (;;) {
      const answer = await this.send(node, path, request).catch(() => null);
      if (answer !== null && answer.status < 500) {
        return answer;
      }
      if (performance.now() > deadline) {
        throw new Error(`${path} is not answered: ${answer?.status} ${answer?.text}`);
      }
      await delay(20);
    }
  }

  /** PUT of a value. */
  put(node: number, key: string, body: string, query = ""): Promise<Answer> {
    return this.send(node, `${pathOf(key)}${query}`, { method: "PUT", body });
  }

  /** GET of a value. */
  get(node: number, key: string, query = "", headers: Request["headers"] = {}): Promise<Answer> {
    return this.send(node, `${pathOf(key)}${query}`, { headers });
  }
}

/** Where a key is read and written. */
export function pathOf(key: string): string {
  return `/v1/kv/${encodeURIComponent(key)}`;
}

/** An answer's JSON document, to be compared with what is expected. */
export function documentOf(answer: Answer): Readonly<Record<string, unknown>> {
  return JSON.parse(answer.text) as Readonly<Record<string, unknown>>;
}
