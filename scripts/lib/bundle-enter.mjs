/**
 * The script that a GPU machine sources. Node and the libraries are unpacked to a temporary folder, once for each bundle;
 * the compiled packages go into the repository beside .gpu, to the places (ignored by git) that they came from.
 */
export function enterScript(packages) {
  const links = packages.map((name) => `ln -sfn "../../packages/${name}" "$root/node_modules/@krait/${name}"`);
  return `# Source this: . .gpu/enter.sh
krait_enter() {
  local here root key place
  here=$(cd "$(dirname "\${BASH_SOURCE[0]}")" && pwd) || return 1
  root=$(dirname "$here")
  key=$(cat "$here"/*.tar.xz | sha256sum | cut -c1-16) || return 1
  place=\${TMPDIR:-/tmp}/krait-gpu-$key
  if [ ! -e "$place/complete" ]; then
    mkdir -p "$place/bin" "$place/lib" &&
      tar -xJf "$here/node.tar.xz" -C "$place/bin" &&
      tar -xJf "$here/libraries.tar.xz" -C "$place/lib" --transform 's#.*/##' &&
      touch "$place/complete" || return 1
  fi
  if [ "$(cat "$root/node_modules/.krait-gpu" 2>/dev/null)" != "$key" ]; then
    tar -xJf "$here/tree.tar.xz" -C "$root" && mkdir -p "$root/node_modules/@krait" || return 1
${links.map((line) => `    ${line}`).join("\n")}
    echo "$key" > "$root/node_modules/.krait-gpu"
  fi
  export KRAIT_COMMIT=$(cat "$here/commit")
  export PATH="$place/bin:$PATH"
  export LD_LIBRARY_PATH="$place/lib:/usr/local/cuda/lib64\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  echo "node $(node --version), kernels in $root/build/native" >&2
}
krait_enter
`;
}
