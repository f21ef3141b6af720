/** Against a server that runs: XPM_URL, by default the usual address. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { XpmClient, XpmError } from "./index.js";

const client = new XpmClient({ baseUrl: process.env["XPM_URL"] ?? "http://127.0.0.1:8642" });
const messages = [{ role: "user" as const, content: "How many users are there? Schema: users(id, name)" }];

test("a whole answer", async () => {
  const reply = await client.chat({ model: "auto", messages, max_tokens: 30 });
  assert.equal(reply.object, "chat.completion");
  assert.equal(typeof reply.choices[0]!.message.content, "string");
  assert.ok(Array.isArray(reply.xpm.experts));
});

test("the same in pieces", async () => {
  const whole = await client.chat({ model: "auto", messages, max_tokens: 30, temperature: 0 });
  let text = "";
  for await (const chunk of client.stream({ model: "auto", messages, max_tokens: 30, temperature: 0 })) {
    text += chunk.choices[0]?.delta.content ?? "";
  }
  assert.equal(text, whole.choices[0]!.message.content);
});

test("what is not there", async () => {
  await assert.rejects(client.chat({ model: "expert-nobody", messages }), (error: XpmError) => error.status === 404);
});

test("any other path", async () => {
  const { data, error } = await client.api.GET("/v1/models");
  assert.equal(error, undefined);
  assert.ok(data!.data.some((model) => model.id === "auto"));
});
