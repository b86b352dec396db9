import type { Frame } from "../multiraft/transport.ts";

/** The same frame in two, items in their order; null when it holds a single item or none. Digests are small and go first. */
export function splitFrame(frame: Frame): readonly [Frame, Frame] | null {
  const { messages, requests, responses } = frame;
  const count = messages.length + requests.length + responses.length;
  if (count < 2) {
    return null;
  }
  const half = Math.ceil(count / 2);
  const inMessages = Math.min(half, messages.length);
  const inRequests = Math.min(half - inMessages, requests.length);
  const inResponses = half - inMessages - inRequests;
  return [
    {
      ...frame,
      messages: messages.slice(0, inMessages),
      requests: requests.slice(0, inRequests),
      responses: responses.slice(0, inResponses),
    },
    {
      ...frame,
      digests: [],
      messages: messages.slice(inMessages),
      requests: requests.slice(inRequests),
      responses: responses.slice(inResponses),
    },
  ];
}
