// Follows what comes, and takes keys. All of it works without this file too, but by hand.
"use strict";

const kind = document.body.dataset.kind || "";
const cards = document.getElementById("cards");
const status = document.getElementById("status");
const told = document.getElementById("told");
const waiting = document.getElementById("waiting");
const pause = document.getElementById("pause");
const most = kind === "wall" ? 12 : 120;
let paused = false;
let frozenAt = 0; // number of the newest alert when the view was frozen
let newest = 0;
let kept = []; // cards that came meanwhile, the oldest first

function trim() {
  while (cards.children.length > most) {
    const last = cards.lastElementChild;
    if (last.contains(document.activeElement) || last.classList.contains("chosen")) break;
    last.remove();
  }
}

function show(html) {
  cards.insertAdjacentHTML("afterbegin", html);
  document.querySelector(".empty")?.setAttribute("hidden", "");
  trim();
}

function tell() {
  if (!waiting) return;
  const count = Math.max(0, newest - frozenAt);
  waiting.textContent = paused ? `paused; ${count} alerts came since` : "";
}

function hold(on) {
  paused = on;
  frozenAt = newest;
  pause.setAttribute("aria-pressed", String(on));
  pause.textContent = on ? "Go on" : "Pause";
  if (!on) {
    for (const html of kept) show(html);
    kept = [];
  }
  tell();
}

function follow() {
  const query = new URLSearchParams(location.search);
  query.set("kind", kind);
  if (cards?.dataset.last) query.set("after", cards.dataset.last);
  const source = new EventSource(`/events?${query}`);
  source.addEventListener("cards", (event) => {
    const data = JSON.parse(event.data);
    if (paused) {
      kept.push(data.html);
      if (kept.length > 20) kept.shift();
    } else {
      show(data.html);
    }
  });
  source.addEventListener("numbers", (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const old = document.querySelector(`#${id} .numbers`);
      if (old) old.outerHTML = html;
    }
  });
  source.addEventListener("state", (event) => {
    const data = JSON.parse(event.data);
    if (data.last < newest) frozenAt = 0; // the page's process was started again
    newest = data.last;
    status.textContent = data.words;
    status.classList.toggle("off", !data.connected);
    tell();
  });
  source.addEventListener("error", () => {
    status.textContent = "Disconnected from the page's own process: trying again";
    status.classList.add("off");
    // A refusal, such as too many open pages, ends the attempts of the browser itself.
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
  });
}

// Rates and the strip of exposures: the part that changes is asked for again while it is looked at.
async function renew() {
  const old = document.querySelector("[data-renewed]");
  if (!old || document.hidden || old.contains(document.activeElement)) return;
  const answer = await fetch(location.href).catch(() => null); // the state says if it is away
  if (!answer?.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const part = page.querySelector("[data-renewed]");
  if (part) old.replaceWith(part);
}

function chosen() {
  return document.querySelector(".card.chosen");
}

function choose(card) {
  if (!card) return;
  chosen()?.classList.remove("chosen");
  card.classList.add("chosen");
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
}

function step(forward) {
  const now = chosen();
  const all = [...document.querySelectorAll(".card")];
  if (!now) return choose(all[0]);
  choose(all[all.indexOf(now) + (forward ? 1 : -1)]);
}

async function send(path, fields) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { Accept: "application/json" },
    body: new URLSearchParams(fields),
  });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

async function say(form, button) {
  const card = form.closest(".card");
  const said = card.querySelector(".said");
  const fields = new FormData(form);
  fields.set("answer", button.value);
  try {
    const data = await send("/labels", fields);
    said.outerHTML = data.said;
    card.dataset.alert = data.alert;
  } catch (error) {
    said.textContent = `Not kept: ${error.message}`;
  }
}

function tellOnce(words) {
  told.textContent = words;
  clearTimeout(tellOnce.timer);
  tellOnce.timer = setTimeout(() => { told.textContent = ""; }, 15000);
}

async function undo() {
  const token = document.querySelector("input[name=token]")?.value;
  if (!token) return;
  try {
    const data = await send("/labels/undo", { token });
    tellOnce(`Taken back: ${data.undone}`);
    for (const card of document.querySelectorAll(".card")) {
      if (card.dataset.alert === data.alert) card.querySelector(".said").outerHTML = data.said;
    }
  } catch (error) {
    tellOnce(error.message);
  }
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches(".say")) return;
  event.preventDefault();
  say(event.target, event.submitter);
});

document.addEventListener("focusin", (event) => {
  const card = event.target.closest?.(".card");
  if (card && !card.classList.contains("chosen")) {
    chosen()?.classList.remove("chosen");
    card.classList.add("chosen");
  }
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
  if (event.key === "j") step(true);
  else if (event.key === "k") step(false);
  else if (event.key === "u") undo();
  else if (event.key === "p" && pause) hold(!paused);
  else if (/^[1-9]$/.test(event.key)) {
    const form = chosen()?.querySelector(".say");
    const button = form?.querySelectorAll("button")[Number(event.key) - 1];
    if (button) say(form, button);
    else if (chosen()) document.getElementById("person")?.focus();
  } else return;
  event.preventDefault();
});

// A stamp that could not be drawn in time is asked for again, a few times.
document.addEventListener("error", (event) => {
  const image = event.target;
  if (!(image instanceof HTMLImageElement)) return;
  const tries = Number(image.dataset.tries || 0);
  if (tries >= 3) return;
  image.dataset.tries = String(tries + 1);
  setTimeout(() => { image.src = `${image.src.split("#")[0]}#${tries + 1}`; }, 2000 * (tries + 1));
}, true);

if (kind) {
  document.querySelector(".controls")?.removeAttribute("hidden");
  pause?.addEventListener("click", () => hold(!paused));
  follow();
  setInterval(renew, 10000);
}
