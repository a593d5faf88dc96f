/** The controls that lie on the picture. */

import { type RefObject, useCallback, useSyncExternalStore } from "react";

import type { Player } from "../hooks/use-player";
import type { Recorder } from "../hooks/use-recorder";
import type { Words } from "../i18n";
import { IconButton } from "./IconButton";

interface Props {
  stage: RefObject<HTMLElement | null>;
  player: Player;
  recorder: Recorder;
  live: boolean;
  captions: boolean;
  statistics: boolean;
  onCaptions(): void;
  onStatistics(): void;
  words: Words;
}

export function StageBar({ stage, player, recorder, live, captions, statistics, onCaptions, onStatistics, words }: Props) {
  const silent = player.muted || player.blocked;
  const full = useFullscreen(stage, player);
  return (
    <div className="stage-bar">
      <IconButton
        icon={silent ? "muted" : "sound"}
        label={silent ? words.unmute : words.mute}
        onClick={() => (player.blocked ? player.unblock() : player.setMuted(!player.muted))}
      />
      <input
        className="volume"
        type="range"
        min={0}
        max={1}
        step={0.05}
        value={silent ? 0 : player.volume}
        aria-label={words.volume}
        onChange={(event) => player.setVolume(event.target.valueAsNumber)}
      />
      <span className="spacer" />
      <IconButton
        icon={recorder.phase === "on" ? "stop" : "record"}
        filled={recorder.phase === "on"}
        className={recorder.phase === "on" ? "recording" : ""}
        label={recorder.phase === "on" ? words.stopRecording : words.record}
        disabled={!live || recorder.phase === "preparing"}
        onClick={recorder.toggle}
      />
      <IconButton icon="captions" label={words.captions} pressed={captions} onClick={onCaptions} />
      <IconButton icon="statistics" label={words.statistics} pressed={statistics} onClick={onStatistics} />
      {full.possible && (
        <IconButton icon={full.on ? "shrink" : "fullscreen"} label={full.on ? words.exitFullscreen : words.fullscreen} onClick={full.toggle} />
      )}
    </div>
  );
}

function onFullscreen(change: () => void): () => void {
  document.addEventListener("fullscreenchange", change);
  return () => document.removeEventListener("fullscreenchange", change);
}

type IosVideo = HTMLVideoElement & { webkitEnterFullscreen?: () => void };

function useFullscreen(stage: RefObject<HTMLElement | null>, player: Player) {
  const on = useSyncExternalStore(onFullscreen, () => document.fullscreenElement !== null);
  const toggle = useCallback(() => {
    const video = player.video.current as IosVideo | null;
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (stage.current?.requestFullscreen) void stage.current.requestFullscreen();
    else video?.webkitEnterFullscreen?.(); // iPhones only enlarge the video itself
  }, [stage, player.video]);
  return { on, toggle, possible: document.fullscreenEnabled || "webkitEnterFullscreen" in HTMLVideoElement.prototype };
}
