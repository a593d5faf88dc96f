/** What the library's pages ask of the server. */

import { isRecord } from "../json";
import { ApiError, Wire } from "../wire";
import type {
  Account, Creation, FileInfo, Generated, SimilarVoices, SpeechPage, SpeechWish, UsageInfo, VoiceCard, VoiceChange, VoiceInfo, VoiceOptions, VoicePage,
  VoiceQuery, VoiceWish,
} from "./shapes";

export class LibraryApi extends Wire {
  voices(query: VoiceQuery, page: number, size: number, signal?: AbortSignal): Promise<VoicePage> {
    return this.ask(`api/voices?${parameters({ ...query, page, size })}`, signal);
  }

  async popular(limit: number, signal?: AbortSignal): Promise<VoiceCard[]> {
    return (await this.ask<{ voices: VoiceCard[] }>(`api/voices/popular?limit=${limit}`, signal)).voices;
  }

  options(signal?: AbortSignal): Promise<VoiceOptions> {
    return this.ask("api/voices/options", signal);
  }

  voice(id: string, signal?: AbortSignal): Promise<VoiceInfo> {
    return this.ask(`api/voices/${encodeURIComponent(id)}`, signal);
  }

  similar(id: string, limit: number, signal?: AbortSignal): Promise<SimilarVoices> {
    return this.ask(`api/voices/${encodeURIComponent(id)}/similar?limit=${limit}`, signal);
  }

  change(id: string, change: VoiceChange): Promise<VoiceInfo> {
    return this.order(`api/voices/${encodeURIComponent(id)}`, change, "PUT");
  }

  async removeVoice(id: string): Promise<void> {
    await this.request(`api/voices/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  /** Uploads a recording; `onProgress` gets 0..1. */
  async uploadRecording(file: File, onProgress: (part: number) => void, signal?: AbortSignal): Promise<FileInfo> {
    return dataOf(await this.upload("api/files/upload", { file }, onProgress, signal));
  }

  file(id: string, signal?: AbortSignal): Promise<FileInfo> {
    return this.ask(`api/files/${encodeURIComponent(id)}`, signal);
  }

  /** Begins a voice; its job is to be followed. */
  create(wish: VoiceWish): Promise<Creation> {
    return this.order("api/voices", { ...wish, wait: false });
  }

  job(id: string, signal?: AbortSignal): Promise<Creation> {
    return this.ask(`api/voices/jobs/${encodeURIComponent(id)}`, signal);
  }

  async jobs(signal?: AbortSignal): Promise<Creation[]> {
    return (await this.ask<{ jobs: Creation[] }>("api/voices/jobs", signal)).jobs;
  }

  retry(id: string): Promise<Creation> {
    return this.order(`api/voices/jobs/${encodeURIComponent(id)}/retry`, {});
  }

  generate(wish: SpeechWish): Promise<Generated> {
    return this.order("api/tts/generate", wish);
  }

  history(page: number, size: number, q: string, signal?: AbortSignal): Promise<SpeechPage> {
    return this.ask(`api/tts/history?${parameters({ q, page, size })}`, signal);
  }

  async removeSpeech(id: string): Promise<void> {
    await this.request(`api/tts/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  usage(days: number, signal?: AbortSignal): Promise<UsageInfo> {
    return this.ask(`api/tts/usage?days=${days}`, signal);
  }

  account(signal?: AbortSignal): Promise<Account> {
    return this.ask("api/account", signal);
  }

  /** A few words of a voice that has no preview, as an address to play; nothing is kept on the server. */
  async taste(voice: string, input: string): Promise<string> {
    const response = await this.request("v1/audio/speech", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ model: "visage", voice, input, response_format: "mp3" }),
    });
    return URL.createObjectURL(await response.blob());
  }

  private async ask<T>(path: string, signal?: AbortSignal): Promise<T> {
    const response = await this.request(path, signal ? { signal } : {});
    return dataOf(await response.json());
  }

  private async order<T>(path: string, body: object, method = "POST"): Promise<T> {
    return dataOf(await this.json(path, body, undefined, method));
  }
}

/** What stands in the library's envelope; the server that sent the page sends what `shapes.ts` says. */
function dataOf<T>(body: unknown): T {
  if (!isRecord(body) || !isRecord(body["data"])) throw new ApiError("the answer holds no data", 502);
  return body["data"] as T;
}

/** A query string of what is not empty. */
export function parameters(fields: Record<string, string | number>): string {
  return new URLSearchParams(Object.entries(fields).flatMap(([name, value]) => (value === "" ? [] : [[name, String(value)]]))).toString();
}
