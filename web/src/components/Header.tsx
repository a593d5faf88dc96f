import type { Look } from "../hooks/use-look";
import { Icon } from "./Icon";
import { IconButton } from "./IconButton";

export function Header({ look }: { look: Look }) {
  const { words, theme } = look;
  return (
    <header className="header">
      <h1 className="brand">
        <span className="brand-mark">
          <Icon name="mark" />
        </span>
        Visage
        <span className="brand-tagline">{words.tagline}</span>
      </h1>
      <button
        type="button"
        className="text-button"
        onClick={look.switchLanguage}
        aria-label={words.switchLanguage}
        lang={look.language === "en" ? "zh-CN" : "en"}
      >
        {words.otherLanguage}
      </button>
      <IconButton
        icon={theme === "dark" ? "sun" : "moon"}
        label={theme === "dark" ? words.themeLight : words.themeDark}
        onClick={look.switchTheme}
      />
    </header>
  );
}
