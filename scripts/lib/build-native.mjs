import { existsSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { listFiles } from "./files.mjs";
import { inRoot, root } from "./paths.mjs";
import { findCommand, mustRun } from "./process.mjs";
import { ScriptError, say } from "./report.mjs";
import { checkStamp } from "./stamp.mjs";

/** The CUDA compiler: $CUDACXX, on PATH, or where NVIDIA's installer puts it. */
export function findNvcc() {
  const fixed = [process.env.CUDACXX, "/usr/local/cuda/bin/nvcc"].find((file) => file && existsSync(file));
  return process.env.CUDACXX ? fixed : (findCommand("nvcc") ?? fixed);
}

/** Include folders of the Node-API headers, which come from npm and need no download of Node's own. */
function nodeApiIncludes() {
  const require = createRequire(inRoot("packages/runtime/package.json"));
  const folder = (name) => dirname(require.resolve(`${name}/package.json`));
  return { headers: join(folder("node-api-headers"), "include"), addon: folder("node-addon-api") };
}

/** A build folder that another checkout's path is written into is of no use to CMake. */
function dropForeignCache(dir) {
  const cache = join(dir, "CMakeCache.txt");
  if (!existsSync(cache)) return;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, "utf8"))?.[1];
  if (home !== root) rmSync(dir, { recursive: true, force: true });
}

/**
 * Configures and builds kernels/ with CMake and Ninja.
 *
 * @param cuda "AUTO" builds the CUDA plugin when nvcc is found, "ON" insists, "OFF" leaves it out
 * @param sanitize comma-separated sanitizers; such a build goes to build/sanitize and not into build/native
 */
export function buildNative({ quiet, cuda = "AUTO", sanitize }) {
  if (!existsSync(inRoot("CMakeLists.txt"))) {
    throw new ScriptError("Expected CMakeLists.txt in the repository root but it does not exist");
  }
  const name = sanitize ? "sanitize" : "native";
  const dir = inRoot("build", name);
  const nvcc = cuda === "OFF" ? undefined : findNvcc();
  if (cuda === "ON" && !nvcc) {
    throw new ScriptError("Expected nvcc for --cuda but it is neither on PATH nor in /usr/local/cuda/bin", {
      hint: "Install the CUDA toolkit (12.8 or later), set CUDACXX to its nvcc, or build with --no-cuda.",
      exitCode: 4,
    });
  }
  const { headers, addon } = nodeApiIncludes();
  const options = [
    `-DCMAKE_BUILD_TYPE=${sanitize ? "RelWithDebInfo" : "Release"}`,
    `-DKRAIT_CUDA=${cuda}`,
    `-DKRAIT_SANITIZE=${sanitize ?? ""}`,
    `-DKRAIT_ABI_DIR=${inRoot("build/abi")}`,
    `-DNODE_API_HEADERS_DIR=${headers}`,
    `-DNODE_ADDON_API_DIR=${addon}`,
  ];
  const stamp = checkStamp(name, {
    inputs: [inRoot("CMakeLists.txt"), inRoot("cmake"), inRoot("kernels"), inRoot("build/abi")].flatMap((path) =>
      listFiles(path),
    ),
    outputs: [join(dir, "build.ninja")],
    extra: [...options, nvcc, process.env.CXX, process.env.CXXFLAGS].join(" "),
  });
  if (stamp.fresh && (sanitize || listFiles(dir, (file) => file.endsWith(".node")).length > 0)) {
    if (!quiet) say(`Kernels (build/${name}): up to date`);
    return;
  }

  const patience = existsSync(join(dir, "build.ninja")) ? "" : "; the first time takes minutes";
  say(`Building the kernels (build/${name}${nvcc ? `, CUDA plugin with ${nvcc}` : ""})${patience}`);
  dropForeignCache(dir);
  const env = nvcc ? { CUDACXX: nvcc } : undefined;
  const log = (step) => (quiet ? `${name}-${step}` : undefined);
  mustRun("Configuring the native build", "cmake", ["-S", root, "-B", dir, "-G", "Ninja", ...options], {
    env,
    log: log("configure"),
  });
  mustRun("Building the kernels", "cmake", ["--build", dir, "--parallel", String(availableParallelism())], {
    env,
    log: log("build"),
  });
  stamp.commit();
}
