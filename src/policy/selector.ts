// Label selectors: whether they match, and one text for equal ones.
import type { Labels, Requirement, Selector } from "./snapshot.ts";

/** True if every requirement holds (API: LabelSelector). */
export function selects(selector: Selector, labels: Labels): boolean {
  return selector.every((requirement) => holds(requirement, labels));
}

/** NotIn and DoesNotExist hold where the key is missing (apimachinery labels.Requirement.Matches). */
function holds({ key, operator, values }: Requirement, labels: Labels): boolean {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
  }
}

/** The selector as kubectl writes it (`app=web,tier notin (a,b),!old`), equal for selectors that say the same. */
export function formatSelector(selector: Selector): string {
  const parts = selector.map(formatRequirement);
  return parts.length === 0 ? "*" : [...new Set(parts)].sort().join(",");
}

/** One form for selectors that say the same: what is printed alike is alike. */
export function canonicalSelector(selector: Selector): Selector {
  const byText = new Map(selector.map((requirement) => [formatRequirement(requirement), requirement]));
  return [...byText]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { key, operator, values }]) => {
      const counts = operator === "In" || operator === "NotIn";
      return { key, operator, values: counts ? [...new Set(values)].sort() : [] };
    });
}

function formatRequirement({ key, operator, values }: Requirement): string {
  const list = [...new Set(values)].sort();
  switch (operator) {
    case "In":
      return list.length === 1 ? `${key}=${list[0]}` : `${key} in (${list.join(",")})`;
    case "NotIn":
      return list.length === 1 ? `${key}!=${list[0]}` : `${key} notin (${list.join(",")})`;
    case "Exists":
      return key;
    case "DoesNotExist":
      return `!${key}`;
  }
}
