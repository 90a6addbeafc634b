// Stops and continues a process of a lab machine by signal.
import { readFileSync } from "node:fs";

/**
 * SIGSTOP: the process keeps its connections and answers nobody. Returns what continues it. nsenter, its parent, stops
 * itself when its child is stopped, and would then never see its end.
 * @param pid in our own PID namespace
 */
export function freeze(pid: number): () => void {
  const parent = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  process.kill(pid, "SIGSTOP");
  return () => {
    process.kill(pid, "SIGCONT");
    process.kill(parent, "SIGCONT");
  };
}
