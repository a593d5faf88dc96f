/** The library's data by TanStack Query: what is asked, how long it counts as fresh, what a change makes stale. */

import { keepPreviousData, MutationCache, QueryCache, QueryClient, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { ApiError } from "../wire";
import { useLibrary } from "./context";
import type { Creation, SpeechWish, VoiceCard, VoiceChange, VoiceQuery } from "./shapes";

const FRESH_MS = 30_000;
const RETRIES = 2;
const RETRY_MS = 1_000;
/** A signed address lives for an hour; what holds one is asked for again well before. */
const KEPT_MS = 40 * 60_000;
const JOB_POLL_MS = 500;
export const PAGE_SIZE = 24;
const HISTORY_SIZE = 10;
const SIMILAR = 4;

/** `onLocked` hears that the server wants a key. */
export function makeQueryClient(onLocked: () => void): QueryClient {
  const onError = (error: Error) => {
    if (error instanceof ApiError && error.status === 401) onLocked();
  };
  return new QueryClient({
    queryCache: new QueryCache({ onError }),
    mutationCache: new MutationCache({ onError }),
    defaultOptions: {
      queries: {
        staleTime: FRESH_MS,
        gcTime: KEPT_MS,
        retry: (failures, error) => failures < RETRIES && mayPass(error),
        retryDelay: (failures, error) => (error instanceof ApiError && error.retryAfterS !== undefined ? error.retryAfterS * 1_000 : RETRY_MS * 2 ** failures),
      },
    },
  });
}

/** Whether asking again may help: nobody answered, or too many ask; not where the server keeps no library. */
function mayPass(error: Error): boolean {
  return !(error instanceof ApiError) || error.status === 0 || error.status === 429 || error.status === 502;
}

export function useVoices(query: VoiceQuery) {
  const { api } = useLibrary();
  return useInfiniteQuery({
    queryKey: ["voices", query],
    queryFn: ({ pageParam, signal }) => api.voices(query, pageParam, PAGE_SIZE, signal),
    initialPageParam: 1,
    getNextPageParam: (last) => (last.page < last.pages ? last.page + 1 : undefined),
    placeholderData: keepPreviousData,
  });
}

export function usePopular(limit: number) {
  const { api } = useLibrary();
  return useQuery({ queryKey: ["popular", limit], queryFn: ({ signal }) => api.popular(limit, signal) });
}

export function useOptions() {
  const { api } = useLibrary();
  return useQuery({ queryKey: ["options"], queryFn: ({ signal }) => api.options(signal) });
}

export function useVoice(id: string) {
  const { api } = useLibrary();
  return useQuery({ queryKey: ["voice", id], queryFn: ({ signal }) => api.voice(id, signal) });
}

const BUILTIN: VoiceQuery = { scope: "builtin", q: "", language: "", gender: "", sort: "newest" };
/** Ids of the library begin so; all others are of voices that come with the server. */
const OWN = "voice-";

/** A voice by whatever id it has; an empty one names none. */
export function useNamedVoice(id: string): { voice: VoiceCard | undefined; error: Error | null } {
  const { api } = useLibrary();
  const own = useQuery({ queryKey: ["voice", id], queryFn: ({ signal }) => api.voice(id, signal), enabled: id.startsWith(OWN) });
  const builtin = useQuery({
    queryKey: ["builtin", id],
    queryFn: async ({ signal }) => (await api.voices({ ...BUILTIN, q: id }, 1, PAGE_SIZE, signal)).voices.find((voice) => voice.voiceId === id) ?? null,
    enabled: id !== "" && !id.startsWith(OWN),
  });
  return { voice: own.data ?? builtin.data ?? undefined, error: own.error ?? builtin.error };
}

export function useSimilar(id: string) {
  const { api } = useLibrary();
  return useQuery({ queryKey: ["voice", id, "similar"], queryFn: ({ signal }) => api.similar(id, SIMILAR, signal) });
}

/** Of a voice's recording; an empty id asks for nothing. */
export function useFile(id: string) {
  const { api } = useLibrary();
  return useQuery({ queryKey: ["file", id], queryFn: ({ signal }) => api.file(id, signal), enabled: id !== "" });
}

export function hasEnded(job: Creation): boolean {
  return job.status === "completed" || job.status === "failed";
}

/** When a creation is asked about again: not once it has ended, nor where the server says that there is none. */
export function nextAskMs(job: Creation | undefined, error: Error | null): number | false {
  const refused = error instanceof ApiError && error.status >= 400 && error.status < 429;
  return refused || (job !== undefined && hasEnded(job)) ? false : JOB_POLL_MS;
}

/** A creation, asked about until it has ended; an empty id asks for nothing. */
export function useJob(id: string) {
  const { api } = useLibrary();
  return useQuery({
    queryKey: ["job", id],
    queryFn: ({ signal }) => api.job(id, signal),
    enabled: id !== "",
    staleTime: 0,
    refetchInterval: ({ state }) => nextAskMs(state.data, state.error),
  });
}

/** The caller's latest creations; asked about while one of them is being made. */
export function useJobs() {
  const { api } = useLibrary();
  return useQuery({
    queryKey: ["jobs"],
    queryFn: ({ signal }) => api.jobs(signal),
    refetchInterval: ({ state }) => (state.data?.some((job) => !hasEnded(job)) ? 2 * JOB_POLL_MS : false),
  });
}

export function useHistory(q: string) {
  const { api } = useLibrary();
  return useInfiniteQuery({
    queryKey: ["history", q],
    queryFn: ({ pageParam, signal }) => api.history(pageParam, HISTORY_SIZE, q, signal),
    initialPageParam: 1,
    getNextPageParam: (last) => (last.page < last.pages ? last.page + 1 : undefined),
    placeholderData: keepPreviousData,
  });
}

export function useUsage(days: number) {
  const { api } = useLibrary();
  return useQuery({ queryKey: ["usage", days], queryFn: ({ signal }) => api.usage(days, signal) });
}

export function useAccount() {
  const { api } = useLibrary();
  return useQuery({ queryKey: ["account"], queryFn: ({ signal }) => api.account(signal) });
}

/** What shows voices or counts them. */
const OF_VOICES = [["voices"], ["popular"], ["voice"], ["account"], ["jobs"]];
/** What shows or counts speech. */
const OF_SPEECH = [["history"], ["usage"], ["voices"], ["popular"], ["voice"]];

/** Makes stale what a change touches. Nobody waits for it: what asked for the change may be gone once it is fresh again. */
export function useStale(): { voices(): void; speech(): void } {
  const client = useQueryClient();
  const stale = (keys: string[][]) => {
    for (const queryKey of keys) void client.invalidateQueries({ queryKey });
  };
  return { voices: () => stale(OF_VOICES), speech: () => stale(OF_SPEECH) };
}

export function useRetry() {
  const { api } = useLibrary();
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => api.retry(id),
    onSuccess: (job) => {
      client.setQueryData(["job", job.jobId], job);
      void client.invalidateQueries({ queryKey: ["jobs"] });
    },
  });
}

export function useChange(id: string) {
  const { api } = useLibrary();
  const client = useQueryClient();
  const stale = useStale();
  return useMutation({
    mutationFn: (change: VoiceChange) => api.change(id, change),
    onSuccess: (voice) => {
      client.setQueryData(["voice", id], voice);
      stale.voices();
    },
  });
}

export function useRemoveVoice(id: string) {
  const { api } = useLibrary();
  const client = useQueryClient();
  const stale = useStale();
  return useMutation({
    mutationFn: () => api.removeVoice(id),
    onSuccess: () => {
      client.removeQueries({ queryKey: ["voice", id] });
      stale.voices();
      stale.speech();
    },
  });
}

export function useGenerate() {
  const { api } = useLibrary();
  const stale = useStale();
  return useMutation({ mutationFn: (wish: SpeechWish) => api.generate(wish), onSuccess: () => stale.speech() });
}

export function useRemoveSpeech() {
  const { api } = useLibrary();
  const stale = useStale();
  return useMutation({ mutationFn: (id: string) => api.removeSpeech(id), onSuccess: () => stale.speech() });
}
