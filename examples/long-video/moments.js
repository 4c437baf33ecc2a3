/** Every number of the features to mean 0 and deviation 1, in place, so that none outweighs the others. */
export function standardise(features) {
  const dim = features[0]?.length ?? 0;
  for (let j = 0; j < dim; j++) {
    const mean = features.reduce((sum, f) => sum + f[j], 0) / features.length;
    const deviation = Math.sqrt(features.reduce((sum, f) => sum + (f[j] - mean) ** 2, 0) / features.length) || 1;
    for (const f of features) f[j] = (f[j] - mean) / deviation;
  }
}

/**
 * Cuts where a moment differs from the one before by much more than moments usually do, and by more than its neighbours.
 * Usual is the median, and the median distance from it: a few cuts do not move them, as they would a mean.
 */
export function findScenes(moments) {
  const differences = moments.map(({ feature }, i) => (i === 0 ? 0 : 1 - cosine(feature, moments[i - 1].feature)));
  const usual = median(differences.slice(1));
  const spread = median(differences.slice(1).map((d) => Math.abs(d - usual)));
  const isCut = (d, i) =>
    i > 0 && d > usual + 6 * spread && d > 0.25 && d >= differences[i - 1] && d > (differences[i + 1] ?? 0);
  const firsts = [0, ...differences.flatMap((d, i) => (isCut(d, i) ? [i] : []))];
  const scenes = firsts.map((first, i) => ({ first, last: (firsts[i + 1] ?? moments.length) - 1 }));
  return { scenes, differences };
}

/** The moments most like one, none of them within `apart` seconds of it or of each other. */
export function findAlike(moments, at, { apart, most }) {
  const chosen = [];
  const isFar = (index) =>
    [at, ...chosen.map((c) => c.index)].every((i) => Math.abs(moments[i].start - moments[index].start) > apart);
  const ranked = moments
    .map(({ feature }, index) => ({ index, likeness: cosine(feature, moments[at].feature) }))
    .sort((a, b) => b.likeness - a.likeness);
  for (const moment of ranked) if (chosen.length < most && isFar(moment.index)) chosen.push(moment);
  return chosen;
}

export function cosine(a, b) {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return dot / (Math.sqrt(aa * bb) || 1);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
