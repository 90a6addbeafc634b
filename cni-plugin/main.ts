// The CNI executable: environment and standard input in, a result or an error as JSON out, exit code 0 or 1.
import { readSync } from "node:fs";
import { sleepMs, writeAll } from "./blocking.ts";
import { add } from "./commands/add.ts";
import { check } from "./commands/check.ts";
import { del } from "./commands/del.ts";
import { gc } from "./commands/gc.ts";
import { status } from "./commands/status.ts";
import { version } from "./commands/version.ts";
import { decodeNetConf, parseNetConf, versionOf } from "./config.ts";
import {
  CniError,
  ERROR_CODES,
  NEWEST_VERSION,
  SUPPORTED_VERSIONS,
  formatError,
  parseRequest,
} from "./protocol.ts";
import type { CniRequest } from "./protocol.ts";

declare const FLANNELD_TS_VERSION: string | undefined;

const ABOUT =
  `CNI plugin flannel (flanneld-ts) version ${typeof FLANNELD_TS_VERSION === "string" ? FLANNELD_TS_VERSION : "dev"}\n` +
  `CNI protocol versions supported: ${SUPPORTED_VERSIONS.join(", ")}\n`;

async function main(): Promise<number> {
  if (process.argv[2] === "--version" || process.argv[2] === "--help") {
    writeAll(1, ABOUT);
    return 0;
  }
  // Errors before the configuration is read are told in the newest version.
  let errorVersion = NEWEST_VERSION;
  try {
    const request = parseRequest(process.env);
    if (request.verb === "VERSION") {
      writeAll(1, version());
      return 0;
    }
    const decoded = decodeNetConf(readStdin());
    errorVersion = versionOf(decoded);
    writeAll(1, await run(request, decoded));
    return 0;
  } catch (error) {
    if (!process.env["CNI_COMMAND"]) writeAll(2, ABOUT);
    writeAll(1, formatError(asCniError(error), errorVersion));
    return 1;
  }
}

async function run(request: CniRequest, decoded: unknown): Promise<string> {
  const conf = parseNetConf(decoded, request.verb);
  switch (request.verb) {
    case "ADD":
      return add(request, conf);
    case "DEL":
      await del(request, conf);
      return "";
    case "CHECK":
      await check(request, conf);
      return "";
    case "GC":
      await gc(request, conf);
      return "";
    case "STATUS":
      await status(request, conf);
      return "";
    case "VERSION":
      return version();
  }
}

/** A configuration with a thousand port mappings is 0.1 MiB. */
const MAX_STDIN_BYTES = 8 * 1024 * 1024;

function readStdin(): string {
  const chunks: Buffer[] = [];
  let size = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(64 * 1024);
    const count = readSome(chunk);
    if (count === 0) return Buffer.concat(chunks).toString();
    chunks.push(chunk.subarray(0, count));
    size += count;
    if (size > MAX_STDIN_BYTES) {
      throw new CniError(
        ERROR_CODES.ioFailure,
        `error reading from stdin: the network configuration is larger than ${MAX_STDIN_BYTES / 1024 / 1024} MiB`,
      );
    }
  }
}

function readSome(chunk: Buffer): number {
  for (;;) {
    try {
      return readSync(0, chunk);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === "EOF") return 0;
      // Somebody made the pipe non-blocking: wait a little without spinning.
      if (code === "EAGAIN") sleepMs(1);
      else throw new CniError(ERROR_CODES.ioFailure, `error reading from stdin: ${message}`);
    }
  }
}

function asCniError(error: unknown): CniError {
  if (error instanceof CniError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code !== undefined) return new CniError(ERROR_CODES.ioFailure, message);
  if (error instanceof RangeError) {
    return new CniError(
      ERROR_CODES.decodingFailure,
      `the network configuration is nested too deep: ${message}`,
    );
  }
  return new CniError(ERROR_CODES.internal, message);
}

// Should nothing be left to wait for before that, it was no success.
process.exitCode = 1;
void main().then((exitCode) => process.exit(exitCode));
