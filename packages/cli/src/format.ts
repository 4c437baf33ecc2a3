/** Seconds as HH:MM:SS, cut to the second. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value: number) => String(value).padStart(2, "0");
  return `${two(Math.floor(whole / 3600))}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

/** A waiting time: `45s`, `2m`, `1h05m`; rounded up to its unit. */
export function wait(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  if (seconds <= 59) return `${Math.ceil(Math.max(0, seconds))}s`;
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return `${minutes}m`;
  return `${Math.floor(minutes / 60)}h${String(minutes % 60).padStart(2, "0")}m`;
}

/** A ratio: `41`, `3.2`, `0.45`. */
export function ratio(value: number): string {
  return value >= 10 ? String(Math.round(value)) : String(Number(value.toPrecision(2)));
}

export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** `79.5 s`, and as a clock from two minutes on. */
export function duration(seconds: number): string {
  return seconds < 120 ? `${Number(seconds.toFixed(1))} s` : clock(seconds);
}

export function bytes(value: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  let scaled = value;
  while (scaled >= 1024 && power < units.length - 1) {
    scaled /= 1024;
    power++;
  }
  return `${power === 0 ? scaled : scaled.toFixed(1)} ${units[power]}`;
}
