/** The stage with everything that lies on it: state, captions, statistics, trouble and controls. */

import { useCallback, useRef, useState } from "react";

import type { Api } from "../api";
import { saidNow } from "../conversation";
import { useFigures } from "../hooks/use-figures";
import type { Player } from "../hooks/use-player";
import type { Presenter } from "../hooks/use-presenter";
import { type Recorder, useRecorder } from "../hooks/use-recorder";
import type { Language, Words } from "../i18n";
import type { Link } from "../link";
import { recall, remember } from "../preferences";
import { Captions } from "./Captions";
import { Stage } from "./Stage";
import { StageBar } from "./StageBar";
import { Statistics } from "./Statistics";
import { StatusPill } from "./StatusPill";
import { Trouble } from "./Trouble";

interface Props {
  api: Api;
  link: Link;
  presenter: Presenter;
  player: Player;
  poster: string | undefined;
  language: Language;
  words: Words;
  onNotice(words: string): void;
}

export function Presence({ api, link, presenter, player, poster, language, words, onNotice }: Props) {
  const { link: state, caption, setProblem } = presenter;
  const live = state.phase === "live";
  const stage = useRef<HTMLElement>(null);
  const [captions, setCaptions] = useState(recall("captions") !== "off");
  const [statistics, setStatistics] = useState(false);
  const figures = useFigures(link, statistics && live);
  const recorder = useRecorder(
    api,
    state.sessionid,
    useCallback(() => onNotice(words.recordingSaved), [onNotice, words]),
    useCallback((error: unknown) => setProblem(error instanceof Error ? error.message : words.unreachableNow), [setProblem, words]),
  );
  const toggleCaptions = () => {
    setCaptions(!captions);
    remember("captions", captions ? "off" : undefined);
  };
  const takeKey = (key: string) => {
    remember("key", key);
    api.setKey(key);
    link.connect(true);
  };
  return (
    <Stage stage={stage} player={player} link={state} poster={poster} words={words}>
      <div className="stage-top">
        <StatusPill link={state} speaking={caption.speaking} words={words} />
        <RecordingPill recorder={recorder} words={words} />
      </div>
      {statistics && live && <Statistics figures={figures} words={words} language={language} />}
      {captions && <Captions caption={caption} yours={saidNow(presenter.conversation)} />}
      <Trouble link={state} words={words} onRetry={() => link.connect()} onKey={takeKey} />
      <StageBar
        stage={stage}
        player={player}
        recorder={recorder}
        live={live}
        captions={captions}
        statistics={statistics}
        onCaptions={toggleCaptions}
        onStatistics={() => setStatistics(!statistics)}
        words={words}
      />
    </Stage>
  );
}

function RecordingPill({ recorder, words }: { recorder: Recorder; words: Words }) {
  if (recorder.phase === "off") return null;
  if (recorder.phase === "preparing")
    return (
      <p className="pill" role="status">
        {words.preparing}
      </p>
    );
  const time = `${Math.floor(recorder.seconds / 60)}:${String(recorder.seconds % 60).padStart(2, "0")}`;
  return (
    <p className="pill recording" aria-label={words.recordingTime(time)}>
      <span className="dot" aria-hidden="true" />
      {time}
    </p>
  );
}
