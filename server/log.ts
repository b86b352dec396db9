import pino, { type DestinationStream } from "pino";
import type { NodeId } from "../cluster/types.ts";

/** What code may say: fields first, then a sentence that never changes. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  fatal(fields: object, message: string): void;
}

/** From everything to nothing. */
export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
/** The least that a line must matter to be written. */
export type LogLevel = (typeof logLevels)[number];

/** Whose log it is, and how much of it is wanted. */
export interface LogOptions {
  readonly node: NodeId;
  readonly level: LogLevel;
  /** Standard output unless given: written at once, so that a crash loses no line. */
  readonly destination?: DestinationStream;
}

/** What must not reach a log, wherever a field of that name appears. */
const secrets = ["authorization", "cookie", "set-cookie", "value", "password", "token"];

/**
 * One line of JSON per event, each with the node's id. Transitions are logged, not traffic. Secrets and clients' values are replaced
 * by `[redacted]` at the top and up to two levels down.
 */
export function createLog(options: LogOptions): Log {
  const paths = secrets.flatMap((name) => [`["${name}"]`, `*["${name}"]`, `*.*["${name}"]`]);
  const settings = {
    level: options.level,
    base: { node: options.node },
    redact: { paths, censor: "[redacted]" },
    serializers: { error: pino.stdSerializers.err },
  };
  return pino(settings, options.destination ?? pino.destination({ fd: 1, sync: true }));
}
