// How many random cases a property tries.

/** `PROPERTY_RUNS=20` tries twenty times as many, to hunt; see property-setup.ts. @throws {Error} for what is no number */
export function runs(count: number): number {
  return Math.ceil(count * numberOf("PROPERTY_RUNS", 1));
}

/** A number from the environment. @throws {Error} naming the variable */
export function numberOf(variable: string, otherwise: number): number {
  const text = process.env[variable];
  if (text === undefined || text === "") return otherwise;
  const number = Number(text);
  if (Number.isFinite(number)) return number;
  throw new Error(`${variable}=${text}: must be a number`);
}
