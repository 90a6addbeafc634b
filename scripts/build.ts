// Builds what ships: the daemon bundle (Node 24) and the self-contained CNI executable.
import { readFileSync } from "node:fs";
import { buildCniPlugin } from "./build-cni-plugin.ts";
import { buildDaemon } from "./build-daemon.ts";
import { buildNative } from "./build-native.ts";

process.chdir(new URL("..", import.meta.url).pathname);
const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
buildNative();
await Promise.all([buildDaemon(version), buildCniPlugin()]);
