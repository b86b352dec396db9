import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startServer, type TestServer } from "./support.ts";

describe("text in JSON bodies", () => {
  let server: TestServer;
  before(async () => (server = await startServer()));
  after(() => server.close());

  const post = (url: string, body: string, encoding: "utf8" | "latin1" = "utf8") =>
    server.request({
      method: "POST",
      url,
      headers: { "content-type": "application/json" },
      payload: Buffer.from(body, encoding),
    });
  const count = async () =>
    (await server.request({ url: "/v1/kv?keys_only=1" })).json<{ items: object[] }>().items.length;

  /** Every place that a text of the client's has in a body; `TEXT` stands for it. */
  const places: readonly [what: string, url: string, body: string][] = [
    ["a key", "/v1/batch", '{"operations":[{"op":"put","key":"TEXT","value":""}]}'],
    ["a value", "/v1/batch", '{"operations":[{"op":"put","key":"a","value":"TEXT"}]}'],
    ["a key that is read", "/v1/batch", '{"operations":[{"op":"get","key":"TEXT"}]}'],
    ["a key of a branch", "/v1/txn", '{"success":[{"op":"delete","key":"TEXT"}]}'],
    ["a compared key", "/v1/txn", '{"compare":[{"key":"TEXT","target":"exists"}]}'],
    ["a compared value", "/v1/txn", '{"compare":[{"key":"a","target":"value","value":"TEXT"}]}'],
    ["an owner", "/v1/locks/l", '{"owner":"TEXT","ttl":"5s"}'],
    ["what a holder shows", "/v1/locks/l", '{"owner":"a","ttl":"5s","value":"TEXT"}'],
  ];

  for (const [what, url, body] of places) {
    test(`${what} of bytes that are not UTF-8 is refused, and changes nothing`, async () => {
      const before = await count();
      for (const bytes of ["\xff", "a\xc3", "\xed\xa0\x80"]) {
        const response = await post(url, body.replace("TEXT", bytes), "latin1");
        assert.equal(response.statusCode, 400);
        const { code, detail } = response.json<{ code: string; detail: string }>();
        assert.equal(code, "bad_request");
        assert.match(detail, /key64.*base64/);
      }
      assert.equal(await count(), before);
    });

    test(`${what} with half a surrogate pair is refused, and told where`, async () => {
      const before = await count();
      for (const half of ["\\ud800", "x\\uDFFFy", "\\udc00\\ud800", "\\\\\\ud800"]) {
        const response = await post(
          url,
          body.replace("TEXT", () => half),
        );
        assert.equal(response.statusCode, 400, half);
        const { code, detail } = response.json<{ code: string; detail: string }>();
        assert.equal(code, "bad_request");
        assert.match(detail, /^(operations\/0|success\/0|compare\/0|owner|value)/);
        assert.match(detail, /key64.*base64/);
      }
      assert.equal(await count(), before);
    });

    test(`${what} of any text that has a form in UTF-8 is served`, async () => {
      for (const text of ["\\ud83d\\ude00", "\\\\ud800", "\ufffd", "😀"]) {
        const response = await post(
          url,
          body.replace("TEXT", () => text),
        );
        assert.ok([200, 423].includes(response.statusCode), response.payload);
      }
    });
  }

  test("an escaped pair and the character itself are one key", async () => {
    await post("/v1/batch", '{"operations":[{"op":"put","key":"k\\ud83d\\ude00","value":"1"}]}');
    assert.equal((await server.request({ url: "/v1/kv/k%F0%9F%98%80" })).payload, "1");
  });

  test("a document of nothing but depth is answered", async () => {
    const deep = `${"[".repeat(100_000)}"\\ud800"${"]".repeat(100_000)}`;
    const response = await post("/v1/batch", `{"operations":${deep}}`);
    assert.equal(response.statusCode, 400);
    assert.ok(response.payload.length < 2000);
  });

  test("a byte order mark is no part of the document", async () => {
    const response = await post("/v1/batch", '\ufeff{"operations":[{"op":"get","key":"a"}]}');
    assert.equal(response.statusCode, 200);
  });
});
