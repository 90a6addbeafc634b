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
