import { useCallback, useEffect, useRef, useState } from "react";

import type { Api } from "./api";
import { Captions } from "./components/Captions";
import { Choices } from "./components/Choices";
import { Composer } from "./components/Composer";
import { ConversationList } from "./components/ConversationList";
import { Header } from "./components/Header";
import { Messages } from "./components/Messages";
import { Stage } from "./components/Stage";
import { StageBar } from "./components/StageBar";
import { Statistics } from "./components/Statistics";
import { StatusPill } from "./components/StatusPill";
import { Trouble } from "./components/Trouble";
import { chosenAvatar, useCatalogue } from "./hooks/use-catalogue";
import { useFigures } from "./hooks/use-figures";
import { useLook } from "./hooks/use-look";
import { usePlayer } from "./hooks/use-player";
import { type Mode, usePresenter } from "./hooks/use-presenter";
import { useRecorder } from "./hooks/use-recorder";
import { type Refusal, useUpload } from "./hooks/use-upload";
import type { Link } from "./link";
import { recall, remember } from "./preferences";

export function App({ api, link }: { api: Api; link: Link }) {
  const look = useLook();
  const { words, language } = look;
  const stage = useRef<HTMLElement>(null);
  const presenter = usePresenter(api, link, words.unreachableNow, words.speechFailed);
  const { link: state, caption, setProblem } = presenter;
  const live = state.phase === "live";
  const player = usePlayer(live || state.met ? link.stream : null);
  const choices = useChoices(api, link);
  const [mode, setMode] = useState<Mode>(recall("mode") === "chat" ? "chat" : "echo");
  const [captions, setCaptions] = useState(recall("captions") !== "off");
  const [statistics, setStatistics] = useState(false);
  const figures = useFigures(link, statistics && live);
  const [notice, setNotice] = useState("");
  const forgetNotice = useCallback(() => setNotice(""), []);

  const upload = useUpload(
    presenter.play,
    choices.catalogue.server.uploadMiBMax,
    useCallback((reason: Refusal) => setProblem(words.refusedFile[reason.why](reason)), [setProblem, words]),
  );
  const recorder = useRecorder(
    api,
    state.sessionid,
    useCallback(() => setNotice(words.recordingSaved), [words]),
    useCallback((error: unknown) => setProblem(error instanceof Error ? error.message : words.unreachableNow), [setProblem, words]),
  );
  useEscape(presenter.stop);

  const send = (text: string) => presenter.say(mode, text, choices.voice);
  const chooseMode = (next: Mode) => {
    setMode(next);
    remember("mode", next);
  };
  return (
    <div className="page">
      <Header look={look} />
      <main className="main">
        <Stage stage={stage} player={player} link={state} poster={choices.catalogue.poster} words={words}>
          <div className="stage-top">
            <StatusPill link={state} speaking={caption.speaking} words={words} />
            {recorder.phase !== "off" && <RecordingPill recorder={recorder} words={words} />}
          </div>
          {statistics && live && <Statistics figures={figures} words={words} language={language} />}
          {captions && <Captions caption={caption} />}
          <Trouble
            link={state}
            words={words}
            onRetry={() => link.connect()}
            onKey={(key) => {
              remember("key", key);
              api.setKey(key);
              link.connect(true);
            }}
          />
          <StageBar
            stage={stage}
            player={player}
            recorder={recorder}
            live={live}
            captions={captions}
            statistics={statistics}
            onCaptions={() => {
              setCaptions(!captions);
              remember("captions", captions ? "off" : undefined);
            }}
            onStatistics={() => setStatistics(!statistics)}
            words={words}
          />
        </Stage>
        <div className="desk">
          <Messages problem={presenter.problem} notice={notice} onProblem={() => setProblem("")} onNotice={forgetNotice} words={words} />
          <Composer
            mode={mode}
            onMode={chooseMode}
            live={live}
            characters={choices.catalogue.server.textCharactersMax}
            hint={mode === "chat" && !choices.catalogue.server.chat ? words.noLanguageModel : ""}
            speaking={caption.speaking}
            onSend={send}
            onStop={presenter.stop}
            upload={upload}
            words={words}
          />
        </div>
        <aside className="side">
          <Choices
            avatars={choices.catalogue.avatars}
            voices={choices.catalogue.voices}
            avatar={choices.avatar?.id ?? ""}
            voice={choices.voice}
            onAvatar={choices.chooseAvatar}
            onVoice={choices.chooseVoice}
            words={words}
            language={language}
          />
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
    </div>
  );
}

function RecordingPill({ recorder, words }: { recorder: ReturnType<typeof useRecorder>; words: ReturnType<typeof useLook>["words"] }) {
  if (recorder.phase === "preparing") return <p className="pill" role="status">{words.preparing}</p>;
  const time = `${Math.floor(recorder.seconds / 60)}:${String(recorder.seconds % 60).padStart(2, "0")}`;
  return (
    <p className="pill recording" aria-label={words.recordingTime(time)}>
      <span className="dot" aria-hidden="true" />
      {time}
    </p>
  );
}

/** The chosen presenter and voice, remembered; what this server does not have counts as not chosen. */
function useChoices(api: Api, link: Link) {
  const [avatar, setAvatar] = useState(recall("avatar") ?? "");
  const [voice, setVoice] = useState(recall("voice") ?? "");
  const phase = link.getState().phase;
  const catalogue = useCatalogue(api, avatar, phase === "live");
  const { avatars, voices } = catalogue;

  const chooseAvatar = (id: string) => {
    setAvatar(id);
    remember("avatar", id);
    link.setAvatar(id);
  };
  const chooseVoice = (id: string) => {
    setVoice(id);
    remember("voice", id === "" ? undefined : id);
  };
  return {
    catalogue,
    avatar: chosenAvatar(avatars, avatar, catalogue.server),
    voice: voices.some((row) => row.id === voice) ? voice : "",
    chooseAvatar,
    chooseVoice,
  };
}

/** Esc stops her, unless it has something else to do: leave full screen, end a composition. */
function useEscape(action: () => void): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !event.isComposing && !event.defaultPrevented && !document.fullscreenElement) action();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, [action]);
}
