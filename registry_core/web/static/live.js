// Keeps the part of a run's page that changes up to date: asks for it every two seconds, and gets
// an answer without content while nothing changed. Stops while the tab is hidden, and for good when
// the run has ended. The page works without this: it has a link that loads it again.
"use strict";

const live = document.querySelector("[data-live]");

if (live) {
  const PAUSE = 2000;
  const LONGEST_PAUSE = 30000;
  let tag = "";
  let pause = PAUSE;
  let timer = 0;

  const ask = async () => {
    timer = 0;
    try {
      const answer = await fetch(live.dataset.live, {
        cache: "no-store",
        credentials: "same-origin",
        headers: tag ? { "If-None-Match": tag } : {},
      });
      pause = PAUSE;
      if (answer.status === 200) {
        tag = answer.headers.get("ETag") || "";
        show(await answer.text());
      } else if (answer.status !== 304) {
        return; // the server was started again, or the run is gone: the page says what it knew
      }
    } catch {
      pause = Math.min(2 * pause, LONGEST_PAUSE); // the server does not answer
    }
    plan();
  };

  const show = (text) => {
    const part = new DOMParser().parseFromString(text, "text/html").body.firstElementChild;
    const log = live.querySelector(".log");
    const atEnd = !log || log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    const place = log ? log.scrollTop : 0;
    const open = [...live.querySelectorAll("details")].map((each) => each.open);
    live.replaceChildren(part);
    live.querySelectorAll("details").forEach((each, at) => (each.open = open[at] || false));
    const next = live.querySelector(".log");
    if (next) next.scrollTop = atEnd ? next.scrollHeight : place;
  };

  const plan = () => {
    const ended = live.querySelector("[data-ended]");
    if (!ended && !document.hidden && !timer) timer = setTimeout(ask, pause);
  };

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    timer = 0;
    plan();
  });
  plan();
}
