import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Revision, ShardId } from "../../cluster/types.ts";
import type { WatchPositions } from "../../server/http/service.ts";
import {
  decodeAnswer,
  decodePoll,
  encodeAnswer,
  encodePoll,
  type WatchAnswer,
  type WatchPoll,
} from "../../server/watch-codec.ts";
import { decodePositions, encodePositions, positionAt } from "../../server/watch-positions.ts";
import { CodecError } from "../../storage/wire-codec.ts";
import { bytes } from "../storage/shard-harness.ts";

describe("Positions as text", () => {
  test("are read as they were written", () => {
    const positions: WatchPositions = new Map([
      [ShardId(7), { index: Number.MAX_SAFE_INTEGER, events: 12 }],
      [ShardId(1), positionAt(0)],
    ]);
    const text = encodePositions(positions);
    assert.equal(text, "v1~1.0~7.9007199254740991-12");
    assert.deepEqual(decodePositions(text), new Map([...positions].reverse()));
    assert.deepEqual(decodePositions(encodePositions(new Map())), new Map());
  });

  test("are refused when nobody wrote them", () => {
    const wrong = ["", "v2~1.1", "v1~", "v1~1", "v1~1.", "v1~2.1~1.1", "v1~1.1~1.2", "v1~1.-1"];
    for (const text of [...wrong, "v1~4294967296.1", "v1~1.9007199254740993", "v1~1.1-1-1"]) {
      assert.equal(decodePositions(text), null, text);
    }
  });
});

describe("Polls and their answers", () => {
  const polls: readonly WatchPoll[] = [
    {
      after: null,
      filter: { type: "key", key: bytes("k") },
      wantPrevious: true,
      bytesMax: 1,
      waitMs: 2,
    },
    {
      after: { index: 2 ** 40, events: 3 },
      filter: { type: "prefix", prefix: bytes("") },
      wantPrevious: false,
      bytesMax: 0,
      waitMs: 0,
    },
  ];
  const record = {
    value: bytes("v"),
    contentType: "text/plain",
    createRevision: Revision(1),
    modRevision: Revision(2),
    version: 2,
    ttlMs: 5,
  };
  const change = { index: 4, ordinal: 1, isLast: true };
  const answers: readonly WatchAnswer[] = [
    { type: "gone" },
    {
      type: "changes",
      chunk: {
        position: positionAt(9),
        changes: (["put", "delete", "expire"] as const).map((kind) => ({
          ...change,
          event: {
            kind,
            key: bytes("k"),
            record: kind === "put" ? record : null,
            previous: kind === "delete" ? record : null,
            revision: Revision(2),
          },
        })),
      },
    },
  ];

  test("are read as they were written", () => {
    for (const poll of polls) {
      assert.deepEqual(decodePoll(encodePoll(poll)), poll);
    }
    for (const answer of answers) {
      assert.deepEqual(decodeAnswer(encodeAnswer(answer)), answer);
    }
  });

  test("are refused with a CodecError when they are cut short or changed", () => {
    const [poll] = polls.slice(1).map(encodePoll);
    const [answer] = answers.slice(1).map(encodeAnswer);
    assert.ok(poll !== undefined && answer !== undefined);
    for (let end = 0; end < poll.length; end++) {
      assert.throws(() => decodePoll(poll.subarray(0, end)), CodecError);
    }
    for (let end = 0; end < answer.length; end++) {
      assert.throws(() => decodeAnswer(answer.subarray(0, end)), CodecError);
    }
    for (let at = 0; at < answer.length; at++) {
      const changed = Uint8Array.from(answer, (byte, i) => (i === at ? byte ^ 0xff : byte));
      try {
        decodeAnswer(changed);
      } catch (error) {
        assert.ok(error instanceof CodecError, String(error));
      }
    }
  });
});
