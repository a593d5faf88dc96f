/** How the pages speak to the server. Nothing else calls `fetch`. */

import { isRecord, parse } from "./json";

/** The server could not be reached, or answered with an error. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    message: string,
    /** HTTP status; 0 when no answer came at all. */
    readonly status: number,
    /** Seconds the server asks to wait (`Retry-After`). */
    readonly retryAfterS?: number,
    /** By what programs tell it apart; empty where the server gives no name. */
    readonly code = "",
  ) {
    super(message);
  }
}

/** A body that says it failed does fail, whatever its status: LiveTalking servers send errors with status 200. */
export function refusal(status: number, body: unknown, retryAfter: string | null): ApiError | undefined {
  const fields = isRecord(body) ? body : {};
  const code = fields["code"];
  const failed = status < 200 || status > 299 || (code !== undefined && code !== 0);
  if (!failed) return undefined;
  const error = isRecord(fields["error"]) ? fields["error"] : {};
  const said = fields["msg"] ?? fields["message"] ?? error["message"];
  const seconds = retryAfter === null || retryAfter === "" ? NaN : Number(retryAfter);
  return new ApiError(
    typeof said === "string" && said !== "" ? said : `HTTP ${status}`,
    status,
    Number.isFinite(seconds) ? seconds : undefined,
    typeof error["code"] === "string" ? error["code"] : "",
  );
}

type Fetch = (path: string, init: RequestInit) => Promise<Response>;

/** One server. Paths are relative to the page, so that it also works behind a path prefix. */
export class Wire {
  private key = "";
  private language = "";

  constructor(private readonly send: Fetch = (path, init) => fetch(path, init)) {}

  /** Sends `Authorization: Bearer key` from now on; an empty key sends nothing. */
  setKey(key: string): void {
    this.key = key;
  }

  /** Asks for refusals in that language from now on; empty leaves it to the browser. */
  setLanguage(language: string): void {
    this.language = language;
  }

  /** A picture as an address for `<img>`; with a key it has to be fetched, since `<img>` sends no header. */
  async picture(path: string): Promise<string> {
    if (this.key === "") return path;
    return URL.createObjectURL(await (await this.request(path, {})).blob());
  }

  /** Posts a form. `fetch` reports no upload progress, hence XMLHttpRequest. */
  protected upload(path: string, fields: Record<string, string | File>, onProgress: (part: number) => void, signal?: AbortSignal): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", path);
      for (const [name, value] of Object.entries(this.headers())) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => {
        if (event.lengthComputable) onProgress(event.loaded / event.total);
      };
      request.onload = () => {
        const body = parse(request.responseText);
        const refused = refusal(request.status, body, request.getResponseHeader("Retry-After"));
        if (refused) reject(refused);
        else resolve(body);
      };
      request.onerror = () => reject(new ApiError("the server does not answer", 0));
      request.onabort = () => reject(new DOMException("upload cancelled", "AbortError"));
      signal?.addEventListener("abort", () => request.abort(), { once: true });
      const form = new FormData();
      for (const [name, value] of Object.entries(fields)) form.append(name, value);
      request.send(form);
    });
  }

  private headers(): Record<string, string> {
    return {
      ...(this.key === "" ? {} : { Authorization: `Bearer ${this.key}` }),
      ...(this.language === "" ? {} : { "Accept-Language": this.language }),
    };
  }

  protected get(path: string): Promise<unknown> {
    return this.request(path, {}).then((response) => response.json());
  }

  protected async json(path: string, body: object, signal?: AbortSignal, method = "POST"): Promise<unknown> {
    const response = await this.request(path, {
      method,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      ...(signal ? { signal } : {}),
    });
    return response.json().catch(() => ({}));
  }

  protected async request(path: string, init: RequestInit): Promise<Response> {
    let response: Response;
    try {
      response = await this.send(path, { ...init, headers: { ...init.headers, ...this.headers() } });
    } catch (cause) {
      if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
      throw new ApiError("the server does not answer", 0);
    }
    const isJson = response.headers.get("Content-Type")?.includes("json") ?? false;
    const body = isJson ? parse(await response.clone().text()) : undefined;
    const refused = refusal(response.status, body, response.headers.get("Retry-After"));
    if (refused) throw refused;
    return response;
  }
}
