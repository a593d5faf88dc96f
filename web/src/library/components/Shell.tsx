/** Around every page: where one is, where one can go, and what is said in passing. */

import { type ReactNode, useEffect, useRef } from "react";
import { Link, useLocation } from "wouter";

import { Icon, type IconName } from "../../components/Icon";
import { IconButton } from "../../components/IconButton";
import type { Look } from "../../hooks/use-look";
import { useOnline } from "../use-online";
import { useLibrary } from "../context";

type PageName = "discover" | "create" | "generate" | "mine";

const PAGES: { name: PageName; path: string; icon: IconName }[] = [
  { name: "discover", path: "/voices", icon: "compass" },
  { name: "create", path: "/voices/create", icon: "plus" },
  { name: "generate", path: "/voices/generate", icon: "text" },
  { name: "mine", path: "/voices/mine", icon: "people" },
];

interface Props {
  look: Look;
  notice: string;
  onNotice(notice: string): void;
  children: ReactNode;
}

export function Shell({ look, notice, onNotice, children }: Props) {
  const { words, theme } = useLibrary();
  const [location] = useLocation();
  const main = useRef<HTMLElement>(null);
  const shown = useRef(location);
  useEffect(() => {
    if (shown.current === location) return;
    shown.current = location;
    scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [location]);
  return (
    <div className="library">
      <a className="skip" href="#content" onClick={(event) => { event.preventDefault(); main.current?.focus(); }}>
        {words.skip}
      </a>
      <header className="library-header">
        <Link href="/voices" className="brand">
          <span className="brand-mark">
            <Icon name="mark" />
          </span>
          Visage
          <span className="brand-tagline">{words.product}</span>
        </Link>
        <nav className="library-nav" aria-label={words.navigation}>
          {PAGES.map(({ name, path, icon }) => (
            <Link key={name} href={path} aria-current={location === path ? "page" : undefined}>
              <Icon name={icon} />
              {words.pages[name]}
            </Link>
          ))}
        </nav>
        <a className="text-button live-link" href="./" aria-label={words.live}>
          <Icon name="clip" />
          <span>{words.live}</span>
        </a>
        <button type="button" className="text-button" onClick={look.switchLanguage} aria-label={words.switchLanguage} lang={look.language === "en" ? "zh-CN" : "en"}>
          {words.otherLanguage}
        </button>
        <IconButton icon={theme === "dark" ? "sun" : "moon"} label={theme === "dark" ? words.themeLight : words.themeDark} onClick={look.switchTheme} />
      </header>
      <Offline />
      <main ref={main} id="content" className="library-main" tabIndex={-1}>
        {children}
      </main>
      <Toast notice={notice} onNotice={onNotice} />
    </div>
  );
}

function Offline() {
  const { words } = useLibrary();
  const online = useOnline();
  return (
    <div role="status">
      {!online && <p className="offline-banner">{words.trouble.offlineBanner}</p>}
    </div>
  );
}

const TOAST_MS = 6_000;

function Toast({ notice, onNotice }: { notice: string; onNotice(notice: string): void }) {
  const { words } = useLibrary();
  useEffect(() => {
    if (notice === "") return;
    const timer = setTimeout(() => onNotice(""), TOAST_MS);
    return () => clearTimeout(timer);
  }, [notice, onNotice]);
  return (
    <div className="toast-place" role="status">
      {notice !== "" && (
        <p className="toast" data-testid="toast">
          <span>{notice}</span>
          <IconButton icon="close" label={words.dismiss} onClick={() => onNotice("")} />
        </p>
      )}
    </div>
  );
}
