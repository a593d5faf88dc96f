/** Plays one thing on the page's only player, with a ring for how far it is. */

import { useEffect } from "react";

import { Icon } from "../../components/Icon";
import { sentence, useDeck, useLibrary } from "../context";
import type { Track } from "../deck";

interface Props {
  track: Track;
  name: string;
  className?: string;
}

export function PlayButton({ track, name, className = "" }: Props) {
  const { deck, words, tell } = useLibrary();
  const state = useDeck();
  const mine = state.key === track.key;
  const phase = mine ? state.phase : "idle";
  const error = mine && phase === "failed" ? state.error : undefined;
  useEffect(() => {
    if (error === undefined) return;
    tell(words.cannotPlay(sentence(error, words)));
    deck.stop();
  }, [error, deck, tell, words]);
  const sounding = phase === "playing" || phase === "loading";
  return (
    <button
      type="button"
      className={`play ${className}`}
      data-phase={phase}
      style={{ "--done": `${Math.round(100 * (mine ? state.part : 0))}%` }}
      aria-label={sounding ? words.pause(name) : words.play(name)}
      onClick={() => void deck.toggle(track)}
    >
      <Icon name={sounding ? "pause" : "play"} filled={!sounding} />
    </button>
  );
}
