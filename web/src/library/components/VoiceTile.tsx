/** A voice in a list: heard here, opened by its name. */

import { Link } from "wouter";

import { voiceName } from "../../voices";
import { useLibrary } from "../context";
import { count, languageName } from "../format";
import type { VoiceCard } from "../shapes";
import { trackOf } from "../tracks";
import { KindBadge } from "./Badges";
import { Orb } from "./Orb";
import { PlayButton } from "./PlayButton";

/** Where a voice is looked at; a built-in one has nothing to show but what it can do. */
export function pathOf(voice: VoiceCard): string {
  return voice.builtin ? `/voices/generate?voice=${encodeURIComponent(voice.voiceId)}` : `/voices/${voice.voiceId}`;
}

export function nameOf(voice: VoiceCard): string {
  return voice.builtin ? voiceName(voice.voiceId) : voice.name;
}

export function VoiceTile({ voice }: { voice: VoiceCard }) {
  const { api, words, language } = useLibrary();
  const name = nameOf(voice);
  const track = trackOf(voice, api, words);
  const facts = [...voice.languages.slice(0, 3).map((tag) => languageName(tag, language)), voice.gender === "" ? "" : words.gender[voice.gender]];
  return (
    <li className="tile" data-testid="voice-card">
      <div className="tile-face">
        <Orb id={voice.voiceId} />
        {track !== undefined && <PlayButton track={track} name={name} className="play-over" />}
      </div>
      <div className="tile-text">
        <h3>
          <Link href={pathOf(voice)}>{name}</Link>
        </h3>
        <p className="tile-facts">{facts.filter((fact) => fact !== "").join(" · ")}</p>
        <p className="tile-about">{voice.description || voice.tags.map((tag) => `#${tag}`).join(" ")}</p>
      </div>
      <div className="tile-foot">
        <KindBadge voice={voice} />
        {voice.mine && <span className="badge">{voice.public ? words.badge.public : words.badge.private}</span>}
        <span className="spacer" />
        <span className="faint">{voice.builtin ? voice.maker : words.uses(voice.uses, count(voice.uses, language))}</span>
      </div>
    </li>
  );
}
