/** Carries the ground of the picture on to both sides of a wide stage, so that a square picture fills it calmly.
 *
 * Two small canvases that lie over the picture's edges, instead of a mask on the video: a mask makes a browser without a
 * GPU draw every frame twice (measured: 31 instead of 19 % of a core at 1440 x 900).
 */

import { type RefObject, useEffect, useRef } from "react";

/** So few that the canvas, stretched, shows soft light and no detail. */
const ROWS = 5;
const COLUMNS = 32;
/** The part of the picture's height whose edge is carried on; shoulders touch the edge below it. */
const GROUND = 0.8;
/** How much of the picture's width at either side is looked at. */
const EDGE = 0.03;
/** How much of the picture's width lies under a wing's fading part; `stage.css` has the same number. */
const FADE = 0.09;
/** How much darker the ground gets towards the stage's edge, 0..1. */
const FALL = 0.2;
/** The first pictures of a stream are coarse; the poster's colours stay until they are good. */
const REFRESH_MS = 3_000;

type Source = HTMLVideoElement | HTMLImageElement;
type Side = "left" | "right";

function sizeOf(source: Source): { width: number; height: number } {
  return source instanceof HTMLVideoElement
    ? { width: source.videoWidth, height: source.videoHeight }
    : { width: source.naturalWidth, height: source.naturalHeight };
}

/** Paints one wing, inner edge to the right; the left wing as it is, the right one mirrored by CSS. */
function paint(canvas: HTMLCanvasElement, source: Source, side: Side): void {
  const context = canvas.getContext("2d");
  const { width, height } = sizeOf(source);
  if (!context || width === 0 || height === 0 || canvas.clientWidth === 0) return;
  const fadePx = (canvas.clientHeight * FADE * width) / height;
  const fadeFrom = COLUMNS * Math.max(0, 1 - fadePx / canvas.clientWidth);
  const edge = Math.max(1, width * EDGE);
  const x = side === "left" ? 0 : width - edge;
  context.reset();
  context.imageSmoothingQuality = "high";
  context.drawImage(source, x, 0, edge, height * GROUND, 0, 0, COLUMNS, ROWS - 1);
  context.drawImage(source, x, height * (GROUND - 1 / ROWS), edge, height / ROWS, 0, ROWS - 1, COLUMNS, 1);
  context.fillStyle = ramp(context, 0, fadeFrom, `rgb(0 0 0 / ${FALL})`, "rgb(0 0 0 / 0)");
  context.fillRect(0, 0, COLUMNS, ROWS);
  context.globalCompositeOperation = "destination-in";
  context.fillStyle = ramp(context, fadeFrom, COLUMNS, "#000", "rgb(0 0 0 / 0)");
  context.fillRect(0, 0, COLUMNS, ROWS);
}

function ramp(context: CanvasRenderingContext2D, from: number, to: number, first: string, last: string): CanvasGradient {
  const gradient = context.createLinearGradient(from, 0, to, 0);
  gradient.addColorStop(0, first);
  gradient.addColorStop(1, last);
  return gradient;
}

interface Props {
  video: RefObject<HTMLVideoElement | null>;
  poster: RefObject<HTMLImageElement | null>;
  live: boolean;
  posterShown: boolean;
}

export function Wings({ video, poster, live, posterShown }: Props) {
  const left = useRef<HTMLCanvasElement>(null);
  const right = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    let settled = !posterShown;
    const refresh = () => {
      const source = live && settled ? video.current : poster.current;
      if (left.current && source) paint(left.current, source, "left");
      if (right.current && source) paint(right.current, source, "right");
    };
    refresh();
    const observer = new ResizeObserver(refresh);
    if (left.current) observer.observe(left.current);
    const timer = setInterval(() => {
      settled = true;
      refresh();
    }, REFRESH_MS);
    return () => {
      observer.disconnect();
      clearInterval(timer);
    };
  }, [video, poster, live, posterShown]);
  return (
    <>
      <canvas ref={left} className="wing" width={COLUMNS} height={ROWS} aria-hidden="true" />
      <canvas ref={right} className="wing right" width={COLUMNS} height={ROWS} aria-hidden="true" />
    </>
  );
}
