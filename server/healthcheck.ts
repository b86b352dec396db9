// The container's HEALTHCHECK: ends with 0 when this machine's node says that it is alive. A program of its own because slim images
// have no curl; node:http alone, because it runs every few seconds and fetch would double its cost.
import { get } from "node:http";

const timeoutMs = 2500;

const request = get(
  {
    host: "127.0.0.1",
    port: process.env["FLOTILLA_HTTP_PORT"] ?? "8080",
    path: "/livez",
    timeout: timeoutMs,
  },
  (response) => {
    response.resume();
    process.exit(response.statusCode === 200 ? 0 : 1);
  },
);
request.on("timeout", () => process.exit(1));
request.on("error", () => process.exit(1));
