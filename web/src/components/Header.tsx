import type { Look } from "../hooks/use-look";
import type { Words } from "../i18n";
import { Icon } from "./Icon";
import { IconButton } from "./IconButton";

interface Props {
  look: Look;
  /** Whether the server keeps voices. */
  library: boolean;
  words: Words;
}

export function Header({ look, library, words }: Props) {
  const { theme } = look;
  return (
    <header className="header">
      <h1 className="brand">
        <span className="brand-mark">
          <Icon name="mark" />
        </span>
        Visage
        <span className="brand-tagline">{words.tagline}</span>
      </h1>
      {library && (
        <a className="text-button header-link" href="./voices">
          <Icon name="people" />
          {words.openLibrary}
        </a>
      )}
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
