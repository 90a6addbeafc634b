// Reads what `-f` names: files, folders of them, standard input.
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { parseDocuments } from "./policy-parse.ts";
import type { InputDocument } from "./policy-parse.ts";

/** What kubectl takes of a folder. */
const MANIFEST = /\.(yaml|yml|json)$/;

/** Documents in order. What cannot be read is a document with a problem. */
export async function readInputs(
  names: readonly string[],
  stdin: AsyncIterable<string | Uint8Array>,
): Promise<readonly InputDocument[]> {
  const documents: InputDocument[] = [];
  for (const name of names) documents.push(...(await readInput(name, stdin)));
  return documents;
}

async function readInput(
  name: string,
  stdin: AsyncIterable<string | Uint8Array>,
): Promise<readonly InputDocument[]> {
  if (name === "-") return parseDocuments(await readAll(stdin), "standard input");
  try {
    const files = (await stat(name)).isDirectory()
      ? (await readdir(name))
          .filter((file) => MANIFEST.test(file))
          .toSorted()
          .map((file) => path.join(name, file))
      : [name];
    const texts = await Promise.all(files.map((file) => readFile(file, "utf8")));
    return files.flatMap((file, index) => parseDocuments(texts[index] ?? "", file));
  } catch (error) {
    const hint = /^https?:/.test(name)
      ? " (an address is not fetched; curl ... | flanneld-ts policy apply -f -)"
      : "";
    return [{ source: name, problem: `cannot be read: ${(error as Error).message}${hint}` }];
  }
}

async function readAll(stream: AsyncIterable<string | Uint8Array>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream)
    chunks.push(typeof chunk === "string" ? Buffer.from(chunk) : Buffer.from(chunk));
  return Buffer.concat(chunks).toString("utf8");
}
