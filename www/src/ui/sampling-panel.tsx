import { sampling, SAMPLING, system, type SamplingValues } from "../state.ts";

type Name = keyof SamplingValues;

const FIELDS: { name: Exclude<Name, "seed">; label: string; min: number; max: number; step: number; hint: string }[] = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, hint: "0 always takes the likeliest token." },
  { name: "top_p", label: "Top p", min: 0.05, max: 1, step: 0.05, hint: "Only tokens that make up this share together." },
  { name: "top_k", label: "Top k", min: 1, max: 200, step: 1, hint: "Only this many of the likeliest." },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01, hint: "Only tokens this likely beside the likeliest." },
  { name: "repetition_penalty", label: "Repetition penalty", min: 1, max: 2, step: 0.05, hint: "1 is none." },
  { name: "max_tokens", label: "Most tokens an answer", min: 16, max: 2048, step: 16, hint: "" },
];

const set = (part: Partial<SamplingValues>) => (sampling.value = { ...sampling.value, ...part });

export function SamplingPanel() {
  return (
    <div class="fields">
      <label>
        <span>System prompt</span>
        <textarea rows={3} value={system.value} placeholder="You are a patient teacher." onInput={(event) => (system.value = event.currentTarget.value)} />
      </label>
      {FIELDS.map(({ name, label, min, max, step, hint }) => (
        <div key={name} class="slider">
          <label for={name}>{label}</label>
          <output for={name}>{sampling.value[name]}</output>
          <input id={name} type="range" min={min} max={max} step={step} value={sampling.value[name]} aria-describedby={hint ? `${name}-hint` : undefined}
            onInput={(event) => set({ [name]: event.currentTarget.valueAsNumber })} />
          {hint && <p class="hint" id={`${name}-hint`}>{hint}</p>}
        </div>
      ))}
      <label>
        <span>Seed</span>
        <input type="number" min={0} max={2 ** 32 - 1} step={1} placeholder="Another one each time" value={sampling.value.seed ?? ""}
          onInput={({ currentTarget: { value, valueAsNumber, validity } }) => {
            if (validity.valid) set({ seed: value === "" ? null : valueAsNumber });
          }} />
      </label>
      <button type="button" onClick={() => { sampling.value = SAMPLING; }}>Reset sampling</button>
    </div>
  );
}
