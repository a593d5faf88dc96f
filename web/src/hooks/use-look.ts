/** Language and theme: by the system's wish until the person chooses, then remembered. The words are each page's own. */

import { useCallback, useLayoutEffect, useState, useSyncExternalStore } from "react";

import { type Language, preferredLanguage } from "../language";
import { recall, remember } from "../preferences";

export type Theme = "light" | "dark";

export interface Look {
  language: Language;
  theme: Theme;
  switchLanguage(): void;
  switchTheme(): void;
}

const DARK = "(prefers-color-scheme: dark)";

function onSystemTheme(change: () => void): () => void {
  const query = matchMedia(DARK);
  query.addEventListener("change", change);
  return () => query.removeEventListener("change", change);
}

export function firstLanguage(): Language {
  const chosen = recall("language");
  return chosen === "en" || chosen === "zh" ? chosen : preferredLanguage(navigator.languages);
}

function firstTheme(): Theme | undefined {
  const chosen = recall("theme");
  return chosen === "light" || chosen === "dark" ? chosen : undefined;
}

export function useLook(): Look {
  const [language, setLanguage] = useState(firstLanguage);
  const [chosen, setChosen] = useState(firstTheme);
  const systemDark = useSyncExternalStore(onSystemTheme, () => matchMedia(DARK).matches);
  const theme = chosen ?? (systemDark ? "dark" : "light");

  // Before anything is painted: words on a ground of the other theme cannot be read.
  useLayoutEffect(() => {
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  }, [language]);
  useLayoutEffect(() => {
    document.documentElement.dataset["theme"] = theme;
  }, [theme]);

  const switchLanguage = useCallback(() => {
    const next = language === "en" ? "zh" : "en";
    remember("language", next);
    setLanguage(next);
  }, [language]);
  const switchTheme = useCallback(() => {
    const next = theme === "dark" ? "light" : "dark";
    remember("theme", next);
    setChosen(next);
  }, [theme]);
  return { language, theme, switchLanguage, switchTheme };
}
