// Which transport a daemon gets where raw-socket or ping is missing, and what it is told.
import { expect, it } from "vitest";
import type { Exec } from "../../../src/kernel/exec.ts";
import { chooseTransport } from "../../../src/prober/choose-transport.ts";

const pingOf =
  (version: string): Exec =>
  () =>
    Promise.resolve({ exitCode: 0, stdout: version, stderr: "" });
const failing = (message: string, code?: string) => (): Promise<never> =>
  Promise.reject(Object.assign(new Error(message), code === undefined ? {} : { code }));

it.each([
  [
    failing("Cannot find package 'raw-socket'", "ERR_MODULE_NOT_FOUND"),
    /was not built with this daemon .*; using ping/,
  ],
  [failing("wrong ELF class", "ERR_DLOPEN_FAILED"), /another Node or processor .*; using ping/],
  [failing("Operation not permitted"), /CAP_NET_RAW; using ping/],
] as const)("is ping where raw-socket cannot be had", async (loadRawSocket, note) => {
  const chosen = await chooseTransport({ exec: pingOf("ping from iputils 20221126"), loadRawSocket });
  expect(chosen.transport.name).toBe("ping");
  expect(chosen.note).toMatch(note);
});

it("is none with BusyBox's ping alone, which cannot forbid fragmentation; the cure is named", async () => {
  const choice = chooseTransport({
    exec: pingOf("BusyBox v1.35.0"),
    loadRawSocket: failing("Operation not permitted"),
  });
  await expect(choice).rejects.toThrow(/CAP_NET_RAW; and ping is not iputils'.*iputils-ping/);
});
