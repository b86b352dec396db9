import { isUtf8 } from "node:buffer";
import type { FastifyInstance } from "fastify";
import { ServiceError } from "../errors.ts";

/*
 * JSON is text, and text has a form in UTF-8. Bytes of another encoding and halves of surrogate pairs ("\ud800") have none: read as usual
 * they would silently become U+FFFD, different keys would be one, and values would not be what was sent. Both are refused.
 */

/** Reads JSON bodies as Fastify does, but refuses those whose bytes are not UTF-8. */
export function readJsonStrictly(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser("error", "error");
  app.addContentTypeParser<Buffer>(
    "application/json",
    { parseAs: "buffer" },
    (request, body, done) => {
      if (isUtf8(body)) {
        void parse(request, body.toString("utf8"), done);
      } else {
        done(notText("the body"));
      }
    },
  );
}

/** Says of a document that fits its schema whether all of its strings are text; null when they are. */
export function textRefusal(document: unknown): ServiceError | null {
  const where = illFormedText(document);
  return where === null ? null : notText(where.slice(1));
}

/** Path of the first string with half of a surrogate pair. As deep as the schema, so recursion is safe. */
function illFormedText(value: unknown): string | null {
  if (typeof value === "string") {
    return value.isWellFormed() ? null : "";
  }
  if (typeof value === "object" && value !== null) {
    for (const [name, member] of Object.entries(value)) {
      const where = illFormedText(member);
      if (where !== null) {
        return `/${name}${where}`;
      }
    }
  }
  return null;
}

function notText(where: string): ServiceError {
  return new ServiceError(
    "bad_request",
    `${where} is not Unicode text and cannot be kept as it is; give the bytes of such a key as key64, and of such a value in base64 with "encoding":"base64"`,
  );
}
