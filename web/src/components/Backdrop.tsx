/** Carries the edges of the picture on to the edges of the stage, so that a square picture fills a wide screen calmly. */

import { type RefObject, useEffect, useRef } from "react";

/** So few that what touches the edge only at one height (a shoulder) melts into the ground. */
const ROWS = 5;
/** How much of the picture's width at either side is carried on. */
const EDGE = 0.04;
const REFRESH_MS = 2_000;
/** How much of a new picture shows at once: a passing change, or the coarse first frame of a stream, does not flash. */
const BLEND = 0.15;

type Source = HTMLVideoElement | HTMLImageElement;

function paint(canvas: HTMLCanvasElement, source: Source, blend: number): void {
  const context = canvas.getContext("2d");
  const width = source instanceof HTMLVideoElement ? source.videoWidth : source.naturalWidth;
  const height = source instanceof HTMLVideoElement ? source.videoHeight : source.naturalHeight;
  if (!context || width === 0 || height === 0) return;
  const edge = Math.max(1, width * EDGE);
  context.imageSmoothingQuality = "high";
  context.globalAlpha = blend;
  context.drawImage(source, 0, 0, edge, height, 0, 0, 1, ROWS);
  context.drawImage(source, width - edge, 0, edge, height, 1, 0, 1, ROWS);
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
  const painted = useRef(false);
  useEffect(() => {
    const refresh = () => {
      const source = live ? video.current : posterShown ? poster.current : null;
      if (!canvas.current || !source) return;
      paint(canvas.current, source, live && painted.current ? BLEND : 1);
      painted.current = true;
    };
    refresh();
    if (!live) return;
    const timer = setInterval(refresh, REFRESH_MS);
    return () => clearInterval(timer);
  }, [video, poster, live, posterShown]);
  return <canvas ref={canvas} className="backdrop" width={2} height={ROWS} aria-hidden="true" />;
}
