// Copy buttons, and search while one types; every page works without it. Texts become text nodes, never markup.
"use strict";

const root = document.body.dataset.root;
const isLive = document.body.dataset.live === "yes";

for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

const form = document.querySelector("form[role=search]");
const field = form.querySelector("input");
const section = document.getElementById("found");
const shards = new Map();
const MAX_SHOWN = 50;
let asked = 0;

function wordsOf(text) {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}

function shardOf(word) {
  const name = [...word].slice(0, 2).map((char) => char.codePointAt(0).toString(16)).join("-");
  if (!shards.has(name)) {
    const address = root + "words/" + name + ".json";
    shards.set(name, fetch(address).then((reply) => (reply.ok ? reply.json() : [])).catch(() => []));
  }
  return shards.get(name);
}

function found(records, words) {
  const scored = [];
  for (const record of records) {
    const own = record[6].split(" ");
    const name = wordsOf(record[0]);
    if (!words.every((word) => own.some((each) => each.startsWith(word)))) continue;
    scored.push([words.filter((word) => name.some((each) => each.startsWith(word))).length, record]);
  }
  scored.sort((one, other) => other[0] - one[0] || (one[1][0] < other[1][0] ? -1 : 1));
  return scored.map((each) => each[1]);
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function item([name, kind, version, publisher, description, quality]) {
  const made = document.createElement("li");
  const heading = element("p", "", "name");
  const link = element("a", name);
  link.href = root + (kind === "base" ? "bases/" : "experts/") + encodeURIComponent(name) + ".html";
  heading.append(link, " ", element("small", version));
  const facts = "by " + publisher + (quality === null ? "" : " · " + (100 * quality).toFixed(1) + " % right, as claimed");
  made.append(heading, element("p", description), element("p", facts, "facts"));
  return made;
}

async function search() {
  const turn = ++asked;
  const words = wordsOf(field.value);
  const first = words.find((word) => [...word].length >= 2);
  if (!first) {
    section.hidden = true;
    return;
  }
  const hits = found(await shardOf(first), words);
  if (turn !== asked) return;
  section.querySelector("p").textContent = hits.length === 0 ? "Nothing matches." : hits.length + " match.";
  section.querySelector("ul").replaceChildren(...hits.slice(0, MAX_SHOWN).map(item));
  section.hidden = false;
}

if (!isLive) {
  form.hidden = false;
  field.addEventListener("input", search);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  const wanted = new URLSearchParams(location.search).get("q");
  if (wanted) {
    field.value = wanted;
    search();
  }
}
