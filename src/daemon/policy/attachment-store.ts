// Attachments on disk: one file each, so that a restarted daemon knows the pods whose addresses the API does not show yet.
import { existsSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { instanceOf } from "../../host/status-socket-path.ts";
import { writeFileAtomically } from "../../host/write-file.ts";
import type { Logger } from "../../net/logger.ts";
import { formatProblem, isObject } from "../../policy/problems.ts";
import type { Problem } from "../../policy/problems.ts";
import { attachmentId, readAttachment } from "./attachment.ts";
import type { AttachmentKey, StoredAttachment } from "./attachment.ts";

export interface AttachmentStore {
  /** All that can be read; what cannot is named in the log, and its pod stays closed until it is announced anew. */
  load(): readonly StoredAttachment[];
  /** @throws system errors */
  save(attachment: StoredAttachment): void;
  /** Absent is success. @throws system errors */
  remove(key: AttachmentKey): void;
}

/** Beside the subnet file: `/run/flannel/attachments`, for a further daemon of the host `/run/flannel/attachments-NAME`. */
export function attachmentDirectory(subnetFile: string): string {
  const instance = instanceOf(subnetFile);
  return join(dirname(subnetFile), instance === "" ? "attachments" : `attachments-${instance}`);
}

const SUFFIX = ".json";

/** The directory is made with the first file. */
export function createAttachmentStore(directory: string, log: Logger): AttachmentStore {
  const fileOf = (key: AttachmentKey): string =>
    join(directory, `${encodeURIComponent(attachmentId(key))}${SUFFIX}`);
  return {
    load: () =>
      listFiles(directory).flatMap((file) => {
        const problems: Problem[] = [];
        try {
          const attachment = readStored(JSON.parse(readFileSync(file, "utf8")), problems);
          if (problems.length === 0) return attachment;
        } catch (error) {
          problems.push({ path: "", message: (error as Error).message });
        }
        log.warn(
          { file },
          `the attachment in ${file} cannot be read (${problems.map(formatProblem).join("; ")}): its pod stays closed ` +
            "until the API shows its address, or it is made anew",
        );
        return [];
      }),
    save: (attachment) => writeFileAtomically(fileOf(attachment), `${JSON.stringify(attachment)}\n`, 0o600),
    remove: (key) => rmSync(fileOf(key), { force: true }),
  };
}

function listFiles(directory: string): readonly string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => name.endsWith(SUFFIX) && !name.startsWith("."))
    .map((name) => join(directory, name));
}

function readStored(value: unknown, problems: Problem[]): StoredAttachment {
  const announced = readAttachment(value, (path, message) => problems.push({ path, message }));
  const { attachedAtMs, detached } = isObject(value) ? value : {};
  const { namespace, name } = announced;
  if (namespace === undefined || name === undefined)
    problems.push({ path: "name", message: "and namespace are missing" });
  return {
    ...announced,
    namespace: namespace ?? "",
    name: name ?? "",
    attachedAtMs: typeof attachedAtMs === "number" ? attachedAtMs : 0,
    detached: detached === true,
  };
}
