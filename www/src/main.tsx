import { effect } from "@preact/signals";
import { render } from "preact";
import { keepChats } from "./actions/chats.ts";
import { refreshStored } from "./actions/models.ts";
import { theme } from "./state.ts";
import "./style/base.css";
import "./style/picker.css";
import "./style/chat.css";
import "./style/panels.css";
import { App } from "./ui/app.tsx";

effect(() => void (document.documentElement.dataset.theme = theme.value));
keepChats();
void refreshStored();
render(<App />, document.getElementById("app")!);
