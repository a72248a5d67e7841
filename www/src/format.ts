// Numbers as people read them.

export const count = (n: number) => n.toLocaleString("en", { maximumFractionDigits: 0 });

export const rate = (perSecond: number) => (perSecond >= 100 ? perSecond.toFixed(0) : perSecond.toFixed(1));

export const duration = (ms: number) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`);

/** Decimal units, as shops and browsers' storage pages count. */
export function bytes(n: number): string {
  const units = ["bytes", "kB", "MB", "GB"];
  let at = 0;
  for (; n >= 1000 && at < units.length - 1; at++) n /= 1000;
  return `${at > 0 && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[at]}`;
}

export const percent = (share: number) => (share > 0 && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(share < 0.9995 ? 1 : 0)} %`);

/** A token with its white space to be seen. */
export const visible = (text: string) => text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "∅";
