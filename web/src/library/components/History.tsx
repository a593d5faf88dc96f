/** What was generated, newest first: heard again, saved, used again, deleted. */

import { useState } from "react";

import { Icon } from "../../components/Icon";
import { IconButton } from "../../components/IconButton";
import { sentence, useLibrary } from "../context";
import { briefMoment, clock } from "../format";
import { useHistory, useRemoveSpeech } from "../queries";
import type { Generated } from "../shapes";
import { trackOfSpeech } from "../tracks";
import { useSettled } from "../use-settled";
import { PlayButton } from "./PlayButton";
import { Failure, More, Skeletons } from "./States";

const SHORT = 40;

export function History({ onAgain }: { onAgain(speech: Generated): void }) {
  const { words } = useLibrary();
  const [typed, setTyped] = useState("");
  const q = useSettled(typed);
  const query = useHistory(q);
  const { data, error, isPending, refetch } = query;
  const rows = data?.pages.flatMap((page) => page.requests) ?? [];
  return (
    <section aria-labelledby="history">
      <div className="section-head history-head">
        <h2 id="history">{words.generate.history}</h2>
        <span className="spacer" />
        <div className="search-box">
          <Icon name="search" />
          <input type="search" className="field" aria-label={words.generate.searchHistory} placeholder={words.generate.searchHistory} value={typed} onChange={(event) => setTyped(event.target.value)} />
        </div>
      </div>
      {error && !data ? (
        <Failure error={error} onRetry={() => void refetch()} />
      ) : isPending ? (
        <Skeletons number={3} className="row" />
      ) : rows.length === 0 ? (
        <p className="faint none">{q === "" ? words.generate.noHistory : words.generate.nothingFound}</p>
      ) : (
        <ul className="rows">
          {rows.map((speech) => (
            <Row key={speech.requestId} speech={speech} onAgain={onAgain} />
          ))}
        </ul>
      )}
      <More query={query} shown={rows.length} total={data?.pages[0]?.total ?? 0} />
    </section>
  );
}

function Row({ speech, onAgain }: { speech: Generated; onAgain(speech: Generated): void }) {
  const { words, language, tell } = useLibrary();
  const remove = useRemoveSpeech();
  const short = speech.input.length > SHORT ? `${speech.input.slice(0, SHORT)}…` : speech.input;
  const erase = () => remove.mutate(speech.requestId, { onSuccess: () => tell(words.generate.deleted), onError: (error) => tell(sentence(error, words)) });
  return (
    <li className="row" data-testid="speech">
      <PlayButton track={trackOfSpeech(speech)} name={short} className="play-flat" />
      <div className="row-text">
        <p className="row-title" title={speech.input}>
          {speech.input}
        </p>
        <p className="faint">{[speech.voice_name || words.generate.gone, clock(speech.duration), speech.format.toUpperCase(), briefMoment(speech.created_at, language)].join(" · ")}</p>
      </div>
      <IconButton icon="again" label={words.generate.again} onClick={() => onAgain(speech)} />
      <a className="icon-button" href={speech.url} download aria-label={words.generate.download(short)} title={words.voice.download}>
        <Icon name="download" />
      </a>
      <IconButton icon="trash" label={words.generate.delete(short)} disabled={remove.isPending} onClick={erase} />
    </li>
  );
}
