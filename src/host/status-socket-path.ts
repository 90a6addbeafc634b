// What tells daemons of one host apart: the name of the subnet file, and the status socket that lies beside it.
import { basename, dirname, join } from "node:path";

/**
 * `/run/flannel/subnet.env` gives `/run/flannel/flanneld.sock`; any other name keeps daemons that share a directory
 * apart: `/run/flannel/blue.env` gives `/run/flannel/flanneld-blue.sock`.
 */
export function statusSocketPath(subnetFile: string): string {
  const instance = instanceOf(subnetFile);
  return join(dirname(subnetFile), instance === "" ? "flanneld.sock" : `flanneld-${instance}.sock`);
}

/** The daemon's name on its host: "" for `subnet.env`, "blue" for `blue.env`. */
export function instanceOf(subnetFile: string): string {
  const name = basename(subnetFile);
  return name === "subnet.env" ? "" : name.replace(/\.env$/, "");
}
