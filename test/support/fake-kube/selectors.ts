// labelSelector and fieldSelector of a request, as a predicate on objects (API concepts, "Label selectors").
import { badRequest } from "./api-error.ts";
import { valueAt } from "./objects.ts";
import type { KubeObject } from "./objects.ts";
import type { ResourceType } from "./resources.ts";

export type ObjectFilter = (object: KubeObject) => boolean;

export interface SelectorQuery {
  readonly labelSelector: string;
  readonly fieldSelector: string;
  readonly namespace: string | undefined;
}

/** @throws {ApiError} 400 when a selector cannot be parsed or names a field that cannot be selected by */
export function compileFilter(type: ResourceType, query: SelectorQuery): ObjectFilter {
  const inNamespace: ObjectFilter = ({ metadata }) =>
    query.namespace === undefined || metadata.namespace === query.namespace;
  const requirements = [
    inNamespace,
    ...parseLabelSelector(query.labelSelector),
    ...parseFieldSelector(type, query.fieldSelector),
  ];
  return (object) => requirements.every((holds) => holds(object));
}

const IN = /^([^\s!=,()]+)\s+(in|notin)\s*\(([^)]*)\)$/;
const COMPARISON = /^([^\s!=,()]+)\s*(==|=|!=)\s*([^\s!=,()]*)$/;
const TRAILING = /^[^\s!=,()]+\s*(?:==|=|!=)\s*[^\s!=,()]*\s+([^\s,]+)/;
const EXISTENCE = /^(!?)\s*([^\s!=,()]+)$/;

function parseLabelSelector(text: string): ObjectFilter[] {
  // Commas separate requirements, except between the parentheses of "in".
  return splitSelector(text, /,(?![^(]*\))/).map((requirement) => {
    const label = (object: KubeObject, key: string): string | undefined => object.metadata.labels?.[key];
    const [, inKey = "", operator, list = ""] = IN.exec(requirement) ?? [];
    if (operator !== undefined) {
      const values = new Set(list.split(",").map((value) => value.trim()));
      return operator === "in"
        ? (object) => values.has(label(object, inKey) ?? "\0")
        : (object) => !values.has(label(object, inKey) ?? "\0");
    }
    const [, key = "", sign, value] = COMPARISON.exec(requirement) ?? [];
    if (sign !== undefined) {
      return (object) => (label(object, key) === value) === (sign !== "!=");
    }
    const [, not, existing] = EXISTENCE.exec(requirement) ?? [];
    if (existing === undefined) {
      const [, trailing] = TRAILING.exec(requirement) ?? [];
      if (trailing !== undefined) throw badRequest(`found '${trailing}', expected: ',' or 'end of string'`);
      throw badRequest(`unable to parse requirement: ${requirement}`);
    }
    return (object) => (label(object, existing) !== undefined) === (not === "");
  });
}

function parseFieldSelector(type: ResourceType, text: string): ObjectFilter[] {
  return splitSelector(text, ",").map((requirement) => {
    const [, field = "", sign, value = ""] = /^([^!=]+)(==|=|!=)(.*)$/.exec(requirement) ?? [];
    if (sign === undefined) {
      throw badRequest(`invalid selector: '${requirement}'; can't understand '${requirement}'`);
    }
    const isCommon = field === "metadata.name" || (field === "metadata.namespace" && type.namespaced);
    if (!isCommon && !type.selectableFields.includes(field)) {
      throw badRequest(
        type.selectableFields.length > 0
          ? `field label not supported: ${field}`
          : `"${field}" is not a known field selector: only "metadata.name", "metadata.namespace"`,
      );
    }
    return (object) => (selectableText(valueAt(object, field)) === value) === (sign !== "!=");
  });
}

function selectableText(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "boolean" ? String(value) : "";
}

function splitSelector(text: string, separator: string | RegExp): string[] {
  if (text.trim() === "") return [];
  return text.split(separator).map((part) => part.trim());
}
