// Reads an NFLOG group by a socket of its own and prints what it tells, line by line. Run inside a network namespace: nflog-inside.ts GROUP.
import { spawnBytes } from "../../src/kernel/exec.ts";
import { loadNflogAddon } from "../../src/kernel/nflog/addon.ts";
import { watchNflog } from "../../src/kernel/nflog/watch-nflog.ts";
import { SILENT_LOGGER } from "../../src/net/logger.ts";

const addon = loadNflogAddon();
if (addon === undefined) throw new Error("there is no dist/nflog.node; npm run build");
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
const print = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const watch = watchNflog(
  {
    group: Number(process.argv[2]),
    signal: stop.signal,
    onPacket: ({ prefix, src, dst, ports }) => print({ prefix, src, dst, port: ports?.dst }),
  },
  { addon, spawnBytes, log: { ...SILENT_LOGGER, warn: (_, problem) => print({ problem }) } },
);
await watch.ended;
print({ ended: true });
