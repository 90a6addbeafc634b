// Declares one test per scenario: real packets agree with `evaluate`, and `evaluate` with what upstream states.
import { expect, test } from "vitest";
import type { Verdict } from "../../../src/policy/snapshot.ts";
import { objectKey } from "../../../src/policy/snapshot.ts";
import { cellsOf, evaluateCells, formatCell, statedVerdicts } from "./expectation.ts";
import type { Cell, Service } from "./expectation.ts";
import type { Probe } from "./probe.ts";
import type { Objects, World } from "./world.ts";

export interface Scenario extends Objects {
  readonly name: string;
  /** Probed. Default: both ports by TCP, the first by UDP. */
  readonly services?: readonly Service[];
  /** Where upstream says what must come of it, see `statedVerdicts`. */
  readonly upstream?: readonly string[];
}

const DEFAULT_SERVICES: readonly Service[] = [
  { port: 80, protocol: "TCP" },
  { port: 81, protocol: "TCP" },
  { port: 80, protocol: "UDP" },
];

export function testScenarios(world: () => World, scenarios: readonly Scenario[]): void {
  test.for(scenarios.map((scenario) => [scenario.name, scenario] as const))("%s", async ([, scenario]) => {
    const { services = DEFAULT_SERVICES, upstream } = scenario;
    const snapshot = await world().apply(scenario);
    const cells = cellsOf(snapshot.pods, services);
    const expected = evaluateCells(snapshot, cells);
    if (upstream !== undefined) expect(differences(expected, statedVerdicts(upstream, cells))).toEqual([]);
    expect(differences(await probe(world(), cells), expected)).toEqual([]);
  });
}

async function probe(world: World, cells: readonly Cell[]): Promise<ReadonlyMap<Cell, Verdict | "silent">> {
  const byPod = Map.groupBy(cells, ({ from }) => objectKey(from));
  const probes = new Map(
    Array.from(byPod, ([key, list]) => [
      key,
      list.map(({ to, port, protocol }): Probe => ({ address: to.ips[0] ?? "", port, protocol })),
    ]),
  );
  const answers = await world.ask(probes);
  const verdicts = { open: "accept", refused: "deny", silent: "silent" } as const;
  return new Map(
    Array.from(byPod, ([key, list]) =>
      list.map((cell, i) => [cell, verdicts[answers.get(key)?.[i] ?? "silent"]] as const),
    ).flat(),
  );
}

function differences(
  actual: ReadonlyMap<Cell, string>,
  expected: ReadonlyMap<Cell, Verdict>,
): readonly string[] {
  return Array.from(expected, ([cell, verdict]) =>
    actual.get(cell) === verdict ? [] : [`${formatCell(cell)}: ${actual.get(cell)}, expected ${verdict}`],
  ).flat();
}
