/** Values of a usual size, over and over: many writes of some keys. */
const valueBytes = 256;
const keys = 20_000;
const writesPerBatch = 100;
const batchesAtOnce = 6;

/**
 * Writes so much that everything which a node keeps within bounds (log, histories, caches, tables) is full: what a process holds
 * afterwards is what it holds for days. Nobody checks these keys. Rejects when a write is not acknowledged.
 */
export async function writeBallast(urls: readonly string[], writes: number): Promise<void> {
  let batch = 0;
  const work = async (): Promise<void> => {
    for (; batch * writesPerBatch < writes;) {
      const first = batch * writesPerBatch;
      batch += 1;
      await putMany(urls[batch % urls.length] ?? "", first);
    }
  };
  await Promise.all(Array.from({ length: batchesAtOnce }, work));
}

async function putMany(url: string, first: number): Promise<void> {
  const operations = Array.from({ length: writesPerBatch }, (_, at) => ({
    op: "put",
    key: `ballast/${(first + at) % keys}`,
    value: `${first + at}`.padEnd(valueBytes, "."),
  }));
  const response = await fetch(`${url}/v1/batch`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ operations }),
  });
  const answer = (await response.json()) as { results?: readonly { status: number }[] };
  const failed = answer.results?.find(({ status }) => status >= 300);
  if (!response.ok || failed !== undefined) {
    throw new Error(`a batch of ballast was answered ${JSON.stringify(failed ?? answer)}`);
  }
}
