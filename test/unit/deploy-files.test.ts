// What lies in deploy/ agrees with the program: variables, defaults, and units that systemd accepts.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import { DEFAULT_CONFLIST } from "../../src/daemon/conflist.ts";
import { parseOptions } from "../../src/daemon/options.ts";

function variablesOf(file: string, includeCommented: boolean): Record<string, string> {
  const pattern = includeCommented ? /^#?([A-Z][A-Z0-9_]*)=(.*)$/gm : /^([A-Z][A-Z0-9_]*)=(.*)$/gm;
  const text = readFileSync(file, "utf8");
  return Object.fromEntries([...text.matchAll(pattern)].map(([, name = "", value = ""]) => [name, value]));
}

it("the conflist is the one that the daemon writes", () => {
  expect(JSON.parse(readFileSync("deploy/cni-conf.json", "utf8"))).toEqual(DEFAULT_CONFLIST);
});

describe("flanneld-ts.env", () => {
  it.each([
    ["as shipped", false],
    ["with everything turned on", true],
  ])("%s starts the daemon without a warning", (_name, includeCommented) => {
    const variables = variablesOf("deploy/flanneld-ts.env", includeCommented);
    expect(parseOptions([], variables)).toMatchObject({
      kind: "run",
      warnings: [],
      options: { ipMasq: true },
    });
  });

  it("names only variables of flags, but for the one of further flags", () => {
    const { FLANNELD_OPTIONS: further, ...variables } = variablesOf("deploy/flanneld-ts.env", true);
    expect(further).toBe("");
    for (const [name, value] of Object.entries(variables)) {
      const flag = name.replace("FLANNELD_", "").toLowerCase().replaceAll("_", "-");
      expect(parseOptions([`--${flag}=${value}`], {}), name).toMatchObject({ kind: "run" });
    }
  });
});

const SYSTEMD_ANALYZE = "/usr/bin/systemd-analyze";

describe.skipIf(!existsSync(SYSTEMD_ANALYZE))(`units (needs ${SYSTEMD_ANALYZE})`, () => {
  it.each(["deploy/flanneld-ts.service", "deploy/classic/flanneld.service"])(
    "%s is accepted by systemd",
    (unit) => {
      const directory = mkdtempSync(join(tmpdir(), "fts-unit-"));
      try {
        // The programs need not be installed here; systemd would complain of nothing else.
        const text = readFileSync(unit, "utf8").replaceAll(/^(Exec\w+=)\S+/gm, "$1/bin/true");
        const copy = join(directory, basename(unit));
        writeFileSync(copy, text);
        const { status, stderr } = spawnSync(SYSTEMD_ANALYZE, ["verify", "--man=no", copy], {
          encoding: "utf8",
        });
        expect({
          status,
          complaints: stderr.split("\n").filter((line) => line.includes(basename(unit))),
        }).toEqual({
          status: 0,
          complaints: [],
        });
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    },
  );
});
