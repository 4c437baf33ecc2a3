// Memory of a process and all it has started, from /proc (Linux).
import { readdirSync, readFileSync } from "node:fs";

const PAGE = 4096;

/** Process ids: this one, its children and theirs. */
export function processTree(pid) {
  const found = [pid];
  for (const one of found) {
    try {
      for (const thread of readdirSync(`/proc/${one}/task`)) {
        const children = readFileSync(`/proc/${one}/task/${thread}/children`, "utf8");
        found.push(...children.split(" ").filter(Boolean).map(Number));
      }
    } catch {
      // It has ended.
    }
  }
  return found;
}

/** Resident bytes of each process of the tree, by its program's name. */
export function residentBytes(pid) {
  const byName = {};
  for (const one of processTree(pid)) {
    try {
      const resident = Number(readFileSync(`/proc/${one}/statm`, "utf8").split(" ")[1]) * PAGE;
      const name = readFileSync(`/proc/${one}/comm`, "utf8").trim();
      byName[name] = (byName[name] ?? 0) + resident;
    } catch {
      // It has ended.
    }
  }
  return byName;
}

/** Resident bytes of the tree: pages that two of its processes share count twice. */
export const treeBytes = (pid) => Object.values(residentBytes(pid)).reduce((a, b) => a + b, 0);

// Of /proc/…/stat, behind the name in brackets: user and system time are the 12th and 13th field, in ticks of a hundredth of a second.
function ticks(path, from = 11, to = 13) {
  try {
    const stat = readFileSync(path, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields.slice(from, to).reduce((sum, field) => sum + Number(field), 0) / 100;
  } catch {
    return 0;
  }
}

/** Processor seconds of children of this process that have ended, with theirs. */
export const endedSeconds = () => ticks("/proc/self/stat", 13, 15);

/** Processor seconds of the tree, with those of children that have ended and were waited for. */
export const cpuSeconds = (pid) => processTree(pid).reduce((sum, one) => sum + ticks(`/proc/${one}/stat`, 11, 15), 0);

/** Processor seconds of a process's first thread, and of all its others. */
export function threadSeconds(pid) {
  const main = ticks(`/proc/${pid}/task/${pid}/stat`);
  return { main, others: ticks(`/proc/${pid}/stat`) - main };
}
