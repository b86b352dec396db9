/**
 * A contender in a process of its own, for tests that pause it: `lock-holder-process.ts OPTIONS_AS_JSON`. Sends each of its events to
 * the parent, and ends when the parent says anything, or is gone.
 */
import { contend, type ContenderOptions } from "./lock-contender.ts";

const over = new AbortController();
process.once("message", () => over.abort());
process.once("disconnect", () => over.abort());
const options = JSON.parse(process.argv[2] ?? "") as ContenderOptions;
await contend(options, over.signal, (event) => process.connected && process.send?.(event));
if (process.connected) {
  process.disconnect();
}
