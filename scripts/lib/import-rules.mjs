/**
 * Which packages a package may import, in the order of the layers: always upward in this list, never down.
 * docs/architecture.md says what each one is for.
 */
const layers = {
  core: [],
  formats: ["core"],
  graph: ["core"],
  runtime: ["core", "graph"],
  media: ["core", "formats"],
  tokenizers: ["core", "formats", "graph", "runtime", "media"],
  nn: ["core", "formats", "graph", "runtime"],
  train: ["core", "formats", "graph", "runtime", "media", "tokenizers", "nn"],
  krait: ["core", "formats", "graph", "runtime", "media", "tokenizers", "nn", "train"],
  cli: ["krait"],
};

/** Packages from the registry that a package may import at most; unlisted ones may import what they declare. */
const registryOnly = { core: ["zod"] };

export const layerNames = Object.keys(layers);

/** The folder under packages/ of a workspace package's name, or undefined: @krait/graph → graph, krait → krait. */
export function workspaceFolder(packageName) {
  if (packageName === "krait") return "krait";
  return packageName.startsWith("@krait/") ? packageName.slice("@krait/".length) : undefined;
}

/** `@scope/name/sub/path` → { name: "@scope/name", subpath: "./sub/path" }. */
export function splitSpecifier(specifier) {
  const parts = specifier.split("/");
  const name = parts.splice(0, specifier.startsWith("@") ? 2 : 1).join("/");
  return { name, subpath: parts.length > 0 ? `./${parts.join("/")}` : "." };
}

/**
 * What is wrong with `folder` importing the bare specifier, as a sentence without its subject, or undefined.
 *
 * @param manifests package.json of each workspace package by folder
 */
export function checkBareImport(folder, specifier, manifests) {
  const { name, subpath } = splitSpecifier(specifier);
  const manifest = manifests.get(folder);
  const target = workspaceFolder(name);
  if (target !== undefined) {
    if (target === folder) return `imports its own package by name (${specifier}); use a relative path`;
    if (!layers[folder].includes(target)) {
      const allowed = layers[folder].length > 0 ? layers[folder].join(", ") : "no package of the workspace";
      return `imports ${specifier}, but ${folder} may import only: ${allowed}`;
    }
    const exported = manifests.get(target)?.exports ?? {};
    if (!Object.hasOwn(exported, subpath)) return `imports ${specifier}, which ${name} does not export`;
  } else if (registryOnly[folder] && !registryOnly[folder].includes(name)) {
    return `imports ${specifier}, but ${folder} may import only ${registryOnly[folder].join(", ")} from the registry`;
  }
  const declared = { ...manifest.dependencies, ...manifest.peerDependencies, ...manifest.optionalDependencies };
  if (!Object.hasOwn(declared, name)) return `imports ${name}, which packages/${folder}/package.json does not declare`;
  return undefined;
}
