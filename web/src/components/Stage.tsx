/** The presenter, large and first. */

import { type ReactNode, type RefObject, useEffect, useRef, useState } from "react";

import type { Player } from "../hooks/use-player";
import type { Words } from "../i18n";
import type { LinkState } from "../link-state";
import { Icon } from "./Icon";
import { Wings } from "./Wings";

interface Props {
  stage: RefObject<HTMLElement | null>;
  player: Player;
  link: LinkState;
  poster: string | undefined;
  words: Words;
  children: ReactNode;
}

export function Stage({ stage, player, link, poster, words, children }: Props) {
  const [ratio, setRatio] = useState(1);
  const wide = useIsWiderThan(stage, ratio);
  const picture = useRef<HTMLImageElement>(null);
  const [loaded, setLoaded] = useState<string>();
  const posterShown = poster !== undefined && loaded === poster;
  // A lost stream turns black: the poster takes its place.
  const visible = link.phase === "live" && player.shown;
  return (
    <section
      className="stage"
      ref={stage}
      aria-label={words.stage}
      data-wide={wide}
      data-visible={visible}
      data-still={link.met && link.phase !== "live"}
      style={{ "--ratio": ratio }}
    >
      {poster !== undefined && (
        <img className="picture poster" ref={picture} src={poster} alt="" data-loaded={posterShown} onLoad={() => setLoaded(poster)} />
      )}
      <video
        className="picture video"
        ref={player.video}
        playsInline
        autoPlay
        aria-label={words.presenterPicture}
        onResize={(event) => setRatio(event.currentTarget.videoWidth / event.currentTarget.videoHeight || 1)}
      />
      <Wings video={player.video} poster={picture} live={visible} posterShown={posterShown} />
      {!visible && <div className="shimmer" data-busy={link.phase === "connecting"} aria-hidden="true" />}
      {!visible && link.phase === "connecting" && link.trouble === undefined && <p className="meeting">{words.meeting}</p>}
      {children}
      {player.blocked && link.phase === "live" && (
        <button type="button" className="button tap-for-sound" onClick={player.unblock}>
          <Icon name="sound" /> {words.tapForSound}
        </button>
      )}
    </section>
  );
}

/** Whether the element is wider than a picture of this aspect ratio at full height. */
function useIsWiderThan(element: RefObject<HTMLElement | null>, ratio: number): boolean {
  const [wide, setWide] = useState(false);
  useEffect(() => {
    if (!element.current) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setWide(entry.contentRect.width > entry.contentRect.height * ratio * 1.02);
    });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element, ratio]);
  return wide;
}
