import { useEffect } from "react";

import { useLibrary } from "./context";

/** Names the browser's tab after the page. */
export function useTitle(page: string): void {
  const { words } = useLibrary();
  useEffect(() => {
    document.title = words.title(page);
  }, [page, words]);
}
