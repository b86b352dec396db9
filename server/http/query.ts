import { isUtf8 } from "node:buffer";
import Type, { type TSchema } from "typebox";
import { ServiceError } from "../errors.ts";
import { durationForm, parseDuration } from "./duration.ts";
import { decodePercent } from "./percent.ts";

/** One query parameter: how it is read, and how it is documented. */
export interface Parameter<Value> {
  readonly schema: TSchema;
  /** Value when the parameter is not there. */
  readonly otherwise: Value;
  /** Null: malformed. */
  readonly read: (bytes: Buffer) => { readonly value: Value } | null;
  /** What may be written, for the error message. */
  readonly allowed: string;
}

type ValuesOf<Parameters> = {
  readonly [Name in keyof Parameters]: Parameters[Name] extends Parameter<infer Value>
    ? Value
    : never;
};

/** The query parameters of one route. */
export interface QueryForm<Parameters> {
  readonly parameters: Parameters;
  /** Reads the text after `?`. Throws a ServiceError for unknown, repeated and malformed parameters. */
  parse(query: string): ValuesOf<Parameters>;
}

/** Declares which parameters a route takes. Unknown ones are refused: a misspelt `?tll=` must not store for ever. */
export function queryForm<Parameters extends Readonly<Record<string, Parameter<unknown>>>>(
  parameters: Parameters,
): QueryForm<Parameters> {
  const names = new Map(Object.entries(parameters));
  const standard = Object.fromEntries([...names].map(([name, each]) => [name, each.otherwise]));
  return {
    parameters,
    parse(query) {
      const values = query === "" ? standard : readAll(query, names, standard);
      // Every value was made by the parameter of its name.
      return values as ValuesOf<Parameters>;
    },
  };
}

function readAll(
  query: string,
  parameters: ReadonlyMap<string, Parameter<unknown>>,
  standard: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const values: Record<string, unknown> = { ...standard };
  const seen = new Set<string>();
  for (const pair of query.split("&")) {
    if (pair === "") {
      continue;
    }
    const mark = pair.indexOf("=");
    const name = textOf(mark < 0 ? pair : pair.slice(0, mark));
    const parameter = parameters.get(name);
    if (parameter === undefined) {
      throw unknownParameter(name, [...parameters.keys()]);
    }
    if (seen.has(name)) {
      throw new ServiceError("bad_request", `the parameter ${name} is given twice`);
    }
    seen.add(name);
    const bytes = decodePercent(mark < 0 ? "" : pair.slice(mark + 1), true);
    const read = bytes === null ? null : parameter.read(bytes);
    if (read === null) {
      throw new ServiceError("bad_request", `the parameter ${name} must be ${parameter.allowed}`, {
        extra: { parameter: name },
      });
    }
    values[name] = read.value;
  }
  return values;
}

function unknownParameter(name: string, allowed: readonly string[]): ServiceError {
  const known = allowed.length === 0 ? "takes none" : `takes ${allowed.join(", ")}`;
  return new ServiceError(
    "unknown_parameter",
    `there is no parameter ${JSON.stringify(name)} here; this route ${known}`,
    { extra: { parameter: name, allowed } },
  );
}

function textOf(text: string): string {
  const bytes = decodePercent(text, true);
  if (bytes === null || !isUtf8(bytes)) {
    throw new ServiceError("bad_request", "the query has a broken % escape");
  }
  return bytes.toString();
}

/** Text in UTF-8 that a function turns into a value; it answers undefined to refuse. */
export function textParameter<Value, Otherwise extends Value | null>(options: {
  readonly description: string;
  readonly allowed: string;
  readonly otherwise: Otherwise;
  readonly read: (text: string) => Value | undefined;
}): Parameter<Value | Otherwise> {
  const { description, allowed, otherwise } = options;
  return {
    schema: Type.String({ description: `${description} Form: ${allowed}.` }),
    otherwise,
    allowed,
    read: (bytes) => {
      const value = isUtf8(bytes) ? options.read(bytes.toString()) : undefined;
      return value === undefined ? null : { value };
    },
  };
}

/** Any bytes, percent-encoded; null when not there. */
export function bytesParameter(description: string, bytesMax: number): Parameter<Buffer | null> {
  return {
    schema: Type.String({ description }),
    otherwise: null,
    allowed: `at most ${bytesMax} bytes, percent-encoded`,
    read: (value) => (value.length <= bytesMax ? { value } : null),
  };
}

/** `?name`, `?name=1`, `?name=true`. */
export function switchParameter(description: string): Parameter<boolean> {
  return {
    schema: Type.Boolean({ description, default: false }),
    otherwise: false,
    allowed: "true or false (or 1 or 0)",
    read: (bytes) => {
      const text = bytes.toString("latin1");
      const isOn = text === "" || text === "1" || text === "true";
      return isOn || text === "0" || text === "false" ? { value: isOn } : null;
    },
  };
}

/** A whole number within bounds. */
export function numberParameter<Otherwise extends number | null>(options: {
  readonly description: string;
  readonly otherwise: Otherwise;
  readonly min: number;
  readonly max: number;
}): Parameter<number | Otherwise> {
  const { description, otherwise, min, max } = options;
  const standard = otherwise === null ? {} : { default: otherwise };
  return {
    schema: Type.Integer({ description, minimum: min, maximum: max, ...standard }),
    otherwise,
    allowed: `a whole number from ${min} to ${max}`,
    read: (bytes) => {
      const text = bytes.toString("latin1");
      const value = /^\d{1,15}$/.test(text) ? Number(text) : -1;
      return value >= min && value <= max ? { value } : null;
    },
  };
}

/** A duration in milliseconds, up to `maxMs`; null when not there. */
export function durationParameter(description: string, maxMs: number): Parameter<number | null> {
  return textParameter({
    description,
    allowed: `${durationForm}; at most ${maxMs}ms`,
    otherwise: null,
    read: (text) => {
      const value = parseDuration(text);
      return value === null || value > maxMs ? undefined : value;
    },
  });
}

/** One of a few words. */
export function wordParameter<const Word extends string>(
  description: string,
  words: readonly Word[],
  otherwise: Word,
): Parameter<Word> {
  return {
    schema: Type.String({ description, enum: [...words], default: otherwise }),
    otherwise,
    allowed: `one of ${words.join(", ")}`,
    read: (bytes) => {
      const word = words.find((each) => each === bytes.toString("latin1"));
      return word === undefined ? null : { value: word };
    },
  };
}
