// A LabelSelector of the API as a Selector, checked as the API server checks it.
import { labelKeyProblem, labelValueProblem } from "./names-validation.ts";
import { describeValue, isGiven, isObject, readList, readObject } from "./problems.ts";
import type { Report } from "./problems.ts";
import type { Requirement, Selector } from "./snapshot.ts";

const OPERATORS: readonly Requirement["operator"][] = ["In", "NotIn", "Exists", "DoesNotExist"];

/**
 * The requirements of matchLabels and matchExpressions. Undefined if any of them cannot be understood: a selector with a
 * requirement less would select more than it says. Unknown fields are not looked at here.
 */
export function translateSelector(value: unknown, path: string, report: Report): Selector | undefined {
  if (!isObject(value)) {
    report(path, `must be a label selector (an object), not ${describeValue(value)}`);
    return undefined;
  }
  const labels = translateMatchLabels(value["matchLabels"], `${path}.matchLabels`, report);
  const expressions = translateExpressions(value["matchExpressions"], `${path}.matchExpressions`, report);
  return labels && expressions && [...labels, ...expressions];
}

function translateMatchLabels(value: unknown, path: string, report: Report): Selector | undefined {
  if (!isGiven(value)) return [];
  const labels = readObject(value, path, report);
  if (labels === undefined) return undefined;
  let sound = true;
  const requirements = Object.entries(labels).map(([key, text]): Requirement => {
    for (const problem of [labelKeyProblem(key), labelValueProblem(text)]) {
      if (problem === undefined) continue;
      report(`${path}.${key}`, problem);
      sound = false;
    }
    return { key, operator: "In", values: [String(text)] };
  });
  return sound ? requirements : undefined;
}

function translateExpressions(value: unknown, path: string, report: Report): Selector | undefined {
  const list = readList(value, path, report);
  const requirements = list?.map((item, index) => translateExpression(item, `${path}[${index}]`, report));
  return requirements?.every((requirement) => requirement !== undefined) ? requirements : undefined;
}

function translateExpression(value: unknown, path: string, report: Report): Requirement | undefined {
  if (!isObject(value)) {
    report(path, `must be an object with key and operator, not ${describeValue(value)}`);
    return undefined;
  }
  const key = value["key"];
  const keyProblem = labelKeyProblem(key);
  if (keyProblem !== undefined) report(`${path}.key`, keyProblem);
  const operator = OPERATORS.find((known) => known === value["operator"]);
  if (operator === undefined)
    report(
      `${path}.operator`,
      `must be one of ${OPERATORS.join(", ")}, not ${describeValue(value["operator"])}`,
    );
  const values = translateValues(value["values"], operator, `${path}.values`, report);
  if (keyProblem !== undefined || operator === undefined || values === undefined) return undefined;
  return { key: String(key), operator, values };
}

function translateValues(
  value: unknown,
  operator: Requirement["operator"] | undefined,
  path: string,
  report: Report,
): readonly string[] | undefined {
  const list = readList(value, path, report);
  if (list === undefined) return undefined;
  const wantsValues = operator === "In" || operator === "NotIn";
  if (operator !== undefined && wantsValues !== list.length > 0) {
    report(
      path,
      wantsValues ? `must not be empty with operator ${operator}` : `must be empty with operator ${operator}`,
    );
    return undefined;
  }
  const problems = list.map((item) => labelValueProblem(item));
  for (const [index, problem] of problems.entries()) {
    if (problem !== undefined) report(`${path}[${index}]`, problem);
  }
  return problems.every((problem) => problem === undefined) ? list.map(String) : undefined;
}
