import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { ApiError } from "./api";
import { BuildWatch, failureOf, queuedBefore, RESTING_MS, RUNNING_MS, type WatchOptions } from "./builds";
import type { Build } from "./shapes";

const build = (id: string, status: Build["status"], percent = 0): Build => ({ id, avatar: id, status, stage: "", percent, error: "", notes: [] });

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A server that gives these answers in turn, the last one for ever. */
function watching(answers: (Build[] | Error)[], options: Partial<WatchOptions> = {}) {
  let asked = 0;
  const builds = vi.fn(async () => {
    const answer = answers[Math.min(asked++, answers.length - 1)] ?? [];
    if (answer instanceof Error) throw answer;
    return answer;
  });
  const watch = new BuildWatch({ api: { builds }, online: () => true, ...options });
  const ended: [string, string, boolean][] = [];
  watch.onEnd(({ id, status }, mine) => ended.push([id, status, mine]));
  return { watch, builds, ended };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe("BuildWatch", () => {
  it("asks nothing before the server is known to build, nor while nobody looks", async () => {
    const { watch, builds } = watching([[]], { mine: [] });
    watch.follow(false, true);
    watch.follow(true, false);
    await pass(60_000);
    expect(builds).not.toHaveBeenCalled();
  });

  it("asks every second while something runs, seldom when all is over, never once closed", async () => {
    const { watch, builds } = watching([[build("a", "running", 10)], [build("a", "running", 40)], [build("a", "completed", 100)]]);
    watch.follow(true, true);
    await pass(0);
    expect(watch.getState()).toMatchObject({ answered: true, builds: [{ percent: 10 }] });
    await pass(RUNNING_MS);
    expect(watch.getState().builds[0]?.percent).toBe(40);
    await pass(RUNNING_MS);
    expect(builds).toHaveBeenCalledTimes(3);
    await pass(RESTING_MS - 1);
    expect(builds).toHaveBeenCalledTimes(3);
    await pass(1);
    expect(builds).toHaveBeenCalledTimes(4);
    watch.close();
    await pass(60_000);
    expect(builds).toHaveBeenCalledTimes(4);
  });

  it("tells each end once, and whose it was", async () => {
    const { watch, ended } = watching([
      [build("b", "pending"), build("a", "running"), build("old", "failed")],
      [build("b", "running"), build("a", "completed"), build("old", "failed")],
      [build("b", "cancelled"), build("a", "completed"), build("old", "failed")],
    ]);
    watch.add("b");
    watch.follow(true, true);
    await pass(10_000);
    expect(ended).toEqual([["a", "completed", false], ["b", "cancelled", true]]);
  });

  it("follows its own to the end with nobody looking, also after a reload", async () => {
    const kept: (readonly string[])[] = [];
    const { watch, builds, ended } = watching([[build("a", "running")], [build("a", "failed")]], {
      mine: ["a", "forgotten by the server"],
      onMine: (ids) => kept.push(ids),
    });
    watch.follow(true, false);
    await pass(60_000);
    expect(ended).toEqual([["a", "failed", true]]);
    expect(kept).toEqual([["a"], []]);
    expect(builds).toHaveBeenCalledTimes(2);
  });

  it("tells the end of its own that was over before it was seen running", async () => {
    const { watch, ended } = watching([[build("a", "completed")]]);
    watch.follow(true, false);
    watch.add("a");
    await pass(0);
    expect(ended).toEqual([["a", "completed", true]]);
  });

  it("keeps the list while the server is away, says why, and asks ever less often", async () => {
    const gone = new ApiError("the server does not answer", 0);
    const { watch, builds } = watching([[build("a", "running")], gone, gone, [build("a", "running", 50)]]);
    watch.follow(true, true);
    await pass(RUNNING_MS);
    expect(watch.getState()).toMatchObject({ away: "unreachable", builds: [{ id: "a" }] });
    await pass(2_000);
    expect(builds).toHaveBeenCalledTimes(3);
    await pass(3_999);
    expect(builds).toHaveBeenCalledTimes(3);
    await pass(1);
    expect(watch.getState().away).toBeUndefined();
    expect(watch.getState().builds[0]?.percent).toBe(50);
  });

  it("knows a missing network and a refusal from an absent server", async () => {
    const offline = watching([new ApiError("the server does not answer", 0)], { online: () => false });
    offline.watch.follow(true, true);
    const refused = watching([new ApiError("the API key is wrong", 401)]);
    refused.watch.follow(true, true);
    await pass(0);
    expect(offline.watch.getState()).toMatchObject({ away: "offline", answered: false });
    expect(refused.watch.getState()).toMatchObject({ away: "refused", said: "the API key is wrong" });
  });

  it("drops the answer to a question that a newer one has replaced", async () => {
    const late: ((builds: Build[]) => void)[] = [];
    const watch = new BuildWatch({ api: { builds: () => new Promise((resolve) => late.push(resolve)) }, online: () => true });
    watch.follow(true, true);
    watch.ask();
    late[1]?.([build("new", "running")]);
    await pass(0);
    late[0]?.([build("stale", "running")]);
    await pass(0);
    expect(watch.getState().builds.map(({ id }) => id)).toEqual(["new"]);
    watch.close();
  });
});

describe("queuedBefore", () => {
  it("counts what is older and not over", () => {
    const builds = [build("c", "pending"), build("b", "pending"), build("gone", "cancelled"), build("a", "running")];
    expect(builds.map((each) => queuedBefore(builds, each))).toEqual([2, 1, 1, 0]);
  });
});

describe("failureOf", () => {
  it.each([
    ["x.mp4: no face was found in any of its 50 frames (2.00 s); a face seen from the front is needed", "noFace"],
    ["x.mp4: no face in 20 of 50 frames: 0.40 s to 1.20 s; at most a third may lack it", "faceLost"],
    ["x.mp4: frame 10 (0.40 s) shows two faces, 1 and 2; one is needed, or ask for the largest", "twoFaces"],
    ["x.mp4 lasts 0.20 s; at least 1 s is needed", "tooShort"],
    ["x.png: the face is 30 pixels wide in a picture of 640 x 480; at least 60 are needed", "faceSmall"],
    ["x.png is 20 x 20 pixels; allowed: 64 to 8192 a side", "pictureSize"],
    ["x.mp4 is damaged: it states 9.00 s, but its pictures end after 1.00 s", "unreadable"],
    ["x.heic is a HEIC photo, which cannot be read; save it as JPEG or PNG", "unreadable"],
    ["the build ended with -9: it said nothing", "other"],
  ])("%s", (error, failure) => {
    expect(failureOf(error)).toBe(failure);
  });
});
