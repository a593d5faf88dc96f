/** The whole HTTP interface of the server, typed. Nothing else in the page calls `fetch`. */

import { avatarOf, buildOf, hasId, isRecord, parse, rowsOf, voiceOf } from "./answers";
import type { ListeningAction } from "./listening-orders";

export interface OfferOptions {
  avatar?: string;
}

export interface Answer {
  sdp: string;
  type: "answer";
  sessionid: string;
}

export interface HumanOptions {
  type: "echo" | "chat";
  text: string;
  interrupt?: boolean;
  /** Voice id of `GET /api/speech/voices`; the server chooses by language without it. */
  voice?: string;
}

export interface Avatar {
  id: string;
  name: string;
  /** By language: `en`, `zh`. */
  names: Record<string, string>;
  poster?: string;
  /** SPDX identifier, or `private` for one that somebody made here. */
  licence: string;
}

export type BuildStatus = "pending" | "running" | "completed" | "failed" | "cancelled";

/** One avatar in the making, or what became of it. */
export interface Build {
  id: string;
  avatar: string;
  status: BuildStatus;
  /** `decode`, `track`, `write` or `preview`; empty before it begins. */
  stage: string;
  /** 0..100. */
  percent: number;
  /** Why it failed, in the server's words. */
  error: string;
  /** What the build found worth saying, in the server's words. */
  notes: string[];
  /** How long it took. */
  seconds?: number;
}

export interface Voice {
  id: string;
  engine: string;
  /** BCP 47 primary tags, best first. */
  languages: string[];
  gender: string;
  licence?: string;
}

/** What the server tells a page before it connects. */
export interface ClientInfo {
  iceServers: RTCIceServer[];
  /** The presenter shown when the offer names none; empty when the server does not say. */
  avatar: string;
  /** False when no language model is configured. */
  chat: boolean;
  textCharactersMax: number;
  uploadMiBMax: number;
  /** Whether it makes avatars of clips and photos. */
  avatars: boolean;
  clipMiBMax: number;
  /** Whether it listens to microphones. */
  microphone: boolean;
  /** Why not, in the server's words; empty when it does or does not say. */
  microphoneTrouble: string;
}

/** For a server that says nothing, as LiveTalking's: its limits show when they are met. */
export const PLAIN_SERVER: ClientInfo = {
  iceServers: [],
  avatar: "",
  chat: true,
  textCharactersMax: 5_000,
  uploadMiBMax: 100,
  avatars: false,
  clipMiBMax: 100,
  microphone: false,
  microphoneTrouble: "",
};

/** The server could not be reached, or answered with an error. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    message: string,
    /** HTTP status; 0 when no answer came at all. */
    readonly status: number,
    /** Seconds the server asks to wait (`Retry-After`). */
    readonly retryAfterS?: number,
  ) {
    super(message);
  }
}

/** A body that says it failed does fail, whatever its status: LiveTalking servers send errors with status 200. */
export function refusal(status: number, body: unknown, retryAfter: string | null): ApiError | undefined {
  const fields = isRecord(body) ? body : {};
  const code = fields["code"];
  const failed = status < 200 || status > 299 || (code !== undefined && code !== 0);
  if (!failed) return undefined;
  const said = fields["msg"] ?? fields["message"];
  const seconds = retryAfter === null || retryAfter === "" ? NaN : Number(retryAfter);
  return new ApiError(
    typeof said === "string" && said !== "" ? said : `HTTP ${status}`,
    status,
    Number.isFinite(seconds) ? seconds : undefined,
  );
}

type Fetch = (path: string, init: RequestInit) => Promise<Response>;

/** One server. Paths are relative to the page, so that it also works behind a path prefix. */
export class Api {
  private key = "";
  private language = "";

  constructor(private readonly send: Fetch = (path, init) => fetch(path, init)) {}

  /** Sends `Authorization: Bearer key` from now on; an empty key sends nothing. */
  setKey(key: string): void {
    this.key = key;
  }

  /** Asks for refusals in that language from now on; empty leaves it to the browser. */
  setLanguage(language: string): void {
    this.language = language;
  }

  async offer(offer: RTCSessionDescriptionInit, options: OfferOptions, signal?: AbortSignal): Promise<Answer> {
    const body = await this.json("offer", { sdp: offer.sdp, type: offer.type, ...options }, signal);
    if (!isRecord(body) || typeof body["sdp"] !== "string" || body["sessionid"] === undefined)
      throw new ApiError("/offer: the answer has no sdp or no sessionid", 502);
    return { sdp: body["sdp"], type: "answer", sessionid: String(body["sessionid"]) };
  }

  async human(sessionid: string, { voice, ...said }: HumanOptions): Promise<void> {
    await this.json("human", { sessionid, ...said, ...(voice ? { tts: { voice } } : {}) });
  }

  async interrupt(sessionid: string): Promise<void> {
    await this.json("interrupt_talk", { sessionid });
  }

  /** Mutes or unmutes what the server hears, or says that the talk button is held. */
  async listening(sessionid: string, action: ListeningAction): Promise<void> {
    await this.json("api/listening", { sessionid, action });
  }

  async record(sessionid: string, type: "start_record" | "end_record"): Promise<void> {
    await this.json("record", { sessionid, type });
  }

  async recording(sessionid: string): Promise<Blob> {
    const response = await this.request(`record/${encodeURIComponent(sessionid)}`, {});
    return response.blob();
  }

