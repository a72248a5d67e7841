import { duration, rate } from "../format.ts";
import type { Speed } from "../state.ts";

const WIDTH = 320;
const HEIGHT = 128;
const LEFT = 30;
const BOTTOM = 18;
const TOP = 10;
/** Tokens over which a rate is taken: single gaps are as long as the browser's timers please. */
const WINDOW = 8;

/** Speed over the time of one answer: the wait for the first token, then tokens a second. */
export function Plot({ arrivals, firstTokenMs, tokensPerSecond }: Speed) {
  const end = arrivals.at(-1)!;
  const rates = arrivals.slice(1).map((time, index) => {
    const from = Math.max(0, index + 1 - WINDOW);
    return { time, rate: ((index + 1 - from) * 1000) / Math.max(1, time - arrivals[from]!) };
  });
  const top = ceiling(Math.max(...rates.slice(Math.min(3, rates.length - 1)).map((point) => point.rate)));
  const x = (time: number) => LEFT + (time / Math.max(1, end)) * (WIDTH - LEFT - 4);
  const y = (value: number) => HEIGHT - BOTTOM - (Math.min(value, top) / top) * (HEIGHT - BOTTOM - TOP);
  const points = rates.map((point) => `${x(point.time).toFixed(1)},${y(point.rate).toFixed(1)}`).join(" ");
  const first = x(arrivals[0]!);
  return (
    <svg class="plot" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-labelledby="plot-title plot-text">
      <title id="plot-title">Speed of the answer over its time</title>
      <desc id="plot-text">First token after {duration(firstTokenMs)}, then {rate(tokensPerSecond)} tokens a second until {duration(end)}.</desc>
      {[0, top / 2, top].map((value) => (
        <g key={value}>
          <line class="grid" x1={LEFT} x2={WIDTH - 4} y1={y(value)} y2={y(value)} />
          <text x={LEFT - 5} y={y(value) + 3.5} text-anchor="end">{value}</text>
        </g>
      ))}
      <rect class="wait" x={LEFT} y={TOP} width={Math.max(0, first - LEFT)} height={HEIGHT - BOTTOM - TOP} />
      <line class="first" x1={first} x2={first} y1={TOP} y2={HEIGHT - BOTTOM} />
      <polygon class="area" points={`${first.toFixed(1)},${y(0)} ${points} ${x(end).toFixed(1)},${y(0)}`} />
      <polyline class="line" points={points} />
      <text x={LEFT} y={HEIGHT - 4}>0</text>
      <text x={WIDTH - 4} y={HEIGHT - 4} text-anchor="end">{duration(end)}</text>
    </svg>
  );
}

/** The next round number, so that the scale changes seldom. */
function ceiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 3, 4, 6, 8].map((step) => step * power).find((step) => step >= value) ?? 10 * power;
}
