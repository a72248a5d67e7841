// The openai package, unmodified: its requests to this origin are answered by the engine in this tab.
import OpenAI from "openai";
// Not bundled: it finds its worker beside itself.
import { serve, Tinderbox } from "/tinderbox/tinderbox.js";

const [chat, say, state] = ["chat", "say", "state"].map((id) => document.getElementById(id));
const model = new URLSearchParams(location.search).get("model") ?? "smollm2-135m-instruct";
const onProgress = ({ phase, loaded, total }) => (state.value = `${phase} ${Math.round((100 * loaded) / total)} %`);

await navigator.serviceWorker.register("sw.js", { type: "module" });
const engine = await Tinderbox.load({ model, onProgress });
await serve(engine);

const openai = new OpenAI({ baseURL: `${location.origin}/v1`, apiKey: "none", dangerouslyAllowBrowser: true });
const messages = [];

say.disabled = false;
say.form.onsubmit = async (event) => {
  event.preventDefault();
  messages.push({ role: "user", content: say.value });
  chat.append(`\n> ${say.value}\n`);
  say.value = "";
  const answer = { role: "assistant", content: "" };
  for await (const { choices } of await openai.chat.completions.create({ model: engine.model, messages, stream: true })) {
    const text = choices[0]?.delta.content ?? "";
    answer.content += text;
    chat.append(text);
  }
  messages.push(answer);
  state.value = "answered";
};
