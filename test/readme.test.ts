import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string) => readFileSync(`${root}${path}`, "utf8");
const readme = read("README.md");

interface Block {
  language: string;
  content: string;
  /** What the HTML comment right before it names: a file, or `file#region`. */
  source: string | undefined;
  line: number;
}

/** The fenced blocks of a Markdown text. */
function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  const lines = markdown.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const fence = /^(```+)(\w*)\s*$/.exec(lines[i]!);
    if (!fence) continue;
    const end = lines.indexOf(fence[1]!, i + 1);
    if (end < 0) throw new Error(`The block in line ${i + 1} has no end`);
    let before = i - 1;
    while (before >= 0 && lines[before]!.trim() === "") before--;
    const source = /^<!-- (\S+) -->$/.exec(lines[before] ?? "")?.[1];
    const content = lines.slice(i + 1, end).map((line) => `${line}\n`);
    blocks.push({ language: fence[2]!, content: content.join(""), source, line: i + 1 });
    i = end;
  }
  return blocks;
}

/** A file of examples/, or what stands between `// #region name` and `// #endregion` in it. */
function exampleText(source: string): string {
  const [path, region] = source.split("#") as [string, string | undefined];
  expect(path, "snippets live in examples/").toMatch(/^examples\/[\w-]+\.m?[jt]s$/);
  const text = read(path);
  if (region === undefined) return text;
  const lines = text.split("\n");
  const from = lines.indexOf(`// #region ${region}`);
  const to = lines.indexOf("// #endregion", from);
  expect(from >= 0 && to > from, `${path} has no region ${region}`).toBe(true);
  return lines
    .slice(from + 1, to)
    .map((line) => `${line}\n`)
    .join("");
}

const blocks = blocksOf(readme);
const named = (block: Block): [string, Block] => [`in line ${block.line}`, block];
const subcommands = [
  ...read("packages/cli/src/main.ts").matchAll(/^ {2}(\w+): async \(\) => \(await import\("\.\/commands\//gm),
]
  .map((match) => match[1]!)
  .concat("help");
const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };

/** Commands of npm itself that a reader may be told to use. */
const npmCommands = ["install"];

/** What is wrong with a command line, if anything. */
function fault(command: string): string | undefined {
  const words = command.split(/\s+/).filter((word) => !/^\w+=/.test(word));
  const [program, ...rest] = words[0] === "npx" ? words.slice(1).filter((word) => word !== "--no-install") : words;
  if (program === "npm") {
    const script = rest[0] === "run" ? rest[1] : rest[0];
    return script !== undefined && (script in scripts || npmCommands.includes(script))
      ? undefined
      : `no script ${script}`;
  }
  if (program === "krait") {
    if (rest[0]?.startsWith("--")) return undefined;
    return rest[0] !== undefined && subcommands.includes(rest[0]) ? undefined : `no subcommand ${rest[0]}`;
  }
  if (program === "node") return exampleText(rest[0]!) === "" ? "an empty example" : undefined;
  return `${program} is neither npm, krait nor node`;
}

describe("the README", () => {
  const code = blocks.filter(({ language }) => /^(js|mjs|ts|javascript|typescript)$/.test(language));

  it("shows code, and only from files that are run", () => {
    expect(code.length).toBeGreaterThan(0);
    for (const { source, line } of code) expect(source, `no <!-- examples/… --> before line ${line}`).toBeDefined();
  });

  it.each(code.map(named))("shows the code %s as it is in its file", (_, { source, content }) => {
    expect(content).toBe(exampleText(source!));
  });

  it.each(blocks.filter(({ language }) => /^(sh|bash|console)$/.test(language)).map(named))(
    "shows commands %s that exist",
    (_, { content }) => {
      const commands = content
        .split("\n")
        .map((line) =>
          line
            .replace(/(^|\s)#.*$/, "")
            .replace(/^\$ /, "")
            .trim(),
        )
        .filter((line) => line !== "");
      expect(commands.length).toBeGreaterThan(0);
      for (const command of commands) expect(fault(command), command).toBeUndefined();
    },
  );

  it("names no other command in its text", () => {
    const mentions = [...readme.matchAll(/`((?:npm|npx|krait) [^`]+)`/g)].map((match) => match[1]!);
    for (const command of mentions) expect(fault(command), command).toBeUndefined();
  });

  it("links to files that are there", () => {
    for (const [, path] of readme.matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g))
      expect(() => read(path!), path).not.toThrow();
  });

  it("leaves no place to fill in", () => {
    expect(readme).not.toMatch(/\b(TODO|FIXME)\b|^[A-Z]+$/m);
  });
});
