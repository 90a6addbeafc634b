// Makes the daemon's logger: pino on standard error, as JSON lines or as text for a terminal.
import { isatty } from "node:tty";
import { pino, stdTimeFunctions } from "pino";
import type { LogFields, Logger } from "../net/logger.ts";
import { formatLogLine } from "./log-text.ts";
import type { LogLevel } from "./log-text.ts";

export type { LogLevel };

export interface LoggerOptions {
  /** `auto`: text on a terminal, else JSON. */
  readonly format: "auto" | "json" | "text";
  readonly level: LogLevel;
  /** Takes whole lines; default: standard error. */
  readonly destination?: { write(line: string): unknown };
  /** Default: whether standard error is a terminal. */
  readonly terminal?: boolean;
}

const STDERR = 2;

/** klog's verbosity as a level: 2 and more is debug. */
export function levelOfVerbosity(verbosity: number): LogLevel {
  return verbosity >= 2 ? "debug" : "info";
}

/**
 * Lines are written synchronously, so that the words before a crash or an exit are never lost. A broken pipe silences
 * the log and does not stop the daemon.
 */
export function createLogger(options: LoggerOptions): Logger {
  const terminal = options.terminal ?? (options.destination === undefined && isatty(STDERR));
  const output = options.destination ?? pino.destination({ dest: STDERR, sync: true });
  const asText = options.format === "text" || (options.format === "auto" && terminal);
  const stream = asText ? textStream(output, terminal) : output;
  const log = pino(
    {
      level: options.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: withPlainErrors(options.level === "debug") },
      // Errors are plain by then; pino's own serializer of `err` would give them a type "Object" and an empty stack.
      serializers: { err: (value: unknown) => value },
    },
    { write: (line: string) => void stream.write(line) },
  );
  const at =
    (level: LogLevel) =>
    (fields: LogFields, message: string): void =>
      log[level](fields, message);
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

function textStream(output: { write(line: string): unknown }, terminal: boolean) {
  return {
    write: (line: string): unknown =>
      output.write(`${formatLogLine(JSON.parse(line) as LogFields, { terminal })}\n`),
  };
}

/** Errors in any field become plain objects; stacks only where somebody debugs. */
function withPlainErrors(stacks: boolean) {
  return (fields: object): Record<string, unknown> =>
    Object.fromEntries(
      Object.entries(fields).map(([name, value]) => [
        name,
        value instanceof Error ? plainError(value, stacks) : value,
      ]),
    );
}

function plainError(error: Error, stacks: boolean): Record<string, unknown> {
  const { code } = error as NodeJS.ErrnoException;
  return {
    type: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    ...(error.cause instanceof Error ? { cause: plainError(error.cause, stacks) } : {}),
    ...(stacks && error.stack !== undefined ? { stack: error.stack } : {}),
  };
}
