// The native reader of NFLOG groups (native/nflog): a socket of this process, which needs no capability that rules do not need.
import { Socket } from "node:net";
import { getSystemErrorName } from "node:util";
import type { ByteHandlers, LineProcess } from "../exec.ts";
import { loadOptionalAddon } from "../native-addon.ts";

export interface NflogAddon {
  /**
   * Binds the group in this process's network namespace.
   * @returns the file descriptor of a pipe with pcap's file format (LINKTYPE_NFLOG); closing it lets go of the group
   * @throws {Error} `code` is the step that failed, `errno` the kernel's answer
   */
  open(group: number, copyBytes: number): number;
}

/** Loads nflog.node; undefined where it cannot be had: tcpdump reads groups too. */
export function loadNflogAddon(file?: string): NflogAddon | undefined {
  return loadOptionalAddon("nflog", file) as NflogAddon | undefined;
}

/** Reads the group as a child would that prints it. A group that cannot be had is one that ends at once. */
export function readGroup(
  addon: NflogAddon,
  { group, copyBytes }: { readonly group: number; readonly copyBytes: number },
  { signal, onBytes, onErrorLine }: ByteHandlers,
): LineProcess {
  let fd: number;
  try {
    fd = addon.open(group, copyBytes);
  } catch (error) {
    const { code, errno = 0, message } = error as NodeJS.ErrnoException;
    onErrorLine(`NFLOG group ${group}: ${code}: ${errno === 0 ? message : getSystemErrorName(-errno)}`);
    return { pid: undefined, ended: Promise.resolve("not opened") };
  }
  const pipe = new Socket({ fd, readable: true, writable: false });
  const stop = (): void => void pipe.destroy();
  const { promise: ended, resolve } = Promise.withResolvers<string>();
  pipe.on("data", onBytes);
  pipe.on("error", (error) => onErrorLine(error.message));
  pipe.on("close", () => {
    signal.removeEventListener("abort", stop);
    resolve("closed");
  });
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop);
  return { pid: undefined, ended };
}
