// Loads the node's subnet file; when it cannot, asks the daemon why.
import { readFileSync } from "node:fs";
import { statusSocketPath } from "../src/host/status-socket-path.ts";
import { CniError, ERROR_CODES } from "./protocol.ts";
import { parseSubnetFileForPlugin } from "../src/ipam/subnet-file-codec.ts";
import type { PluginSubnetFile } from "../src/ipam/subnet-file-codec.ts";

/**
 * @throws {CniError} with flannel's text and the daemon's own reason: 11 when there is no file (yet), 7 when it is not
 *   what it should be
 */
export async function loadSubnetFile(subnetFile: string): Promise<PluginSubnetFile> {
  let text: string;
  try {
    text = readFileSync(subnetFile, "utf8");
  } catch (error) {
    throw await explain(subnetFile, describeOpenError(error, subnetFile), ERROR_CODES.tryAgainLater);
  }
  try {
    return parseSubnetFileForPlugin(text, subnetFile);
  } catch (error) {
    throw await explain(subnetFile, (error as Error).message, ERROR_CODES.invalidConfig);
  }
}

/** Go's wording, which people search the web for. */
function describeOpenError(error: unknown, file: string): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return `open ${file}: no such file or directory`;
  if (code === "EACCES") return `open ${file}: permission denied`;
  return message;
}

async function explain(subnetFile: string, problem: string, code: number): Promise<CniError> {
  const reason = await askDaemon(statusSocketPath(subnetFile));
  return new CniError(
    code,
    `failed to load flannel 'subnet.env' file: ${problem}. Check the flannel pod log for this node. ${reason}`,
  );
}

const ASK_TIMEOUT_MS = 500;
const MAX_REASON_LENGTH = 1000;

/** One sentence: what the daemon's /readyz says on its local socket, or that it does not answer. */
async function askDaemon(socketPath: string): Promise<string> {
  // Loaded here: the way of success has no use for it, and it costs start-up time.
  const { request } = await import("node:http");
  return new Promise((resolve) => {
    const silent = (why: string) => {
      resolve(`flanneld does not answer on ${socketPath} (${why}): is it running on this node?`);
    };
    const asking = request(
      { socketPath, path: "/readyz", headers: { host: "localhost", connection: "close" } },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          body += chunk;
          if (body.length > MAX_REASON_LENGTH) response.destroy();
        });
        response.on("close", () => {
          const said = body.slice(0, MAX_REASON_LENGTH).trim();
          resolve(
            response.statusCode === 200
              ? `flanneld on this node says that it is ready: does its --subnet-file name the same file?`
              : `flanneld on this node says: ${said || `HTTP ${response.statusCode}`}`,
          );
        });
      },
    );
    const timer = setTimeout(() => {
      silent(`no answer within ${ASK_TIMEOUT_MS} ms`);
      asking.destroy();
    }, ASK_TIMEOUT_MS);
    asking.on("close", () => clearTimeout(timer));
    asking.on("error", (error: NodeJS.ErrnoException) => silent(error.code ?? error.message));
    asking.end();
  });
}
