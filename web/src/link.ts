/** Keeps the page connected to its presenter: first connection, reconnection with backoff, change of presenter. */

import { type Api, ApiError } from "./api";
import { FIRST_STATE, type LinkEvent, type LinkState, reduceLink, type Trouble, troubleOf, waitMs } from "./link-state";
import { openPeer, type Peer } from "./peer";

export interface LinkOptions {
  api: Api;
  avatar?: string | undefined;
  /** What she speaks with when nothing else is said, as in a conversation by microphone. */
  voice?: string | undefined;
  open?: typeof openPeer;
  online?: () => boolean;
  random?: () => number;
  /** The chosen presenter is not there (any more); the server's default takes over. */
  onUnknownAvatar?: () => void;
}

export class Link {
  stream: MediaStream | null = null;
  private state: LinkState = FIRST_STATE;
  private avatar: string | undefined;
  private voice: string | undefined;
  private peer: Peer | undefined;
  private microphone: MediaStreamTrack | null = null;
  private attempt: AbortController | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private readonly listeners = new Set<() => void>();
  private readonly hearers = new Set<(message: string) => void>();

  constructor(private readonly options: LinkOptions) {
    this.avatar = options.avatar;
    this.voice = options.voice;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly getState = (): LinkState => this.state;

  /** Calls `hearer` with every message of the events channel; returns what ends that. */
  readonly hear = (hearer: (message: string) => void): (() => void) => {
    this.hearers.add(hearer);
    return () => this.hearers.delete(hearer);
  };

  /** Connects now, whatever was going on. `fresh` forgets past failures and the presenter met before. */
  connect(fresh = false): void {
    this.drop();
    this.dispatch({ type: "try", ...(fresh ? { fresh } : {}) });
    if (typeof RTCPeerConnection === "undefined" && !this.options.open) this.fail("unsupported");
    else void this.run();
  }

  setAvatar(avatar: string | undefined): void {
    if (avatar === this.avatar) return;
    this.avatar = avatar;
    this.connect(true);
  }

  /** Texts bring their voice along; answers to a microphone have the session's, which therefore begins anew. */
  setVoice(voice: string | undefined): void {
    if (voice === this.voice) return;
    this.voice = voice;
    if (this.microphone || this.state.phase !== "live") this.connect(true);
  }

  /** Ends the session; `connect` starts another. */
  close(): void {
    this.drop();
    this.dispatch({ type: "try", fresh: true });
  }

  /** Sends this track now and over every later connection, or nothing. Rejects when the present one takes no sound. */
  async setMicrophone(track: MediaStreamTrack | null): Promise<void> {
    this.microphone = track;
    await this.peer?.setMicrophone(track);
  }

  async stats(): Promise<RTCStatsReport | undefined> {
    return this.peer?.stats();
  }

  private async run(): Promise<void> {
    const attempt = new AbortController();
    this.attempt = attempt;
    const current = () => this.attempt === attempt;
    try {
      const peer = await (this.options.open ?? openPeer)(
        this.options.api,
        { ...(this.avatar ? { avatar: this.avatar } : {}), ...(this.voice ? { refaudio: this.voice } : {}) },
        {
          answered: (sessionid) => current() && this.dispatch({ type: "answered", sessionid }),
          live: (stream) => {
            if (!current()) return;
            this.stream = stream;
            this.dispatch({ type: "live" });
          },
          message: (text) => {
            if (current()) for (const hearer of this.hearers) hearer(text);
          },
          lost: (trouble) => current() && this.fail(trouble),
        },
        attempt.signal,
      );
      if (!current()) return peer.close();
      this.peer = peer;
      if (this.microphone) await peer.setMicrophone(this.microphone).catch(() => undefined); // she can still be seen
    } catch (error) {
      if (!current()) return;
      if (error instanceof ApiError && error.status === 404 && this.voice !== undefined) {
        this.voice = undefined; // gone, or another server's: she has one of her own
        this.connect();
        return;
      }
      if (error instanceof ApiError && error.status === 404 && this.avatar !== undefined) {
        this.options.onUnknownAvatar?.();
        this.setAvatar(undefined);
        return;
      }
      const { trouble, detail, waitS } = troubleOf(error, (this.options.online ?? (() => navigator.onLine))());
      this.fail(trouble, detail, waitS);
    }
  }

  private fail(trouble: Trouble, detail?: string, waitS?: number): void {
    this.drop();
    const wait = waitMs(this.state.failures + 1, waitS, (this.options.random ?? Math.random)());
    this.dispatch({ type: "failed", trouble, ...(detail ? { detail } : {}), retryAtMs: Date.now() + wait });
    if (this.state.phase === "waiting") this.retry = setTimeout(() => this.connect(), wait);
  }

  private drop(): void {
    clearTimeout(this.retry);
    const { sessionid } = this.state;
    this.attempt?.abort();
    this.attempt = undefined;
    this.peer?.close();
    this.peer = undefined;
    if (sessionid !== undefined) this.options.api.leave(sessionid);
  }

  private dispatch(event: LinkEvent): void {
    this.state = reduceLink(this.state, event);
    for (const listener of this.listeners) listener();
  }
}
