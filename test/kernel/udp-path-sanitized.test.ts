// The udp backend's data path under AddressSanitizer and UndefinedBehaviorSanitizer: what strangers send, and much traffic.
import { execFileSync } from "node:child_process";
import path from "node:path";
import { beforeAll } from "vitest";
import { buildNative } from "../../scripts/build-native.ts";
import { useLink } from "../support/udp-owned.ts";
import { describePair, describeRelay } from "../support/udp-path-suite.ts";
import { describeWire } from "../support/udp-wire-suite.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
/** The sanitizer must be in the process before the addon. */
const library = execFileSync("cc", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim();

beforeAll(() => {
  buildNative({ sanitize: true });
});
useLink({
  UDP_ADDON: path.join(ROOT, "dist/udp-asan.node"),
  LD_PRELOAD: library,
  // Node's own heap is freed by the end of the process. A report ends the process, and so fails the test that waits for it.
  ASAN_OPTIONS: "detect_leaks=0",
});
describeWire();
describePair("with offload", { offload: true });
describeRelay();
