import { Tinderbox } from "tinderbox-web";

const [chat, say, state] = ["chat", "say", "state"].map((id) => document.getElementById(id));
const onProgress = ({ phase, loaded, total }) => (state.value = `${phase} ${Math.round((100 * loaded) / total)} %`);
const engine = await Tinderbox.load({ model: "smollm2-135m-instruct", onProgress });
const messages = [];

say.disabled = false;
say.form.onsubmit = async (event) => {
  event.preventDefault();
  messages.push({ role: "user", content: say.value });
  chat.append(`\n> ${say.value}\n`);
  say.value = "";
  const answer = { role: "assistant", content: "" };
  for await (const { choices } of await engine.chat.completions.create({ messages, stream: true })) {
    const text = choices[0]?.delta.content ?? "";
    answer.content += text;
    chat.append(text);
  }
  messages.push(answer);
};
