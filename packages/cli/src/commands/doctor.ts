import type { DoctorReport } from "krait";
import { help, parseArguments } from "../arguments.js";
import { oneLine, UsageFault } from "../fault.js";
import type { Command } from "../main.js";
import { loadSdk } from "../sdk.js";

/** `krait doctor`: what this machine can do and what it lacks. */
export const doctor: Command = async (argv, { print }) => {
  const { options, operands } = parseArguments("doctor", argv, { json: {} });
  if (operands.length > 0) {
    throw new UsageFault(`Expected no file for krait doctor but received ${operands[0]}`, "OPERANDS", help("doctor"));
  }
  const report = await (await loadSdk()).doctor();
  print(options.has("json") ? `${JSON.stringify(report)}\n` : describe(report));
  return report.cpu.serves ? 0 : 4;
};

function describe(report: DoctorReport): string {
  const { version, node, platform, cpu, addon, oneDNN, cuda, ffmpeg, ffprobe, sharp } = report;
  const lines: string[] = [`krait ${version}, Node ${node}, ${platform}`];
  const say = (name: string, ok: boolean, words: string, hint?: string) => {
    lines.push(`  ${name.padEnd(8)} ${ok ? "ok     " : "missing"}  ${oneLine(words)}`);
    if (hint !== undefined) lines.push(`${" ".repeat(20)}${oneLine(hint)}`);
  };
  const simd = cpu.simd.length > 0 ? `, ${cpu.simd.join(" ")}` : "";
  say("cpu", cpu.serves, `${cpu.model}, ${cpu.cores} cores${simd}${cpu.reason ? `: ${cpu.reason}` : ""}`, cpu.hint);
  say("addon", addon.path !== undefined && addon.reason === undefined, addon.reason ?? addon.path ?? "", addon.hint);
  say("oneDNN", oneDNN.version !== undefined, oneDNN.version ?? oneDNN.reason ?? "", oneDNN.hint);
  say(
    "cuda",
    cuda.serves,
    cuda.serves ? `${cuda.devices} device${cuda.devices === 1 ? "" : "s"}` : cuda.reason!,
    cuda.hint,
  );
  for (const [name, words] of Object.entries(cuda.parts)) lines.push(`${" ".repeat(20)}${name}: ${oneLine(words)}`);
  for (const [name, found] of [["ffmpeg", ffmpeg] as const, ["ffprobe", ffprobe] as const]) {
    const words = found.version === undefined ? found.reason : `${found.version}, ${found.path}`;
    say(name, found.version !== undefined, words ?? "", found.hint);
  }
  say("sharp", true, `${sharp.version}, libvips ${sharp.libvips}`);
  lines.push(
    cpu.serves
      ? `The ${cuda.serves ? "GPU and the CPU" : "CPU"} can serve${ffmpeg.version === undefined ? "; video and compressed sound need ffmpeg" : ""}.`
      : "Nothing can serve here: see what is missing above.",
    "",
  );
  return lines.join("\n");
}
