// The text of --help, reviewed as documentation.
import { expect, it } from "vitest";
import { usageText } from "../../src/cli/help.ts";
import { FLAG_TABLE } from "../../src/daemon/options-table.ts";
import { ENVIRONMENT_PREFIX } from "../../src/daemon/options.ts";

it("is as reviewed, and fits a terminal", async () => {
  const text = usageText(FLAG_TABLE, ENVIRONMENT_PREFIX);
  await expect(text).toMatchFileSnapshot("help.txt");
  expect(text.split("\n").filter((line) => line.length > 100)).toEqual([]);
});
