import { spawn, spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

/** What is asked of the store. `mixed`: nine reads to one write. */
export type Workload = "write" | "read" | "mixed";

/** Whether a text names a workload. */
export function isWorkload(text: string): text is Workload {
  return text === "write" || text === "read" || text === "mixed";
}

/** Which API the load speaks. */
export type Dialect = "flotilla" | "etcd";

/** One measurement: who is asked what, by how many connections, for how long. */
export interface LoadOptions {
  readonly dialect: Dialect;
  readonly workload: Workload;
  readonly urls: readonly string[];
  readonly connections: number;
  readonly seconds: number;
  /** Keys are drawn from `prefix` + 1 ... `prefix` + keys. */
  readonly prefix: string;
  readonly keys: number;
  readonly valueBytes: number;
  /** Tells 503 from other errors; costs the load generator a part of its speed. */
  readonly countRefusals?: boolean;
  /** Where the generated script lies. */
  readonly directory: string;
}

/** What wrk saw; times in milliseconds. */
export interface LoadResult {
  /** Without errors. */
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly requests: number;
  /** Answers outside 2xx and 3xx (a key that is missing is one), broken connections, timeouts. */
  readonly errors: number;
  /** The part of the errors that are refusals: 503. 0 when they were not told from others. */
  readonly refused: number;
  /** The part of the errors that are no answers at all: broken connections, timeouts. */
  readonly broken: number;
}

/** Whether the load generator is installed. */
export function hasWrk(): boolean {
  return spawnSync("wrk", ["--version"]).error === undefined;
}

/** Runs wrk with its connections spread evenly over all nodes. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const file = join(options.directory, `load-${options.dialect}-${options.workload}.lua`);
  await writeFile(file, luaScript(options));
  const threads = Math.min(options.urls.length, options.connections);
  const output = await run("sh", [
    "-c",
    // One file per connection: as many as the system lets a user have.
    'ulimit -n "$(ulimit -Hn)"; exec wrk "$@"',
    "wrk",
    `-t${threads}`,
    `-c${options.connections}`,
    `-d${options.seconds}s`,
    "--timeout=10s",
    "-s",
    file,
    options.urls[0] ?? "",
  ]);
  const line = output.split("\n").find((each) => each.startsWith("RESULT "));
  if (line === undefined) {
    throw new Error(`wrk gave no result:\n${output}`);
  }
  return JSON.parse(line.slice("RESULT ".length)) as LoadResult;
}

function run(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
    child.once("error", reject);
    child.once("exit", (code) =>
      code === 0 ? resolve(output) : reject(new Error(`${command} ended with ${code}\n${output}`)),
    );
  });
}

/** The load in wrk's own language: each thread talks to one node, keys are drawn at random. */
function luaScript({
  dialect,
  workload,
  urls,
  prefix,
  keys,
  valueBytes,
  countRefusals,
}: LoadOptions): string {
  const addresses = urls.map((url) => `"${url.replace("http://", "")}"`).join(", ");
  const share = workload === "write" ? 1 : workload === "read" ? 0 : 0.1;
  return `
local addresses = { ${addresses} }
local count = 0
local threads = {}
function setup(thread)
  local host, port = addresses[count % #addresses + 1]:match("(.+):(%d+)")
  count = count + 1
  thread.addr = wrk.lookup(host, port)[1]
  thread:set("seed", count)
  table.insert(threads, thread)
end
${base64Lua}
function init()
  math.randomseed(os.time() + seed * 7919)
  value = {}
  for i = 1, ${valueBytes} do value[i] = string.char(math.random(97, 122)) end
  value = table.concat(value)
  encodedValue = base64(value)
end
${dialect === "flotilla" ? flotillaLua : etcdLua}
${countRefusals === true ? refusalsLua : ""}
function request()
  local key = "${prefix}" .. math.random(${keys})
  if math.random() < ${share} then return put(key) else return get(key) end
end
function done(summary, latency, requests)
  local e = summary.errors
  local broken = e.connect + e.read + e.write + e.timeout
  local refused = 0
  for _, thread in ipairs(threads) do refused = refused + (thread:get("refused") or 0) end
  print(string.format('RESULT {"requestsPerSecond":%.1f,"p50Ms":%.3f,"p99Ms":%.3f,"maxMs":%.3f,"requests":%d,"errors":%d,"refused":%d,"broken":%d}',
    (summary.requests - e.status) / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    latency.max / 1000, summary.requests, e.status + broken, refused, broken))
end
`;
}

const refusalsLua = `
refused = 0
function response(status) if status == 503 then refused = refused + 1 end end
`;

const flotillaLua = `
local headers = { ["content-type"] = "application/octet-stream" }
function put(key) return wrk.format("PUT", "/v1/kv/" .. key, headers, value) end
function get(key) return wrk.format("GET", "/v1/kv/" .. key) end
`;

const etcdLua = `
local headers = { ["content-type"] = "application/json" }
function put(key)
  return wrk.format("POST", "/v3/kv/put", headers, '{"key":"' .. base64(key) .. '","value":"' .. encodedValue .. '"}')
end
function get(key)
  return wrk.format("POST", "/v3/kv/range", headers, '{"key":"' .. base64(key) .. '"}')
end
`;

const base64Lua = `
local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
function base64(text)
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = text:byte(i, i + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    for j = 3, 0, -1 do
      local d = math.floor(n / 64 ^ j) % 64 + 1
      out[#out + 1] = alphabet:sub(d, d)
    end
    if not b then out[#out] = "=" out[#out - 1] = "=" elseif not c then out[#out] = "=" end
  end
  return table.concat(out)
end
`;
