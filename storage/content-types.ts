import { CodecError, type ByteReader, type ByteWriter } from "./wire-codec.ts";

/**
 * Content types that take one byte, in records, commands and answers. Positions are part of the format: append only.
 * Position 0 stands for "spelled out".
 */
const common = [
  "",
  "application/octet-stream",
  "application/json",
  "text/plain",
  "text/plain; charset=utf-8",
  "text/plain;charset=UTF-8",
  "application/x-www-form-urlencoded",
  "application/json; charset=utf-8",
  "text/html",
  "text/html; charset=utf-8",
  "application/xml",
  "application/yaml",
  "application/x-ndjson",
  "application/cbor",
  "application/msgpack",
  "application/protobuf",
  "image/png",
  "image/jpeg",
] as const;

const codes: ReadonlyMap<string, number> = new Map(common.map((type, index) => [type, index + 1]));

/** One byte for a common content type, else 0 and the text. */
export function writeContentType(writer: ByteWriter, contentType: string): void {
  const code = codes.get(contentType);
  writer.u8(code ?? 0);
  if (code === undefined) {
    writer.string(contentType);
  }
}

/** What `writeContentType` wrote. */
export function readContentType(reader: ByteReader): string {
  const code = reader.u8();
  if (code === 0) {
    return reader.string();
  }
  const contentType = common[code - 1];
  if (contentType === undefined) {
    throw new CodecError("malformed", `unknown content type ${code}`);
  }
  return contentType;
}
