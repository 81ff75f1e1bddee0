import { createApp } from "vue";

import { createChat } from "./browser";
import App from "./components/App.vue";
import "./styles/base.css";

createApp(App, { chat: createChat() }).mount("#app");
