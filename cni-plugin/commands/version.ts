// VERSION: which versions of the specification we speak.
import { NEWEST_VERSION, SUPPORTED_VERSIONS } from "../protocol.ts";

/** The version result. As libcni's plugins do, without waiting for standard input. */
export function version(): string {
  return `${JSON.stringify({ cniVersion: NEWEST_VERSION, supportedVersions: SUPPORTED_VERSIONS })}\n`;
}
