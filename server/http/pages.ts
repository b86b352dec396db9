import { errorDefinitions } from "../errors.ts";

const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;color:#1c2733;background:#fff}
a{color:#0b5cad}code,pre{font:14px/1.5 ui-monospace,monospace;background:#f1f4f7;border-radius:4px;padding:.1em .3em}
pre{padding:.8em 1em;overflow:auto}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.35em .6em;border-bottom:1px solid #d9e0e6}
@media(prefers-color-scheme:dark){body{color:#dbe3ea;background:#14191f}a{color:#6fb3f2}code,pre{background:#222a33}td,th{border-color:#333d48}}`;

/** `/`: what answers here, and where to go on. Nothing is loaded from elsewhere. */
export function landingPage(nodeId: string, version: string): string {
  return page(
    `Flotilla ${nodeId}`,
    `<h1>Flotilla</h1>
<p>This is node <strong>${nodeId}</strong> of a replicated, sharded key-value store, version ${version}. Any node answers for any key.</p>
<pre>curl -X PUT --data-binary hello localhost:8080/v1/kv/greeting
curl localhost:8080/v1/kv/greeting</pre>
<ul>
<li><a href="/docs">API reference</a>, also as <a href="/openapi.json">OpenAPI</a></li>
<li><a href="/v1/cluster">The cluster</a>: nodes, shards, leaders</li>
<li><a href="/readyz?verbose">Health</a>, <a href="/metrics">metrics</a>, <a href="/v1/debug/slow">slow requests</a></li>
<li><a href="/errors">Errors</a> and what they mean</li>
</ul>`,
  );
}

/** `/errors`: where the `type` of a problem leads. */
export function errorPage(): string {
  const rows = Object.entries(errorDefinitions).map(
    ([code, { status, title, retryable, applied }]) =>
      `<tr id="${code}"><td><code>${code}</code></td><td>${status}</td><td>${title}</td><td>${retryable ? "yes" : "no"}</td><td>${applied}</td></tr>`,
  );
  return page(
    "Flotilla: errors",
    `<h1>Errors</h1>
<p>Every error is <code>application/problem+json</code>. <code>applied: no</code> means that nothing was changed; <code>unknown</code>
that nobody can tell: retry with the same <code>Idempotency-Key</code>.</p>
<table><tr><th>code</th><th>status</th><th>meaning</th><th>retry</th><th>applied</th></tr>
${rows.join("\n")}
</table>`,
  );
}

function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${title}</title><style>${style}</style></head><body>
${body}
</body></html>
`;
}
