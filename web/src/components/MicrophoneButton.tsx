import type { Voice } from "../hooks/use-voice";
import type { VoiceWords } from "../i18n-voice";
import { Icon } from "./Icon";

interface Props {
  voice: Voice;
  live: boolean;
  words: VoiceWords;
}

/** Switches the microphone on and off. */
export function MicrophoneButton({ voice, live, words }: Props) {
  const { phase } = voice.state;
  const label = { off: words.turnOn, asking: words.cancel, on: words.turnOff }[phase];
  return (
    <button
      type="button"
      className="microphone"
      data-phase={phase}
      aria-label={label}
      title={label}
      aria-pressed={phase === "on"}
      disabled={!live && phase === "off"}
      onClick={voice.toggle}
      data-testid="microphone"
    >
      <Icon name="microphone" filled={phase === "on"} />
    </button>
  );
}
