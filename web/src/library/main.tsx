import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { firstLanguage } from "../hooks/use-look";
import { recall } from "../preferences";
import { LibraryApi } from "./api";
import { App } from "./App";
import { Deck } from "./deck";
import "../styles/base.css";
import "../styles/controls.css";
import "./styles/shell.css";
import "./styles/cards.css";
import "./styles/forms.css";
import "./styles/sound.css";
import "./styles/pages.css";

// Addresses stay relative to where the page was served, wherever it goes from there.
const base = document.querySelector("base");
if (base) base.href = document.baseURI;

const api = new LibraryApi();
api.setKey(recall("key") ?? "");
api.setLanguage(firstLanguage());

const root = document.getElementById("root");
if (!root) throw new Error("voices.html has no #root");
createRoot(root).render(
  <StrictMode>
    <App api={api} deck={new Deck(new Audio())} base={new URL(document.baseURI).pathname.replace(/\/$/, "")} />
  </StrictMode>,
);