  async client(): Promise<ClientInfo> {
    const body = await this.get("api/client");
    const data = isRecord(body) && isRecord(body["data"]) ? body["data"] : {};
    const at = <T,>(name: string, usual: T): T => (typeof data[name] === typeof usual ? (data[name] as T) : usual);
    return {
      iceServers: Array.isArray(data["ice_servers"]) ? (data["ice_servers"] as RTCIceServer[]) : PLAIN_SERVER.iceServers,
      avatar: at("avatar", PLAIN_SERVER.avatar),
      chat: at("chat", PLAIN_SERVER.chat),
      textCharactersMax: at("text_characters_max", PLAIN_SERVER.textCharactersMax),
      uploadMiBMax: at("upload_mb_max", PLAIN_SERVER.uploadMiBMax),
      avatars: at("avatars", PLAIN_SERVER.avatars),
      clipMiBMax: at("clip_mb_max", PLAIN_SERVER.clipMiBMax),
      microphone: at("microphone", PLAIN_SERVER.microphone),
      microphoneTrouble: at("microphone_trouble", PLAIN_SERVER.microphoneTrouble),
    };
  }

  async avatars(): Promise<Avatar[]> {
    return rowsOf(await this.get("api/avatars"), "avatars").filter(hasId).map(avatarOf);
  }

  /** Newest first. */
  async builds(): Promise<Build[]> {
    return rowsOf(await this.get("api/avatar/tasks"), "tasks").flatMap(buildOf);
  }

  /** Sends a clip or photo to become an avatar; resolves to the build's id once it is queued. `onProgress` gets 0..1. */
  async buildAvatar(file: File, avatar: string, name: string, onProgress: (part: number) => void, signal?: AbortSignal): Promise<string> {
    const fields = { avatar_id: avatar, name, video_file: file };
    const body = await this.upload("api/avatar/task", fields, onProgress, signal);
    const data = isRecord(body) && isRecord(body["data"]) ? body["data"] : {};
    if (typeof data["task_id"] !== "string") throw new ApiError("/api/avatar/task: the answer has no task_id", 502);
    return data["task_id"];
  }

  /** Cancels a build that waits or runs; takes one that is over off the list. */
  async endBuild(id: string): Promise<void> {
    await this.request(`api/avatar/task/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  async deleteAvatar(id: string): Promise<void> {
    await this.request(`api/avatars/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  async voices(): Promise<Voice[]> {
    return rowsOf(await this.get("api/speech/voices"), "voices").filter(hasId).map(voiceOf);
  }

  /** A picture as an address for `<img>`; with a key it has to be fetched, since `<img>` sends no header. */
  async picture(path: string): Promise<string> {
    if (this.key === "") return path;
    return URL.createObjectURL(await (await this.request(path, {})).blob());
  }

  /** Ends the session without waiting; outlives the page that asks. */
  leave(sessionid: string): void {
    this.request(`session/${encodeURIComponent(sessionid)}`, { method: "DELETE", keepalive: true }).catch(() => {
      // The server also notices by itself that the browser has gone.
    });
  }

  /** Uploads speech; `onProgress` gets 0..1. */
  async humanAudio(sessionid: string, file: File, onProgress: (part: number) => void, signal?: AbortSignal): Promise<void> {
    await this.upload("humanaudio", { sessionid, file }, onProgress, signal);
  }

  /** Posts a form. `fetch` reports no upload progress, hence XMLHttpRequest. */
  private upload(path: string, fields: Record<string, string | File>, onProgress: (part: number) => void, signal?: AbortSignal): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", path);
      for (const [name, value] of Object.entries(this.headers())) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => {
        if (event.lengthComputable) onProgress(event.loaded / event.total);
      };
      request.onload = () => {
        const body = parse(request.responseText);
        const refused = refusal(request.status, body, request.getResponseHeader("Retry-After"));
        if (refused) reject(refused);
        else resolve(body);
      };
      request.onerror = () => reject(new ApiError("the server does not answer", 0));
      request.onabort = () => reject(new DOMException("upload cancelled", "AbortError"));
      signal?.addEventListener("abort", () => request.abort(), { once: true });
      const form = new FormData();
      for (const [name, value] of Object.entries(fields)) form.append(name, value);
      request.send(form);
    });
  }

  private headers(): Record<string, string> {
    return {
      ...(this.key === "" ? {} : { Authorization: `Bearer ${this.key}` }),
      ...(this.language === "" ? {} : { "Accept-Language": this.language }),
    };
  }

  private get(path: string): Promise<unknown> {
    return this.request(path, {}).then((response) => response.json());
  }

  private async json(path: string, body: object, signal?: AbortSignal): Promise<unknown> {
    const response = await this.request(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      ...(signal ? { signal } : {}),
    });
    return response.json().catch(() => ({}));
  }

  private async request(path: string, init: RequestInit): Promise<Response> {
    let response: Response;
    try {
      response = await this.send(path, { ...init, headers: { ...init.headers, ...this.headers() } });
    } catch (cause) {
      if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
      throw new ApiError("the server does not answer", 0);
    }
    const isJson = response.headers.get("Content-Type")?.includes("json") ?? false;
    const body = isJson ? parse(await response.clone().text()) : undefined;
    const refused = refusal(response.status, body, response.headers.get("Retry-After"));
    if (refused) throw refused;
    return response;
  }
}
