/** Follows the builds of the server: asks while somebody looks or waits for one of their own, rests otherwise. */

import { type Api, ApiError } from "./api";
import type { Build } from "./shapes";

export type Away = "unreachable" | "offline" | "refused";

export interface BuildsState {
  /** Newest first. */
  builds: readonly Build[];
  /** True once the server has answered. */
  answered: boolean;
  /** Why the last question had no answer. */
  away?: Away;
  /** The server's own words about that. */
  said?: string;
}

export interface WatchOptions {
  api: Pick<Api, "builds">;
  /** Ids of the builds begun in this browser that were not over when it was last open. */
  mine?: readonly string[];
  onMine?: (ids: readonly string[]) => void;
  online?: () => boolean;
}

export const NOTHING_BUILT: BuildsState = { builds: [], answered: false };
export const RUNNING_MS = 1_000;
export const RESTING_MS = 5_000;
const AWAY_MS = [2_000, 4_000, 8_000, 15_000] as const;

export function isOver(build: Build): boolean {
  return build.status !== "pending" && build.status !== "running";
}

/** How many builds have to end before this one begins. */
export function queuedBefore(builds: readonly Build[], build: Build): number {
  return builds.slice(builds.indexOf(build) + 1).filter((other) => !isOver(other)).length;
}

export class BuildWatch {
  private state = NOTHING_BUILT;
  private mine: ReadonlySet<string>;
  private enabled = false;
  private watched = false;
  private failures = 0;
  private question = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly listeners = new Set<() => void>();
  private readonly enders = new Set<(build: Build, mine: boolean) => void>();

  constructor(private readonly options: WatchOptions) {
    this.mine = new Set(options.mine);
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly getState = (): BuildsState => this.state;

  /** Calls `listener` with every build that ends from now on; returns what ends that. */
  readonly onEnd = (listener: (build: Build, mine: boolean) => void): (() => void) => {
    this.enders.add(listener);
    return () => this.enders.delete(listener);
  };

  /** Whether this server builds at all, and whether somebody looks at the list. */
  follow(enabled: boolean, watched: boolean): void {
    this.enabled = enabled;
    this.watched = watched;
    this.ask();
  }

  isMine(id: string): boolean {
    return this.mine.has(id);
  }

  /** A build that was begun here. */
  add(id: string): void {
    this.keep(new Set([...this.mine, id]));
    this.ask();
  }

  /** Asks now, if there is a reason to. */
  readonly ask = (): void => {
    clearTimeout(this.timer);
    this.question += 1;
    if (this.enabled && (this.watched || this.mine.size > 0)) void this.round(this.question);
  };

  close(): void {
    this.follow(false, false);
  }

  private async round(question: number): Promise<void> {
    try {
      const builds = await this.options.api.builds();
      if (question !== this.question) return;
      this.failures = 0;
      this.take(builds);
    } catch (error) {
      if (question !== this.question) return;
      this.failures += 1;
      this.set({ ...this.state, ...reasonOf(error, (this.options.online ?? (() => navigator.onLine))()) });
    }
    if (question === this.question) this.timer = setTimeout(this.ask, this.waitMs());
  }

  private waitMs(): number {
    if (this.failures > 0) return AWAY_MS[Math.min(this.failures, AWAY_MS.length) - 1] ?? RESTING_MS;
    return this.state.builds.every(isOver) ? RESTING_MS : RUNNING_MS;
  }

  private take(builds: readonly Build[]): void {
    const before = new Map(this.state.builds.map((build) => [build.id, build]));
    const ended = builds.filter((build) => isOver(build) && (this.mine.has(build.id) || isOpen(before.get(build.id))));
    const open = new Set(builds.filter((build) => !isOver(build)).map(({ id }) => id));
    const mine = this.mine;
    this.keep(new Set([...mine].filter((id) => open.has(id))));
    this.set({ builds, answered: true });
    for (const build of ended) for (const ender of this.enders) ender(build, mine.has(build.id));
  }

  private keep(mine: ReadonlySet<string>): void {
    this.mine = mine;
    this.options.onMine?.([...mine]);
  }

  private set(state: BuildsState): void {
    this.state = state;
    for (const listener of this.listeners) listener();
  }
}

function isOpen(build: Build | undefined): boolean {
  return build !== undefined && !isOver(build);
}

function reasonOf(error: unknown, online: boolean): { away: Away; said: string } {
  const answered = error instanceof ApiError && error.status !== 0;
  if (answered) return { away: "refused", said: error.message };
  return { away: online ? "unreachable" : "offline", said: "" };
}

export type Failure = "noFace" | "faceLost" | "twoFaces" | "tooShort" | "faceSmall" | "pictureSize" | "unreadable" | "other";

const FAILURES: readonly [RegExp, Failure][] = [
  [/no face was found/i, "noFace"],
  [/no face in \d+ of/i, "faceLost"],
  [/two faces/i, "twoFaces"],
  [/\blasts\b.*at least/i, "tooShort"],
  [/the face is \d+ pixels/i, "faceSmall"],
  [/pixels; allowed|picture size/i, "pictureSize"],
  [/damaged|decoded|holds no|is empty|HEIC|animated|no picture/i, "unreadable"],
];

/** What a build's error means to the person in front of the page. */
export function failureOf(error: string): Failure {
  return FAILURES.find(([pattern]) => pattern.test(error))?.[1] ?? "other";
}
