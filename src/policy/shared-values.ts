// Keeps one copy of what thousands of pods have in common: a daemon's memory is small, a cluster is not.
import type { Labels, NamedPort } from "./snapshot.ts";

/** Distinct values per generation; two generations are kept. More are rarely shared by many. */
const GENERATION_SIZE = 2_000;

/** Values are equal to those given, and mostly the same as those given before. What was not asked for lately is forgotten. */
export class SharedValues {
  #young = new Map<string, unknown>();
  #old = new Map<string, unknown>();

  text(text: string): string {
    return this.#share(`t${text}`, text);
  }

  labels(labels: Labels): Labels {
    return this.#share(`l${JSON.stringify(labels)}`, labels);
  }

  ports(ports: readonly NamedPort[]): readonly NamedPort[] {
    return this.#share(`p${JSON.stringify(ports)}`, ports);
  }

  #share<T>(key: string, value: T): T {
    const known = this.#young.get(key);
    if (known !== undefined) return known as T;
    if (this.#young.size >= GENERATION_SIZE) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    // A key has values of one type only: its first letter tells which.
    const shared = (this.#old.get(key) as T | undefined) ?? value;
    this.#young.set(key, shared);
    return shared;
  }
}
