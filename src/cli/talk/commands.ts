/**
 * The commands of `proglog`, in the order of its help. A new one is a module of its own and a row
 * here; nothing else knows of it.
 */
import { benchCommand } from "./bench.js";
import type { TalkCommand } from "./command.js";
import { consumeCommand } from "./consume.js";
import { membersCommand } from "./members.js";
import { produceCommand } from "./produce.js";
import { backupCommand, restoreCommand } from "./saving.js";
import { statusCommand } from "./status.js";
import { transferLeaderCommand } from "./transfer-leader.js";

export const talkCommands: readonly TalkCommand[] = [
  produceCommand,
  consumeCommand,
  statusCommand,
  membersCommand,
  transferLeaderCommand,
  benchCommand,
  backupCommand,
  restoreCommand,
];
