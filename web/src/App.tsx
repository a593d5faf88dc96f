import { useCallback, useEffect, useState } from "react";

import { type Api, ApiError } from "./api";
import { ChoicePanel } from "./components/ChoicePanel";
import { Composer } from "./components/Composer";
import { ConversationList } from "./components/ConversationList";
import { Header } from "./components/Header";
import { Messages } from "./components/Messages";
import { Presence } from "./components/Presence";
import { WorkshopWindow } from "./components/WorkshopWindow";
import { isOpen } from "./conversation";
import { useChoices } from "./hooks/use-choices";
import { useLook } from "./hooks/use-look";
import { usePlayer } from "./hooks/use-player";
import { type Mode, usePresenter } from "./hooks/use-presenter";
import { type Refusal, useUpload } from "./hooks/use-upload";
import { useVoice } from "./hooks/use-voice";
import { useWorkshop } from "./hooks/use-workshop";
import { WORDS } from "./i18n";
import type { Link } from "./link";
import { recall, remember } from "./preferences";

export function App({ api, link }: { api: Api; link: Link }) {
  const look = useLook();
  const { language } = look;
  const words = WORDS[language];
  useEffect(() => api.setLanguage(language), [api, language]);
  const presenter = usePresenter(api, link, words);
  const { phase, met } = presenter.link;
  const { setProblem } = presenter;
  const live = phase === "live";
  const player = usePlayer(live || met ? link.stream : null);
  const choices = useChoices(api, link, live);
  const { server, poster } = choices.catalogue;
  const [mode, chooseMode] = useMode();
  const [notice, setNotice] = useState("");
  const onRefused = useCallback((refusal: Refusal) => setProblem(words.refusedFile[refusal.why](refusal)), [setProblem, words]);
  const upload = useUpload(presenter.play, server.uploadMiBMax, onRefused);
  const workshop = useWorkshop({ api, choices, language, words, onNotice: setNotice, onProblem: setProblem });
  const onTalkError = useCallback(
    (error: unknown) => setProblem(error instanceof ApiError && error.status !== 0 ? error.message : words.unreachableNow),
    [setProblem, words],
  );
  const voice = useVoice({ api, link, server, onError: onTalkError });
  useEscape(presenter.stop);

  return (
    <div className="page">
      <Header look={look} library={server.library} words={words} />
      <main className="main">
        <Presence api={api} link={link} presenter={presenter} player={player} poster={poster} language={language} words={words} onNotice={setNotice} />
        <div className="desk">
          <Messages problem={presenter.problem} notice={notice} onProblem={setProblem} onNotice={setNotice} words={words} />
          <Composer
            mode={mode}
            onMode={chooseMode}
            live={live}
            characters={server.textCharactersMax}
            voice={voice}
            language={language}
            hint={(mode === "chat" || voice.state.phase === "on") && !server.chat ? words.noLanguageModel : ""}
            speaking={presenter.caption.speaking || presenter.conversation.lines.some((line) => isOpen(line) && line.who === "presenter")}
            onSend={(text) => presenter.say(mode, text, choices.voice)}
            onStop={presenter.stop}
            upload={upload}
            words={words}
          />
        </div>
        <aside className="side">
          <ChoicePanel choices={choices} workshop={workshop} words={words} language={language} />
          <ConversationList
            conversation={presenter.conversation}
            speaker={choices.avatar?.names[language] ?? choices.avatar?.name ?? words.stage}
            announce={player.muted || player.blocked}
            canSend={live}
            onSample={(text) => void presenter.say("echo", text, choices.voice)}
            words={words}
          />
        </aside>
      </main>
      {upload.hovering && (
        <div className="drop-cover" aria-hidden="true">
          <p>{words.dropHere}</p>
        </div>
      )}
      {workshop.open && workshop.offered && <WorkshopWindow workshop={workshop} choices={choices} language={language} words={words.workshop} />}
    </div>
  );
}

function useMode(): [Mode, (mode: Mode) => void] {
  const [mode, setMode] = useState<Mode>(recall("mode") === "chat" ? "chat" : "echo");
  const choose = (next: Mode) => {
    setMode(next);
    remember("mode", next);
  };
  return [mode, choose];
}

/** Esc stops her, unless it has something else to do: leave full screen, close a window, end a composition. */
function useEscape(action: () => void): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const busy = event.isComposing || event.defaultPrevented || document.fullscreenElement || document.querySelector("dialog:modal");
      if (event.key === "Escape" && !busy) action();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, [action]);
}
