// The shape of the logger that rooms with effects are handed; the daemon makes it with pino.

export type LogFields = Readonly<Record<string, unknown>>;

/** Structured log. A warning says the cure in its message or in `cure`. Secrets are never passed. */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

export const SILENT_LOGGER: Logger = { debug() {}, info() {}, warn() {}, error() {} };
