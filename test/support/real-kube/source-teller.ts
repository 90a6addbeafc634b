// A server that tells each client by which address it is seen, in a pod or a machine; it ends with them.
import path from "node:path";
import { TELL_SOURCE_PORT } from "../../../lab/matrix.ts";
import type { Machine, MachineProcess } from "../../../lab/machine.ts";
import { waitFor } from "../wait.ts";

const PROGRAM = path.resolve(import.meta.dirname, "../../../lab/tell-source.ts");

/** Listens on TELL_SOURCE_PORT of every address. */
export async function startSourceTeller(place: Pick<Machine, "spawn">): Promise<MachineProcess> {
  const server = await place.spawn(process.execPath, [PROGRAM, "::", String(TELL_SOURCE_PORT)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  server.child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  await waitFor("the server to listen", () => output.includes("ready"));
  return server;
}
