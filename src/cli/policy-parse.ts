// YAML and JSON as kubectl reads them: several documents in a text, lists of objects, no key twice. Pure.
import { parseAllDocuments } from "yaml";
import { isObject } from "../policy/problems.ts";

export interface InputDocument {
  /** For messages: "policy.yml", or "policy.yml, document 2". */
  readonly source: string;
  readonly input?: unknown;
  /** Why the text could not be read. */
  readonly problem?: string;
}

/** Documents that are empty are left out, and the items of lists stand for themselves. */
export function parseDocuments(text: string, file: string): readonly InputDocument[] {
  // YAML 1.1 as in Kubernetes: a bare yes or on is a boolean there, and no label value. Times are texts in JSON.
  const parsed = parseAllDocuments(text, {
    version: "1.1",
    prettyErrors: true,
    customTags: (tags) =>
      tags.filter((tag) => typeof tag === "string" || tag.tag !== "tag:yaml.org,2002:timestamp"),
  });
  const documents = Array.isArray(parsed) ? parsed : [];
  return documents.flatMap((document, index): readonly InputDocument[] => {
    const source = documents.length > 1 ? `${file}, document ${index + 1}` : file;
    const [error] = document.errors;
    if (error !== undefined) return [{ source, problem: firstLine(error.message) }];
    let input: unknown;
    try {
      input = document.toJS();
    } catch (thrown) {
      return [{ source, problem: (thrown as Error).message }];
    }
    if (input === null || input === undefined) return [];
    return itemsOf(input).map((item, place, { length }) => ({
      source: length > 1 ? `${source}, items[${place}]` : source,
      input: item,
    }));
  });
}

/** What `kubectl get -o yaml` prints of several objects. */
function itemsOf(input: unknown): readonly unknown[] {
  if (!isObject(input)) return [input];
  const { kind, items } = input;
  return typeof kind === "string" && kind.endsWith("List") && Array.isArray(items) ? items : [input];
}

/** The rest is a drawing of the place, which the line names. */
function firstLine(message: string): string {
  return (message.split("\n", 1)[0] ?? "").replace(/:$/, "");
}
