/** One server-sent event, as it came. */
export interface SseEvent {
  readonly event: string;
  readonly id: string;
  readonly data: string;
}

/** Reads a stream of server-sent events until it ends, breaks (throws) or the signal aborts it (throws). */
export async function* readEvents(
  url: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): AsyncGenerator<SseEvent> {
  const response = await fetch(url, { headers, signal });
  if (!response.ok || response.body === null) {
    throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
  }
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = new Map(
        block.split("\n").map((line) => {
          const at = line.indexOf(": ");
          return [line.slice(0, at), line.slice(at + 2)] as const;
        }),
      );
      const event = fields.get("event");
      if (event !== undefined) {
        yield { event, id: fields.get("id") ?? "", data: fields.get("data") ?? "" };
      }
    }
  }
}
