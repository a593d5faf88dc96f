import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { Api } from "./api";
import { App } from "./App";
import { takeVoiceOf } from "./arrival";
import { firstLanguage } from "./hooks/use-look";
import { Link } from "./link";
import { recall, remember } from "./preferences";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/layout.css";
import "./styles/stage.css";
import "./styles/panel.css";
import "./styles/voice.css";
import "./styles/workshop.css";

const api = new Api();
api.setKey(recall("key") ?? "");
api.setLanguage(firstLanguage());
takeVoiceOf(location, (address) => history.replaceState(null, "", address));
const link = new Link({ api, avatar: recall("avatar"), voice: recall("voice"), onUnknownAvatar: () => remember("avatar", undefined) });
link.connect();
addEventListener("pagehide", () => link.close());
addEventListener("pageshow", (event) => {
  if (event.persisted) link.connect(true);
});
addEventListener("online", () => {
  if (link.getState().phase === "waiting") link.connect();
});

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <App api={api} link={link} />
  </StrictMode>,
);
