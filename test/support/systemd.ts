// What systemd does with a unit, as far as tests need it: reading, expanding command lines, hearing notifications.
import { readFileSync } from "node:fs";

/** Settings of a unit by key; a key that is given more than once has more than one value. */
export function readUnit(file: string): ReadonlyMap<string, readonly string[]> {
  const settings = new Map<string, readonly string[]>();
  const text = readFileSync(file, "utf8").replaceAll(/\\\n\s*/g, " ");
  for (const [, key = "", value = ""] of text.matchAll(/^([A-Z]\w+)=(.*)$/gm)) {
    settings.set(key, [...(settings.get(key) ?? []), value]);
  }
  return settings;
}

/** The variables of an EnvironmentFile= (systemd.exec(5)): quotes go, comments are skipped. */
export function readEnvironmentFile(file: string): Record<string, string> {
  const lines = readFileSync(file, "utf8").matchAll(/^([A-Za-z_]\w*)=("?)(.*)\2$/gm);
  return Object.fromEntries([...lines].map(([, name = "", , value = ""]) => [name, value]));
}

/** Words of an ExecStart=: `${NAME}` is replaced within a word, `$NAME` as a word of its own is split (systemd.service(5)). */
export function expandCommand(command: string, env: Readonly<Record<string, string>>): readonly string[] {
  return command.split(/\s+/).flatMap((word) => {
    const alone = /^\$([A-Za-z_]\w*)$/.exec(word)?.[1];
    if (alone !== undefined) return (env[alone] ?? "").split(/\s+/).filter((part) => part !== "");
    return word.replaceAll(/\$\{([A-Za-z_]\w*)\}/g, (_, name: string) => env[name] ?? "");
  });
}

/**
 * A Python program that listens on the socket given as its argument and prints `PID:MESSAGE` for each datagram; Node has
 * no unix datagrams. Passed descriptors are closed, which is how the manager answers BARRIER=1.
 */
export const NOTIFY_LISTENER = `
import os, socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
s.bind(sys.argv[1])
while True:
    data, ancillary, _, _ = s.recvmsg(4096, 1024)
    pid = 0
    for level, kind, value in ancillary:
        if kind == socket.SCM_CREDENTIALS: pid = struct.unpack("3i", value[:12])[0]
        if kind == socket.SCM_RIGHTS:
            for fd in struct.unpack("%di" % (len(value) // 4), value): os.close(fd)
    print("%d:%s" % (pid, data.decode().strip().replace("\\n", " ")), flush=True)
`;
