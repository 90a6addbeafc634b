// What every kernel table is made of.
import type { Ownership } from "../host/ownership.ts";
import type { Exec } from "./exec.ts";

export interface TableModules {
  readonly ownership: Ownership;
  readonly exec: Exec;
}
