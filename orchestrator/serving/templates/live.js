// Fetches the strip every few seconds; where a newer report is ready, loads it and keeps the place of reading.
"use strict";

const POLL_MS = 5000;
const strip = document.getElementById("status");
const lost = document.getElementById("lost");
const frame = document.getElementById("report");

function loadReport(version) {
  const top = frame.contentWindow.scrollY;
  frame.dataset.version = version;
  frame.addEventListener("load", () => frame.contentWindow.scrollTo(0, top), { once: true });
  frame.contentWindow.location.replace("/report");
}

function showStrip(text) {
  const open = strip.querySelector("details")?.open;
  const parsed = new DOMParser().parseFromString(text, "text/html");
  strip.replaceChildren(...parsed.body.childNodes);
  strip.querySelector("details").open = open;
}

async function look() {
  try {
    const answer = await fetch("/status", { redirect: "error" });
    lost.hidden = answer.ok;
    if (answer.ok) {
      showStrip(await answer.text());
      const version = answer.headers.get("Isoflop-Report");
      if (version && frame.dataset.version === "") frame.dataset.version = version;
      else if (version && version !== frame.dataset.version) loadReport(version);
    }
  } catch {
    lost.hidden = false;
  }
  setTimeout(look, POLL_MS);
}

setTimeout(look, POLL_MS);
