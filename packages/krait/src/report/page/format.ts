/** `1:02:03`, `2:03`, or `2.5 s` for short lengths. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${Number(seconds.toFixed(seconds < 10 ? 2 : 1))} s`;
  return clock(Math.round(seconds));
}

/** `0:12`, `1:02:03`, with tenths where asked. */
export function clock(seconds: number, tenths = false): string {
  const total = tenths ? Math.floor(seconds * 10) / 10 : Math.floor(seconds);
  const h = Math.floor(total / 3600);
  const m = Math.floor((total % 3600) / 60);
  const s = total % 60;
  const text = tenths ? s.toFixed(1).padStart(4, "0") : String(s).padStart(2, "0");
  return h > 0 ? `${h}:${String(m).padStart(2, "0")}:${text}` : `${m}:${text}`;
}

/** `12,345`. By hand: the first use of `toLocaleString` loads tables for tens of milliseconds. */
export function count(value: number): string {
  return String(value).replace(/\B(?=(?:\d{3})+$)/g, ",");
}

/** `1.5 M`, `24 k` */
export function magnitude(value: number): string {
  for (const [limit, unit] of [
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "k"],
  ] as const)
    if (value >= limit) return `${Number((value / limit).toPrecision(3))} ${unit}`;
  return String(value);
}

/** Three figures at most: `0.0123`, `15.7`, `1,830`. */
export function brief(value: number): string {
  return Math.abs(value) >= 1000 ? count(Math.round(value)) : String(Number(value.toPrecision(3)));
}
