import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, relative } from "node:path";
import { inRoot, root } from "./paths.mjs";

function digest(extra, lines) {
  const hash = createHash("sha256").update(`${extra}\n`);
  for (const line of lines) hash.update(line).update("\n");
  return hash.digest("hex");
}

const byTime = (file) => {
  const { size, mtimeMs } = statSync(file);
  return `${relative(root, file)} ${size} ${mtimeMs}`;
};
const byContent = (file) => `${relative(root, file)} ${createHash("sha256").update(readFileSync(file)).digest("hex")}`;

/**
 * Whether a step's inputs are what they were when it last succeeded. Sizes and times decide quickly; where they differ
 * the contents do, so that a fresh checkout of the same files costs no rebuild.
 *
 * The fingerprint is taken here, before the step runs: what is edited during the step counts as changed.
 *
 * @param {string} name also the file's name, under build/.stamps unless `file` says otherwise
 * @param {object} step
 * @param {string[]} step.inputs files
 * @param {string[]} [step.outputs] files that must exist for the step to count as done
 * @param {string} [step.extra] anything else the result depends on (versions, options)
 * @param {string} [step.file]
 * @returns {{fresh: boolean, commit: () => void}} `commit` after the step succeeded
 */
export function checkStamp(name, { inputs, outputs = [], extra = "", file = inRoot("build/.stamps", `${name}.json`) }) {
  let last = {};
  try {
    last = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    // never done, or not readable: do it again
  }
  const now = { times: digest(extra, inputs.map(byTime)) };
  const complete = outputs.every((path) => existsSync(path));
  if (complete && last.times === now.times) return { fresh: true, commit: () => {} };
  now.contents = digest(extra, inputs.map(byContent));
  const commit = () => {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify(now));
  };
  const fresh = complete && last.contents === now.contents;
  if (fresh) commit();
  return { fresh, commit };
}
