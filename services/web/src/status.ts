import { createApp } from "vue";

import StatusView from "./status/StatusView.vue";
import "./styles/base.css";

createApp(StatusView).mount("#app");
