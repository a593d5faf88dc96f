import { describe, expect, it } from "vitest";

import { ApiError } from "./api";
import { FIRST_STATE, type LinkState, reduceLink, type Trouble, troubleOf, waitMs } from "./link-state";

const live: LinkState = { phase: "live", met: true, failures: 0, sessionid: "7" };

function failed(state: LinkState, trouble: Trouble): LinkState {
  return reduceLink(state, { type: "failed", trouble, retryAtMs: 5_000 });
}

describe("reduceLink", () => {
  it("goes from the first try to live", () => {
    const answered = reduceLink(FIRST_STATE, { type: "answered", sessionid: "7" });
    expect(answered).toMatchObject({ phase: "connecting", sessionid: "7" });
    expect(reduceLink(answered, { type: "live" })).toEqual(live);
  });

  it("waits after a failure that may pass, without the lost session", () => {
    expect(failed(live, "lost")).toEqual({ phase: "waiting", met: true, failures: 1, trouble: "lost", retryAtMs: 5_000 });
  });

  it.each(["key", "unsupported", "refused"] as const)("gives up on %s: another try changes nothing", (trouble) => {
    const state = failed(FIRST_STATE, trouble);
    expect(state.phase).toBe("failed");
    expect(state.retryAtMs).toBeUndefined();
  });

  it("counts failures in a row and forgets them once live", () => {
    const twice = failed(failed(FIRST_STATE, "unreachable"), "unreachable");
    expect(twice.failures).toBe(2);
    expect(reduceLink(twice, { type: "live" })).toMatchObject({ failures: 0, met: true });
    expect(reduceLink(twice, { type: "live" }).trouble).toBeUndefined();
  });

  it("keeps the reason in sight while it tries again, and drops it for another presenter", () => {
    const waiting = failed(FIRST_STATE, "capacity");
    expect(reduceLink(waiting, { type: "try" })).toEqual({ phase: "connecting", met: false, failures: 1, trouble: "capacity" });
    expect(reduceLink(waiting, { type: "try", fresh: true })).toEqual(FIRST_STATE);
  });
});

describe("waitMs", () => {
  it("doubles up to 30 s", () => {
    expect([1, 2, 3, 4, 5, 6, 7, 50].map((n) => waitMs(n, undefined, 0.5))).toEqual([
      1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 30_000, 30_000,
    ]);
  });

  it("spreads by a fifth either way", () => {
    expect(waitMs(3, undefined, 0)).toBe(3_200);
    expect(waitMs(3, undefined, 1)).toBe(4_800);
  });

  it("never comes back before the server asked", () => {
    expect(waitMs(1, 5, 0)).toBe(5_000);
  });
});

describe("troubleOf", () => {
  it.each([
    [0, true, "unreachable"],
    [0, false, "offline"],
    [401, true, "key"],
    [403, true, "refused"],
    [404, true, "refused"],
    [429, true, "busy"],
    [500, true, "server"],
    [503, true, "capacity"],
  ] as const)("status %i (online %s) is %s", (status, online, trouble) => {
    expect(troubleOf(new ApiError("words", status), online).trouble).toBe(trouble);
  });

  it("knows LiveTalking's full house, which comes with status 200", () => {
    expect(troubleOf(new ApiError("Maximum session limit reached (5/5)", 200), true).trouble).toBe("capacity");
  });

  it("passes on the server's words and wait", () => {
    expect(troubleOf(new ApiError("full", 503, 9), true)).toEqual({ trouble: "capacity", detail: "full", waitS: 9 });
  });

  it("takes a description the browser cannot use for a media problem", () => {
    expect(troubleOf(new Error("bad sdp"), true)).toEqual({ trouble: "media", detail: "bad sdp" });
  });
});
