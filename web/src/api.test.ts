import { describe, expect, it, vi } from "vitest";

import { Api, ApiError, refusal } from "./api";

function answering(body: unknown, status = 200, headers: Record<string, string> = {}) {
  const send = vi.fn(async (_path: string, _init: RequestInit) => Response.json(body, { status, headers }));
  return { api: new Api(send), send };
}

function sentBody(send: { mock: { calls: [string, RequestInit][] } }): unknown {
  return JSON.parse(String(send.mock.calls[0]?.[1].body));
}

describe("refusal", () => {
  it("takes success with and without a code", () => {
    expect(refusal(200, { code: 0, msg: "ok" }, null)).toBeUndefined();
    expect(refusal(200, { sdp: "v=0" }, null)).toBeUndefined();
  });

  it("sees the failure that LiveTalking servers hide behind status 200", () => {
    expect(refusal(200, { code: -1, msg: "session not found" }, null)?.message).toBe("session not found");
  });

  it("names the status when the server gives no words", () => {
    expect(refusal(502, undefined, null)?.message).toBe("HTTP 502");
  });

  it("reads Retry-After in seconds and ignores a date", () => {
    expect(refusal(503, {}, "5")?.retryAfterS).toBe(5);
    expect(refusal(503, {}, "Fri, 31 Dec 1999 23:59:59 GMT")?.retryAfterS).toBeUndefined();
  });
});

describe("Api", () => {
  it("keeps a numeric session id as a string", async () => {
    const { api } = answering({ sdp: "v=0", type: "answer", sessionid: 123456 });
    expect((await api.offer({ type: "offer", sdp: "v=0" }, {})).sessionid).toBe("123456");
  });

  it("sends the presenter with the offer", async () => {
    const { api, send } = answering({ sdp: "v=0", type: "answer", sessionid: "1" });
    await api.offer({ type: "offer", sdp: "v=0" }, { avatar: "mira" });
    expect(sentBody(send)).toEqual({ type: "offer", sdp: "v=0", avatar: "mira" });
  });

  it("refuses an answer without a description", async () => {
    const { api } = answering({ code: 0 });
    await expect(api.offer({ type: "offer", sdp: "v=0" }, {})).rejects.toThrow("no sdp");
  });

  it("sends the voice as tts.voice, and nothing when there is no choice", async () => {
    const chosen = answering({ code: 0 });
    await chosen.api.human("7", { type: "echo", text: "hi", voice: "kokoro:zf_xiaobei" });
    expect(sentBody(chosen.send)).toEqual({ sessionid: "7", type: "echo", text: "hi", tts: { voice: "kokoro:zf_xiaobei" } });
    const automatic = answering({ code: 0 });
    await automatic.api.human("7", { type: "chat", text: "hi", voice: "", interrupt: true });
    expect(sentBody(automatic.send)).toEqual({ sessionid: "7", type: "chat", text: "hi", interrupt: true });
  });

  it("turns an error body into an ApiError with status and wait", async () => {
    const { api } = answering({ code: -1, msg: "all 4 sessions are taken" }, 503, { "Retry-After": "5" });
    const error: unknown = await api.interrupt("1").catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ message: "all 4 sessions are taken", status: 503, retryAfterS: 5 });
  });

  it("reports a server that does not answer as status 0", async () => {
    const api = new Api(() => Promise.reject(new TypeError("Failed to fetch")));
    await expect(api.voices()).rejects.toMatchObject({ status: 0 });
  });

  it("lets an abort through as it is", async () => {
    const api = new Api(() => Promise.reject(new DOMException("gone", "AbortError")));
    await expect(api.voices()).rejects.toMatchObject({ name: "AbortError" });
  });

  it("sends the key once it is known", async () => {
    const { api, send } = answering({ code: 0 });
    await api.interrupt("1");
    api.setKey("secret");
    await api.interrupt("1");
    expect(new Headers(send.mock.calls[0]?.[1].headers).get("Authorization")).toBeNull();
    expect(new Headers(send.mock.calls[1]?.[1].headers).get("Authorization")).toBe("Bearer secret");
  });

  it("asks for refusals in the page's language", async () => {
    const { api, send } = answering({ code: 0 });
    api.setLanguage("zh");
    await api.interrupt("1");
    expect(new Headers(send.mock.calls[0]?.[1].headers).get("Accept-Language")).toBe("zh");
  });

  it("leaves out rows it cannot use, and fills what may be missing", async () => {
    const { api } = answering({ code: 0, data: { avatars: [{ id: "mira", names: { zh: "米拉" } }, { name: "no id" }, 7] } });
    expect(await api.avatars()).toEqual([{ id: "mira", name: "mira", names: { zh: "米拉" }, licence: "" }]);
    expect(await answering({ code: 0 }).api.voices()).toEqual([]);
  });

  it("believes only a server that says it makes avatars", async () => {
    expect(await answering({ code: 0, data: { avatars: true, clip_mb_max: 23 } }).api.client()).toMatchObject({ avatars: true, clipMiBMax: 23 });
    expect(await answering({ code: 0, data: { avatars: "yes" } }).api.client()).toMatchObject({ avatars: false });
  });

  it("reads builds, and leaves out those it cannot follow", async () => {
    const row = { task_id: "7", avatar_id: "ana", status: "running", stage: "track", progress: 140, error_msg: "", duration: null };
    const { api } = answering({ code: 0, data: { tasks: [row, { ...row, status: "paused" }, { status: "failed" }, null] } });
    expect(await api.builds()).toEqual([{ id: "7", avatar: "ana", status: "running", stage: "track", percent: 100, error: "", notes: [] }]);
  });

  it("deletes by id, whatever the id holds", async () => {
    const { api, send } = answering({ code: 0 });
    await api.deleteAvatar("a/b");
    await api.endBuild("7");
    expect(send.mock.calls.map(([path, init]) => [path, init.method])).toEqual([["api/avatars/a%2Fb", "DELETE"], ["api/avatar/task/7", "DELETE"]]);
  });
});
