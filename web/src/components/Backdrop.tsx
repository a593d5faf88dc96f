/** Carries the edges of the picture on to the edges of the stage, so that a square picture fills a wide screen calmly. */

import { type RefObject, useEffect, useRef } from "react";

/** So few that what touches the edge only at one height (a shoulder) melts into the ground. */
const ROWS = 5;
/** Half of them for either side, from the outside in. */
const COLUMNS = 8;
/** How much darker the outer columns are: the picture's own fall of light goes on. */
const SHADES = [0.16, 0.09, 0.04] as const;
/** How much of the picture's width at either side is carried on. */
const EDGE = 0.04;
/** The first pictures of a stream are coarse; the poster's colours stay until they are good. */
const REFRESH_MS = 3_000;

type Source = HTMLVideoElement | HTMLImageElement;

function paint(canvas: HTMLCanvasElement, source: Source): void {
  const context = canvas.getContext("2d");
  const width = source instanceof HTMLVideoElement ? source.videoWidth : source.naturalWidth;
  const height = source instanceof HTMLVideoElement ? source.videoHeight : source.naturalHeight;
  if (!context || width === 0 || height === 0) return;
  const edge = Math.max(1, width * EDGE);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, edge, height, 0, 0, COLUMNS / 2, ROWS);
  context.drawImage(source, width - edge, 0, edge, height, COLUMNS / 2, 0, COLUMNS / 2, ROWS);
  for (const [column, shade] of SHADES.entries()) {
    context.fillStyle = `rgb(0 0 0 / ${shade})`;
    context.fillRect(column, 0, 1, ROWS);
    context.fillRect(COLUMNS - 1 - column, 0, 1, ROWS);
  }
}

interface Props {
  video: RefObject<HTMLVideoElement | null>;
  poster: RefObject<HTMLImageElement | null>;
  live: boolean;
  /** Changes when there is another poster to paint. */
  posterShown: boolean;
}

export function Backdrop({ video, poster, live, posterShown }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const refresh = () => {
      const source = live ? video.current : poster.current;
      if (canvas.current && source) paint(canvas.current, source);
    };
    if (!live) {
      if (posterShown) refresh();
      return;
    }
    if (!posterShown) refresh();
    const timer = setInterval(refresh, REFRESH_MS);
    return () => clearInterval(timer);
  }, [video, poster, live, posterShown]);
  return <canvas ref={canvas} className="backdrop" width={COLUMNS} height={ROWS} aria-hidden="true" />;
}
