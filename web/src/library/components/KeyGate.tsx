/** Stands in place of the pages while the server wants a key. */

import { type SubmitEvent, useState } from "react";

import { Icon } from "../../components/Icon";
import { useLibrary } from "../context";

export function KeyGate({ wrong, onKey }: { wrong: boolean; onKey(key: string): void }) {
  const { words } = useLibrary();
  const [key, setKey] = useState("");
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    if (key.trim() !== "") onKey(key.trim());
  };
  return (
    <form className="blank key-gate" onSubmit={submit} data-testid="key-gate">
      <span className="blank-icon">
        <Icon name="key" />
      </span>
      <h1>{words.trouble.key}</h1>
      <p role={wrong ? "alert" : undefined}>{wrong ? words.trouble.keyWrong : words.trouble.keyRemedy}</p>
      <input className="field" type="password" autoComplete="current-password" aria-label={words.trouble.apiKey} placeholder={words.trouble.apiKey} value={key} onChange={(event) => setKey(event.target.value)} />
      <button type="submit" className="button">
        {words.trouble.useKey}
      </button>
    </form>
  );
}
