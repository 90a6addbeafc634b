// Fuzzes the packet parser of the udp backend (native/fuzz): with libFuzzer where clang has it, else with its own mutations.
// By hand: node scripts/fuzz.ts [--seconds N] [--seed N]. An input that breaks it is saved; put it into native/fuzz/corpus.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { findCompiler, SANITIZERS } from "./build-native.ts";

const ROOT = path.resolve(import.meta.dirname, "..");
const TARGET = path.join(ROOT, "native/fuzz/fuzz-packets.c");
const CORPUS = path.join(ROOT, "native/fuzz/corpus");
/** Debian's names; libFuzzer is in libclang-rt-NN-dev. */
const CLANGS: readonly string[] = ["clang", "clang-14", "clang-19"];
/** What has no I/O. */
const PURE_SOURCES: readonly string[] = ["checksum", "packet", "peers", "receive", "coalesce", "segment"];

export interface FuzzResult {
  readonly ok: boolean;
  readonly output: string;
  /** Where an input that broke it was saved; gone if none did. */
  readonly directory: string;
}

/** Builds the fuzzer and runs it for some seconds. @throws where there is no C compiler */
export function runFuzzer({
  seconds,
  seed,
}: {
  readonly seconds: number;
  readonly seed: number;
}): FuzzResult {
  const directory = mkdtempSync(path.join(tmpdir(), "fuzz-packets-"));
  const program = path.join(directory, "fuzz-packets");
  const sources = [TARGET, ...PURE_SOURCES.map((name) => path.join(ROOT, "native/udp", `${name}.c`))];
  const common = [
    "-std=gnu11",
    "-g",
    "-O1",
    "-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION",
    "-o",
    program,
    ...sources,
  ];
  const flags = ["-fsanitize=fuzzer,address,undefined", ...common];
  const hasLibFuzzer = CLANGS.some((clang) => spawnSync(clang, flags, { stdio: "ignore" }).status === 0);
  if (hasLibFuzzer) {
    const found = path.join(directory, "found");
    mkdirSync(found);
    return run(directory, program, [
      `-max_total_time=${seconds}`,
      `-seed=${seed}`,
      "-max_len=16384",
      found,
      CORPUS,
    ]);
  }
  const compiler = findCompiler();
  if (compiler === undefined) throw new Error("fuzzing needs a C compiler: apt-get install gcc libc6-dev");
  execFileSync(compiler, [...SANITIZERS, "-DSTANDALONE", ...common], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  return run(directory, program, [CORPUS, String(seconds), String(seed)]);
}

function run(directory: string, program: string, args: readonly string[]): FuzzResult {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: directory, encoding: "utf8" });
  const ok = status === 0;
  if (ok) rmSync(directory, { recursive: true });
  return { ok, output: `${stdout}${stderr}`, directory };
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({
    options: { seconds: { type: "string", default: "60" }, seed: { type: "string", default: "1" } },
  });
  const { ok, output, directory } = runFuzzer({ seconds: Number(values.seconds), seed: Number(values.seed) });
  console.log(output);
  if (!ok) {
    console.error(`fuzz: broken; what broke it is in ${directory}`);
    process.exitCode = 1;
  }
}
