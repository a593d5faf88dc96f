/** What the microphone does, who speaks, how long the answer took, and why nobody is heard. */

import { useSpaceBar } from "../hooks/use-space-bar";
import type { Voice } from "../hooks/use-voice";
import type { Language } from "../i18n";
import type { VoiceWords } from "../i18n-voice";
import { announcedOf, isOpen, shownOf } from "../voice-state";
import { Icon } from "./Icon";
import { IconButton } from "./IconButton";
import { LatencyPanel } from "./LatencyPanel";
import { LevelMeter } from "./LevelMeter";

interface Props {
  voice: Voice;
  live: boolean;
  words: VoiceWords;
  language: Language;
}

export function VoiceBar({ voice, live, words, language }: Props) {
  const { state } = voice;
  const shown = shownOf(state);
  const talks = state.phase === "on" && state.way === "push" && !state.muted;
  useSpaceBar(talks, voice.press, voice.release);
  return (
    <>
      <span className="visually-hidden" role="status">
        {announcement(voice, words)}
      </span>
      {state.trouble !== undefined && <VoiceTrouble voice={voice} live={live} words={words} />}
      {shown !== "off" && (
        <section className="voice" aria-label={words.status} data-shown={shown} data-testid="voice">
          <div className="voice-row">
            <LevelMeter microphone={voice.microphone} open={isOpen(state)} />
            <p className="voice-label" aria-hidden="true">
              {state.note ? words.note[state.note] : words.shown[shown]}
            </p>
            {state.latency && <LatencyPanel latency={state.latency} words={words} language={language} />}
            {state.phase === "on" && <Switches voice={voice} words={words} />}
          </div>
          {talks && <HoldButton voice={voice} words={words} />}
        </section>
      )}
    </>
  );
}

/** Nothing before the microphone was used for the first time. */
function announcement({ state }: Voice, words: VoiceWords): string {
  if (state.phase === "off") return "";
  return state.note ? words.note[state.note] : words.shown[announcedOf(state)];
}

function Switches({ voice, words }: { voice: Voice; words: VoiceWords }) {
  const { way, muted } = voice.state;
  return (
    <>
      <IconButton icon="press" label={words.push} pressed={way === "push"} onClick={() => voice.setWay(way === "push" ? "open" : "push")} />
      <IconButton icon="microphoneOff" label={words.mute} pressed={muted} onClick={() => voice.mute(!muted)} />
    </>
  );
}

function HoldButton({ voice, words }: { voice: Voice; words: VoiceWords }) {
  const { held } = voice.state;
  return (
    <button
      type="button"
      className="hold"
      data-talk=""
      aria-pressed={held}
      title={words.pushHint}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        voice.press();
      }}
      onLostPointerCapture={voice.release}
      onKeyDown={(event) => event.key === "Enter" && event.repeat && event.preventDefault()}
      onClick={({ detail }) => detail === 0 && (held ? voice.release() : voice.press())} // screen readers and Enter cannot hold
      onContextMenu={(event) => event.preventDefault()} // a long press on a phone
      data-testid="hold"
    >
      <Icon name="press" />
      {held ? words.release : words.hold}
    </button>
  );
}

function VoiceTrouble({ voice, live, words }: Pick<Props, "voice" | "live" | "words">) {
  const { trouble, detail } = voice.state;
  if (trouble === undefined) return null;
  const { title, remedy } = words.trouble[trouble];
  return (
    <div className="voice-trouble" role="alert" data-trouble={trouble} data-testid="voice-trouble">
      <div>
        <strong>{title}</strong>
        <p>{remedy}</p>
        {detail !== undefined && (
          <p className="voice-detail">
            {trouble === "deaf" ? words.serverSays : words.browserSays} <span lang="en">{detail}</span>
          </p>
        )}
        <button type="button" className="text-button" disabled={!live} onClick={voice.toggle}>
          {words.tryAgain}
        </button>
      </div>
      <IconButton icon="close" label={words.dismiss} onClick={voice.dismiss} />
    </div>
  );
}
