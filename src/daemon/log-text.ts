// Renders one log record as a line for a person. Pure.
import { styleText } from "node:util";
import type { LogFields } from "../net/logger.ts";
import { printable } from "../net/printable.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";

const LEVEL_WIDTH = 5;
const LEVEL_STYLES = { debug: "gray", info: "green", warn: "yellow", error: "red" } as const;

export interface LogLineStyle {
  /** On a terminal: short time of day, and colour. */
  readonly terminal: boolean;
}

/**
 * `10:05:18.123 WARN  peer skipped key=/x reason="bad JSON" cure="delete the key"`. Control and direction characters
 * are escaped everywhere, so that no value can forge a line or hide a part of one.
 */
export function formatLogLine(record: LogFields, style: LogLineStyle): string {
  const { level, time, msg, cure, ...fields } = record;
  const paint = (format: "gray" | "green" | "yellow" | "red" | "cyan", text: string): string =>
    style.terminal ? styleText(format, text, { validateStream: false }) : text;
  const levelName = isLevel(level) ? level : "info";
  const moment = String(time);
  const parts = [
    paint("gray", style.terminal ? moment.slice(11, 23) : moment),
    paint(LEVEL_STYLES[levelName], levelName.toUpperCase().padEnd(LEVEL_WIDTH)),
    printable(String(msg)),
    ...Object.entries(fields)
      .filter(([, value]) => value !== undefined && !(isErrorRecord(value) && describeError(value) === msg))
      .map(([name, value]) => `${paint("gray", `${printable(name)}=`)}${formatValue(value)}`),
  ];
  if (typeof cure === "string") parts.push(paint("cyan", `cure: ${printable(cure)}`));
  return parts.join(" ");
}

function isLevel(level: unknown): level is LogLevel {
  return typeof level === "string" && Object.hasOwn(LEVEL_STYLES, level);
}

function formatValue(value: unknown): string {
  if (isErrorRecord(value)) return formatValue(describeError(value));
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  if (typeof value !== "string") return printable(text);
  return /^[^\s"=\\]+$/.test(text) && printable(text) === text ? text : printable(JSON.stringify(text));
}

interface ErrorRecord {
  readonly message: string;
  readonly cause?: unknown;
}

/** What the logger makes of an Error. */
function isErrorRecord(value: unknown): value is ErrorRecord {
  return (
    typeof value === "object" && value !== null && "message" in value && typeof value.message === "string"
  );
}

/** Messages along the chain of causes; a message that repeats its cause's, as ours often do, is told once. */
function describeError({ message, cause }: ErrorRecord): string {
  if (!isErrorRecord(cause)) return message;
  const because = describeError(cause);
  return message.includes(because) ? message : `${message} (${because})`;
}
