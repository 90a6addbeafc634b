// A start without policy: removes the rules, sets and files that an earlier one with policy has left.
import { existsSync, rmSync } from "node:fs";
import type { Exec } from "../../kernel/exec.ts";
import type { IptablesVariant } from "../../kernel/iptables/variant.ts";
import { removePolicy } from "../../kernel/remove-policy.ts";
import type { Logger } from "../../net/logger.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../policy/settings.ts";
import { attachmentDirectory } from "./attachment-store.ts";

export async function removeEarlierPolicy(
  { variant, subnetFile }: { readonly variant: IptablesVariant; readonly subnetFile: string },
  { exec, log }: { readonly exec: Exec; readonly log: Logger },
): Promise<void> {
  const { prefix } = DEFAULT_POLICY_SETTINGS;
  const { firewallRows, sets, failed } = await removePolicy({ variants: [variant], prefix }, { exec });
  if (firewallRows + sets > 0)
    log.info({ firewallRows, sets }, "network policy is off: removed the rules and sets of an earlier start");
  for (const { key, reason } of failed)
    log.warn({ key, reason }, `network policy is off, but this is still there: ${key}: ${reason}`);
  const directory = attachmentDirectory(subnetFile);
  if (existsSync(directory)) rmSync(directory, { recursive: true, force: true });
}
