import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Api, ApiError } from "./api";
import { Link } from "./link";
import type { openPeer, PeerEvents } from "./peer";

interface Opened {
  events: PeerEvents;
  avatar: string | undefined;
  voice: string | undefined;
  closed: boolean;
  microphone?: MediaStreamTrack | null;
  deaf?: boolean;
}

/** A scripted peer: each call of `open` is answered by the next outcome, `undefined` meaning an open connection. */
function scripted(...outcomes: (Error | undefined)[]) {
  const opened: Opened[] = [];
  const api = new Api(() => Promise.resolve(Response.json({ code: 0 })));
  const leave = vi.spyOn(api, "leave");
  const forgotten = vi.fn();
  const open: typeof openPeer = async (_api, options, events) => {
    const entry: Opened = { events, avatar: options.avatar, voice: options.refaudio, closed: false };
    opened.push(entry);
    const failure = outcomes.shift();
    if (failure) throw failure;
    const setMicrophone = async (track: MediaStreamTrack | null) => {
      entry.microphone = track;
      if (entry.deaf) throw new Error("takes no sound");
    };
    return { close: () => (entry.closed = true), setMicrophone, stats: () => Promise.reject(new Error("not asked for here")) };
  };
  const link = new Link({ api, open, avatar: "mira", online: () => true, random: () => 0.5, onUnknownAvatar: forgotten });
  return { link, opened, leave, forgotten };
}

const settle = () => vi.advanceTimersByTimeAsync(0);

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("MediaStream", class {});
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

async function goLive({ link, opened }: ReturnType<typeof scripted>): Promise<Opened> {
  link.connect();
  await settle();
  const peer = opened.at(-1);
  if (!peer) throw new Error("nothing was opened");
  peer.events.answered("7");
  peer.events.live(new MediaStream());
  return peer;
}

describe("a voice", () => {
  it("is the session's from the start, and while somebody talks a changed one begins anew", async () => {
    const script = scripted();
    script.link.setVoice("library:voice-1");
    await settle();
    const first = await goLive(script);
    expect(first.voice).toBe("library:voice-1");
    const before = script.opened.length;
    script.link.setVoice("kokoro:a");
    expect(script.opened).toHaveLength(before);
    await script.link.setMicrophone({} as MediaStreamTrack);
    script.link.setVoice("kokoro:b");
    await settle();
    expect(script.opened.slice(before).map(({ voice }) => voice)).toEqual(["kokoro:b"]);
  });

  it("that is gone does not keep her away", async () => {
    const script = scripted(new ApiError("no such voice", 404));
    script.link.setVoice("library:voice-1");
    await settle();
    expect(script.opened.map(({ voice, avatar }) => [voice, avatar])).toEqual([["library:voice-1", "mira"], [undefined, "mira"]]);
    expect(script.forgotten).not.toHaveBeenCalled();
  });
});

describe("Link", () => {
  it("connects, tells its listeners and hands out the stream", async () => {
    const script = scripted();
    const listener = vi.fn();
    script.link.subscribe(listener);
    await goLive(script);
    expect(script.link.getState()).toMatchObject({ phase: "live", sessionid: "7" });
    expect(script.link.stream).not.toBeNull();
    expect(listener).toHaveBeenCalled();
  });

  it("comes back with growing waits until the server is there again", async () => {
    const away = () => new ApiError("away", 0);
    const script = scripted(away(), away(), away());
    script.link.connect();
    await settle();
    expect(script.link.getState()).toMatchObject({ phase: "waiting", trouble: "unreachable", failures: 1 });
    await vi.advanceTimersByTimeAsync(999);
    expect(script.opened).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(script.opened).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(2_000 + 4_000);
    expect(script.opened).toHaveLength(4);
    script.opened[3]?.events.live(new MediaStream());
    expect(script.link.getState()).toMatchObject({ phase: "live", failures: 0 });
  });

  it("reconnects after a loss and gives the dead session back", async () => {
    const script = scripted();
    const first = await goLive(script);
    first.events.lost("lost");
    expect(script.link.getState()).toMatchObject({ phase: "waiting", met: true, trouble: "lost" });
    expect(script.leave).toHaveBeenCalledWith("7");
    expect(first.closed).toBe(true);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(script.opened).toHaveLength(2);
  });

  it("does not try again without a key, until one is given", async () => {
    const script = scripted(new ApiError("the API key is wrong", 401));
    script.link.connect();
    await vi.advanceTimersByTimeAsync(120_000);
    expect(script.opened).toHaveLength(1);
    expect(script.link.getState()).toMatchObject({ phase: "failed", trouble: "key" });
    script.link.connect(true);
    await settle();
    expect(script.opened).toHaveLength(2);
  });

  it("closes the old connection when another presenter is chosen, and ignores what it still says", async () => {
    const script = scripted();
    const heard = vi.fn();
    script.link.hear(heard);
    const first = await goLive(script);
    script.link.setAvatar("leo");
    await settle();
    expect(first.closed).toBe(true);
    expect(script.leave).toHaveBeenCalledWith("7");
    expect(script.opened[1]?.avatar).toBe("leo");
    expect(script.link.getState()).toMatchObject({ phase: "connecting", met: false });
    first.events.message("late");
    first.events.lost("lost");
    expect(heard).not.toHaveBeenCalled();
    expect(script.link.getState().phase).toBe("connecting");
  });

  it("falls back to the server's presenter when the remembered one is gone", async () => {
    const script = scripted(new ApiError("avatar 'mira' does not exist", 404));
    script.link.connect();
    await settle();
    expect(script.forgotten).toHaveBeenCalledOnce();
    expect(script.opened.map(({ avatar }) => avatar)).toEqual(["mira", undefined]);
  });

  it("sends the microphone over this connection and those after it, until it is switched off", async () => {
    const script = scripted();
    const first = await goLive(script);
    const track = { kind: "audio" } as MediaStreamTrack;
    await script.link.setMicrophone(track);
    expect(first.microphone).toBe(track);
    first.events.lost("lost");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(script.opened[1]?.microphone).toBe(track);
    await script.link.setMicrophone(null);
    expect(script.opened[1]?.microphone).toBeNull();
    script.link.connect(true);
    await settle();
    expect(script.opened[2]?.microphone).toBeUndefined();
  });

  it("says when the server takes no sound, and stays connected", async () => {
    const script = scripted();
    const peer = await goLive(script);
    peer.deaf = true;
    await expect(script.link.setMicrophone({ kind: "audio" } as MediaStreamTrack)).rejects.toThrow("takes no sound");
    expect(script.link.getState().phase).toBe("live");
  });

  it("stops waiting when it is closed", async () => {
    const script = scripted(new ApiError("away", 0));
    script.link.connect();
    await settle();
    script.link.close();
    await vi.advanceTimersByTimeAsync(120_000);
    expect(script.opened).toHaveLength(1);
  });
});
