// subnet.env on disk: what CNI plugins and mk-docker-opts wait for, and what we start again from.
import { readFile } from "node:fs/promises";
import { writeFileAtomically } from "../host/write-file.ts";
import { parsePreviousSubnetFile } from "./subnet-file-codec.ts";
import type { PreviousSubnetFile } from "./subnet-file-codec.ts";

/** flannel's, whatever the umask: CNI plugins and container runtimes read it, not all of them as root. */
const FILE_MODE = 0o644;

/** Replaces the file atomically and durably; makes its directory. @throws the system error of the step that failed */
export function writeSubnetFile(path: string, content: string): void {
  writeFileAtomically(path, content, FILE_MODE);
}

/** The subnets of the last run. A file that is absent, unreadable or broken says nothing, which is normal on a first start. */
export async function readPreviousSubnetFile(path: string): Promise<PreviousSubnetFile> {
  try {
    return parsePreviousSubnetFile(await readFile(path, "utf8"));
  } catch {
    return {};
  }
}
