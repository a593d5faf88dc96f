/** The HTTP interface that the live page uses, typed. */

import { avatarOf, buildOf, hasId, libraryVoiceOf, rowsOf, voiceOf } from "./answers";
import { isRecord } from "./json";
import type { ListeningAction } from "./listening-orders";
import type { Avatar, Build, Voice } from "./shapes";
import { ApiError, Wire } from "./wire";

export { ApiError, refusal } from "./wire";

export interface OfferOptions {
  avatar?: string;
  /** Voice of the session, by LiveTalking's name for it. */
  refaudio?: string;
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
  /** Whether there is a voice library, which has pages of its own. */
  library: boolean;
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
  library: false,
  microphone: false,
  microphoneTrouble: "",
};

/** Begins the ids of the library's voices. */
const LIBRARY = "library:";
/** A list without search has room for so many. */
const LIBRARY_VOICES = 100;

/** What the live page asks of the server. */
export class Api extends Wire {
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
      library: at("library", PLAIN_SERVER.library),
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

  /** Those that come with the server. */
  async voices(): Promise<Voice[]> {
    return rowsOf(await this.get("api/speech/voices"), "voices").filter(hasId).map(voiceOf);
  }

  /** The library's most used ones, and `chosen` in any case; none where the server keeps no library. */
  async libraryVoices(chosen: string): Promise<Voice[]> {
    const listed = rowsOf(await this.get(`api/voices?sort=popular&size=${LIBRARY_VOICES}`), "voices").flatMap(libraryVoiceOf);
    if (!chosen.startsWith(LIBRARY) || listed.some((voice) => voice.id === chosen)) return listed;
    const found = await this.get(`api/voices/${encodeURIComponent(chosen.slice(LIBRARY.length))}`).catch(() => undefined);
    return [...listed, ...(isRecord(found) ? libraryVoiceOf(found["data"]) : [])];
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
}
