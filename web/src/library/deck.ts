/** What is heard on the library's pages: one thing at a time. */

/** Something that can be made to stop. */
export interface Pausable {
  pause(): void;
}

export interface Track {
  /** Tells it apart from all others. */
  key: string;
  /** Its address, asked for when it is first played. */
  source(): string | Promise<string>;
}

export type DeckPhase = "idle" | "loading" | "playing" | "paused" | "failed";

export interface DeckState {
  /** Of the track at hand; empty for none. */
  key: string;
  phase: DeckPhase;
  /** 0..1. */
  part: number;
  /** Why it cannot be heard; of `failed`. */
  error?: unknown;
}

const IDLE: DeckState = { key: "", phase: "idle", part: 0 };

/** One player for all cards; others that sound announce themselves by `take`. */
export class Deck {
  private state = IDLE;
  private readonly listeners = new Set<() => void>();
  private other: Pausable | undefined;

  constructor(private readonly audio: HTMLAudioElement) {
    audio.addEventListener("timeupdate", () => this.move());
    audio.addEventListener("ended", () => this.set(IDLE));
    audio.addEventListener("pause", () => {
      if (this.state.phase === "playing" && !audio.ended) this.set({ ...this.state, phase: "paused" });
    });
    audio.addEventListener("playing", () => this.set({ ...this.state, phase: "playing" }));
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly snapshot = (): DeckState => this.state;

  /** Plays the track, pauses it when it plays, goes on when it was paused. */
  async toggle(track: Track): Promise<void> {
    if (this.state.key === track.key && this.state.phase === "playing") return this.pause();
    if (this.state.key === track.key && this.state.phase === "loading") return this.stop();
    this.take(this);
    const goOn = this.state.key === track.key && this.state.phase === "paused";
    this.audio.pause();
    this.set({ key: track.key, phase: "loading", part: goOn ? this.state.part : 0 });
    try {
      if (!goOn) {
        const source = await track.source();
        if (this.state.key !== track.key) return; // something else was chosen meanwhile
        this.audio.src = source;
      }
      await this.audio.play();
    } catch (error) {
      const interrupted = error instanceof DOMException && error.name === "AbortError";
      if (this.state.key === track.key && !interrupted) this.set({ key: track.key, phase: "failed", part: 0, error });
    }
  }

  pause(): void {
    this.audio.pause();
  }

  stop(): void {
    this.audio.pause();
    this.set(IDLE);
  }

  /** From now on `player` is heard, and whatever was before is not. */
  take(player: Pausable): void {
    if (this.other !== undefined && this.other !== player) this.other.pause();
    this.other = player;
  }

  private move(): void {
    const { currentTime, duration } = this.audio;
    if (this.state.phase === "playing" && Number.isFinite(duration) && duration > 0) this.set({ ...this.state, part: currentTime / duration });
  }

  private set(state: DeckState): void {
    this.state = state;
    for (const listener of this.listeners) listener();
  }
}
