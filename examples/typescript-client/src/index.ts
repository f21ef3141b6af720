/** A typed client of `xpm serve`: every path and field is that of the server's own OpenAPI document. */
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type ChatRequest = components["schemas"]["ChatRequest"];
export type ChatReply = components["schemas"]["ChatReply"];

/** A piece of a streamed answer. */
export interface ChatChunk {
  id: string;
  object: "chat.completion.chunk";
  model: string;
  choices: {
    index: number;
    delta: Partial<ChatReply["choices"][number]["message"]>;
    finish_reason: ChatReply["choices"][number]["finish_reason"] | null;
  }[];
  usage?: ChatReply["usage"] | null;
  xpm?: ChatReply["xpm"];
}

export interface Options {
  /** Where the server is. */
  baseUrl?: string;
  /** A key of `xpm serve keys add`, where the server wants one. */
  apiKey?: string;
}

export class XpmError extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

export class XpmClient {
  /** Every path of the server: `client.api.GET("/v1/experts")`. */
  readonly api: Client<paths>;
  readonly #baseUrl: string;
  readonly #headers: Record<string, string>;

  constructor({ baseUrl = "http://127.0.0.1:8642", apiKey }: Options = {}) {
    this.#baseUrl = baseUrl.replace(/\/$/, "");
    this.#headers = apiKey ? { authorization: `Bearer ${apiKey}` } : {};
    this.api = createClient<paths>({ baseUrl: this.#baseUrl, headers: this.#headers });
  }

  /** Answer a conversation; throws XpmError. */
  async chat(request: Omit<ChatRequest, "stream">): Promise<ChatReply> {
    const response = await this.#post({ ...request, stream: false });
    return (await response.json()) as ChatReply;
  }

  /** The same, piece by piece; leaving the loop ends the answer. */
  async *stream(request: Omit<ChatRequest, "stream">): AsyncGenerator<ChatChunk> {
    const response = await this.#post({ ...request, stream: true });
    let rest = "";
    for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
      const events = (rest + text).split("\n\n");
      rest = events.pop()!;
      for (const event of events) {
        const data = event.replace(/^data: /, "");
        if (data === "[DONE]") return;
        const chunk = JSON.parse(data);
        if (chunk.error) throw new XpmError(500, chunk.error.message);
        yield chunk as ChatChunk;
      }
    }
  }

  async #post(body: unknown): Promise<Response> {
    const response = await fetch(`${this.#baseUrl}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", ...this.#headers },
      body: JSON.stringify(body),
    });
    if (response.ok) return response;
    const told = (await response.json().catch(() => null)) as { error?: { message?: string } } | null;
    throw new XpmError(response.status, told?.error?.message ?? response.statusText);
  }
}
