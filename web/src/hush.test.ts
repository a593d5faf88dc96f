import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { HUSH_MS, Hush } from "./hush";

const told = (event: string) => JSON.stringify({ event, turn: 1 });

describe("Hush", () => {
  const track = { enabled: true } as MediaStreamTrack;
  const hush = new Hush(() => [track]);
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => {
    hush.end();
    vi.useRealTimers();
  });

  it.each(["paused", "interrupted"])("plays nothing of what is still buffered when she has %s", (event) => {
    hush.hear(told(event));
    expect(track.enabled).toBe(false);
    vi.advanceTimersByTime(HUSH_MS - 1);
    expect(track.enabled).toBe(false);
    vi.advanceTimersByTime(1);
    expect(track.enabled).toBe(true);
  });

  it.each(["resumed", "speech.started"])("lets her be heard at once when she has %s", (event) => {
    hush.hear(told("paused"));
    hush.hear(told(event));
    expect(track.enabled).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("counts from the last time she stopped", () => {
    hush.hear(told("paused"));
    vi.advanceTimersByTime(HUSH_MS / 2);
    hush.hear(told("interrupted"));
    vi.advanceTimersByTime(HUSH_MS / 2);
    expect(track.enabled).toBe(false);
    vi.advanceTimersByTime(HUSH_MS / 2);
    expect(track.enabled).toBe(true);
  });

  it("does nothing at any other event, or at what is none", () => {
    for (const message of [told("word"), told("speech.ended"), "not json", "[]"]) hush.hear(message);
    expect(track.enabled).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });
});
