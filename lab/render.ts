// The lab's tables as text: nodes and the connectivity matrix. Pure.
import { OUTSIDE } from "./plan-matrix.ts";
import type { CellKind, CellResult, Matrix } from "./plan-matrix.ts";

/** Wraps text in a colour, or leaves it alone. */
export interface Paint {
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
  readonly faint: (text: string) => string;
}

const plain = (text: string): string => text;
export const PLAIN: Paint = { good: plain, bad: plain, faint: plain };
export const COLOUR: Paint = {
  good: (text) => `\u001B[32m${text}\u001B[0m`,
  bad: (text) => `\u001B[1;31m${text}\u001B[0m`,
  faint: (text) => `\u001B[2m${text}\u001B[0m`,
};

/** One text in a table; `paint` is put on after padding, as colours have no width. */
interface TableCell {
  readonly text: string;
  readonly paint?: (text: string) => string;
}

type Row = readonly (string | TableCell)[];

/** Columns padded to their widest cell, two spaces between. */
export function renderTable(rows: readonly Row[]): string {
  const cells = rows.map((row) => row.map((cell) => (typeof cell === "string" ? { text: cell } : cell)));
  const widths: number[] = [];
  for (const row of cells) {
    for (const [i, { text }] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, text.length);
  }
  return cells
    .map((row) =>
      row
        .map(({ text, paint = plain }, i) => {
          const isLast = i === row.length - 1;
          return paint(text) + (isLast ? "" : " ".repeat((widths[i] ?? 0) - text.length + 2));
        })
        .join(""),
    )
    .map((line) => `  ${line}\n`)
    .join("");
}

export interface NodeRow {
  readonly name: string;
  readonly publicIp: string;
  readonly subnet: string;
  readonly backend: string;
  /** Bytes; of the pods. */
  readonly mtu: string;
  readonly pods: readonly string[];
}

export function renderNodes(nodes: readonly NodeRow[], paint: Paint): string {
  const head: Row = ["NODE", "PUBLIC IP", "SUBNET", "BACKEND", "MTU", "PODS"].map((text) => ({
    text,
    paint: paint.faint,
  }));
  return renderTable([
    head,
    ...nodes.map(({ name, publicIp, subnet, backend, mtu, pods }): Row => [
      name,
      publicIp,
      subnet,
      backend,
      mtu,
      pods.join(" "),
    ]),
  ]);
}

/**
 * Round-trip times in milliseconds, one row per pod. Where that is wider than `columns`, one character per cell:
 * "." for an answer, "X" for none.
 */
export function renderMatrix(matrix: Matrix, paint: Paint, columns = 120): string {
  const froms = unique(matrix.cells.map(({ from }) => from));
  const named = (kind: CellKind): string[] =>
    unique(matrix.cells.filter((cell) => cell.kind === kind).map(({ to }) => to));
  const tos = [...froms, ...named("node"), ...named("outside")];
  const byPair = new Map(matrix.cells.map((cell) => [`${cell.from} ${cell.to}`, cell]));
  const wide: Row[] = [
    [{ text: "ms", paint: paint.faint }, ...tos.map((text) => ({ text, paint: paint.faint }))],
    ...froms.map((from): Row => [from, ...tos.map((to) => renderCell(byPair.get(`${from} ${to}`), paint))]),
  ];
  const text = renderTable(wide);
  if (
    Math.max(
      ...renderTable(wide.map(stripPaint))
        .split("\n")
        .map(({ length }) => length),
    ) <= columns
  )
    return text;
  return renderCompact(froms, tos, byPair, paint);
}

function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}

function renderCell(cell: CellResult | undefined, paint: Paint): TableCell {
  if (cell === undefined) return { text: "-", paint: paint.faint };
  if (!cell.ok) return { text: "FAIL", paint: paint.bad };
  const rtt = (cell.rttMs ?? 0).toFixed(2);
  // At the far end the pod must look like its node.
  return { text: cell.to === OUTSIDE ? `${rtt} as ${cell.sourceSeen ?? "?"}` : rtt, paint: paint.good };
}

function stripPaint(row: Row): Row {
  return row.map((cell) => (typeof cell === "string" ? cell : cell.text));
}

function renderCompact(
  froms: readonly string[],
  tos: readonly string[],
  byPair: ReadonlyMap<string, CellResult>,
  paint: Paint,
): string {
  const width = Math.max(...froms.map(({ length }) => length));
  const symbol = (cell: CellResult | undefined): string => {
    if (cell === undefined) return paint.faint("-");
    return cell.ok ? paint.good(".") : paint.bad("X");
  };
  const rows = froms.map(
    (from) => `  ${from.padEnd(width)}  ${tos.map((to) => symbol(byPair.get(`${from} ${to}`))).join("")}\n`,
  );
  return `  ${"".padEnd(width)}  columns: ${tos.join(" ")}\n${rows.join("")}`;
}

const MAX_FAILURES_SHOWN = 12;

/** What was tried for each failed cell, and what came of it. */
export function renderFailures(matrix: Matrix): string {
  const failed = matrix.cells.filter(({ ok }) => !ok);
  const shown = failed.slice(0, MAX_FAILURES_SHOWN);
  const rest = failed.length - shown.length;
  return [
    ...shown.map((cell) => `  ${cell.from} -> ${cell.to} (${cell.address}): ${cell.problem ?? "failed"}\n`),
    ...(rest > 0 ? [`  and ${rest} more\n`] : []),
  ].join("");
}
