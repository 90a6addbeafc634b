// The text of `policy matrix`, for a person. Pure.
import { printable } from "../net/printable.ts";
import type { MatrixCell, MatrixReport } from "../policy/matrix.ts";

const SYMBOLS: Readonly<Record<MatrixCell, string>> = { allowed: ".", denied: "X", partly: "p", none: "-" };
const MEANINGS: Readonly<Record<MatrixCell, string>> = {
  allowed: "reaches",
  denied: "does not",
  partly: "reaches in part (policy explain FROM TO says which part)",
  none: "no address of the same family, or no port of that name",
};

export function renderMatrix({ asked, namespace, pods, total, cells }: MatrixReport): string {
  const where = namespace === undefined ? "" : ` in namespace ${namespace}`;
  if (pods.length === 0) return `No pods with addresses of their own${where}\n`;
  const names = pods.map(printable);
  const width = Math.max(...names.map(({ length }) => length));
  const digits = String(pods.length).length;
  const number = (index: number): string => String(index + 1).padStart(digits);
  const rows = names.map((name, from) => {
    const row = (cells[from] ?? []).map((cell) => SYMBOLS[cell].padStart(digits)).join(" ");
    return `  ${number(from)} ${name.padEnd(width)}  ${row}`;
  });
  const used = new Set(cells.flat());
  const legend = (Object.keys(SYMBOLS) as readonly MatrixCell[])
    .filter((cell) => used.has(cell))
    .map((cell) => `  ${SYMBOLS[cell]} ${MEANINGS[cell]}`);
  const lines = [
    `Who reaches whom${where}, ${asked}: from the pod of the row to the pod of the column`,
    "",
    `  ${" ".repeat(digits)} ${" ".repeat(width)}  ${names.map((_, index) => number(index)).join(" ")}`,
    ...rows,
    "",
    ...legend,
    ...(total > pods.length
      ? [`Only the first ${pods.length} of ${total} pods are shown; choose a namespace with -n`]
      : []),
  ];
  return `${lines.join("\n")}\n`;
}
