/** What somebody made here: voices, those in the making, and how much they spoke. */

import { useState } from "react";
import { Link } from "wouter";

import { IconButton } from "../../components/IconButton";
import { KindBadge } from "../components/Badges";
import { EditWindow } from "../components/EditWindow";
import { Orb } from "../components/Orb";
import { PlayButton } from "../components/PlayButton";
import { RemoveWindow } from "../components/RemoveWindow";
import { Blank, Failure, More, Skeletons } from "../components/States";
import { UsageChart } from "../components/UsageChart";
import { useLibrary } from "../context";
import { briefMoment, bytes, count, percent, seconds } from "../format";
import { hasEnded, useAccount, useJobs, useUsage, useVoices } from "../queries";
import type { Creation, VoiceCard, VoiceQuery } from "../shapes";
import { trackOf } from "../tracks";
import { useTitle } from "../use-title";

const DAYS = 30;
const TOP = 5;
const MINE: VoiceQuery = { scope: "mine", q: "", language: "", gender: "", sort: "newest" };

export function Mine() {
  const { words } = useLibrary();
  useTitle(words.pages.mine);
  return (
    <>
      <div className="page-head">
        <h1>{words.mine.heading}</h1>
        <p>{words.mine.intro}</p>
      </div>
      <Figures />
      <Jobs />
      <List />
    </>
  );
}

function Figures() {
  const { words, language } = useLibrary();
  const { data: account } = useAccount();
  const { data: usage } = useUsage(DAYS);
  if (!account || !usage) return <Skeletons number={1} className="panel" />;
  if (account.voices === 0 && usage.calls === 0) return null;
  const numbers = [
    { name: words.mine.voices, value: count(account.voices, language) },
    { name: words.mine.recordings, value: `${count(account.files, language)} · ${bytes(account.bytes)}` },
    { name: words.mine.calls, value: count(usage.calls, language) },
    { name: words.mine.spoken(DAYS), value: seconds(usage.seconds, language) },
  ];
  return (
    <>
      <dl className="numbers">
        {numbers.map(({ name, value }) => (
          <div key={name} className="panel">
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <div className="columns">
        <section className="panel" aria-labelledby="usage">
          <h2 id="usage">{words.mine.usage(DAYS)}</h2>
          <UsageChart usage={usage} days={DAYS} />
        </section>
        <section className="panel" aria-labelledby="top">
          <h2 id="top">{words.mine.top}</h2>
          {usage.by_voice.length === 0 && <p className="faint">{words.mine.noUsage}</p>}
          <ol className="top">
            {usage.by_voice.slice(0, TOP).map((voice) => (
              <li key={voice.voiceId}>
                <Orb id={voice.voiceId} size="tiny" />
                <span className="row-title">{voice.name || words.generate.gone}</span>
                <span className="faint">{seconds(voice.seconds, language)}</span>
              </li>
            ))}
          </ol>
        </section>
      </div>
    </>
  );
}

/** Creations that run, and the latest that failed; what became of the others is in the list. */
function Jobs() {
  const { words, language } = useLibrary();
  const { data } = useJobs();
  const shown = data?.filter((job) => job.status !== "completed") ?? [];
  if (shown.length === 0) return null;
  const state = (job: Creation) => (hasEnded(job) ? words.mine.failedJob : `${words.create.stages[job.stage]} · ${percent(job.progress, language)}`);
  return (
    <section aria-labelledby="making">
      <h2 id="making" className="section-head">
        {words.mine.making}
      </h2>
      <ul className="rows">
        {shown.map((job) => (
          <li key={job.jobId} className="row" data-testid="job">
            <div className="row-text">
              <Link href={`/voices/create?job=${job.jobId}`} className="row-title">
                {state(job)}
              </Link>
              <p className="faint">{[job.error?.message, briefMoment(job.created_at, language)].filter((part) => part).join(" · ")}</p>
            </div>
            {!hasEnded(job) && <progress value={job.progress} max={1} aria-label={words.create.progress} />}
          </li>
        ))}
      </ul>
    </section>
  );
}

function List() {
  const { words } = useLibrary();
  const query = useVoices(MINE);
  const { data, error, isPending, refetch } = query;
  const [open, setOpen] = useState<{ what: "edit" | "remove"; voice: VoiceCard }>();
  if (error && !data) return <Failure error={error} onRetry={() => void refetch()} />;
  if (isPending) return <Skeletons number={3} className="row" />;
  const voices = data.pages.flatMap((page) => page.voices);
  if (voices.length === 0)
    return (
      <Blank icon="microphone" title={words.mine.empty} text={words.mine.emptyRemedy}>
        <Link href="/voices/create" className="button">
          {words.mine.first}
        </Link>
      </Blank>
    );
  const close = () => setOpen(undefined);
  return (
    <section aria-labelledby="list">
      <h2 id="list" className="section-head">
        {words.mine.list}
      </h2>
      <ul className="rows">
        {voices.map((voice) => (
          <Row key={voice.voiceId} voice={voice} onOpen={(what) => setOpen({ what, voice })} />
        ))}
      </ul>
      <More query={query} shown={voices.length} total={data.pages[0]?.total ?? 0} />
      {open?.what === "edit" && <EditWindow voice={open.voice} onClose={close} />}
      {open?.what === "remove" && <RemoveWindow voice={open.voice} onClose={close} onRemoved={close} />}
    </section>
  );
}

function Row({ voice, onOpen }: { voice: VoiceCard; onOpen(what: "edit" | "remove"): void }) {
  const { api, words, language } = useLibrary();
  const track = trackOf(voice, api, words);
  return (
    <li className="row" data-testid="my-voice">
      <Orb id={voice.voiceId} size="tiny" />
      <div className="row-text">
        <Link href={`/voices/${voice.voiceId}`} className="row-title">
          {voice.name}
        </Link>
        <p className="faint">{[words.uses(voice.uses, count(voice.uses, language)), briefMoment(voice.created_at, language)].join(" · ")}</p>
      </div>
      <span className="row-badges">
        <KindBadge voice={voice} />
        <span className="badge">{voice.public ? words.badge.public : words.badge.private}</span>
      </span>
      {track && <PlayButton track={track} name={voice.name} className="play-flat" />}
      <IconButton icon="pencil" label={words.mine.edit(voice.name)} onClick={() => onOpen("edit")} />
      <IconButton icon="trash" label={words.mine.delete(voice.name)} onClick={() => onOpen("remove")} />
    </li>
  );
}
