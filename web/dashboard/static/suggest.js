"use strict";

// The lists of fields with [data-suggest]: what goes on from what is typed, when somebody has stopped typing.

const SUGGEST_AFTER_MS = 150; // of the last letter

const suggesting = {
  timer: 0,
  asked: null,

  async ask(field) {
    this.asked?.abort();
    const asked = this.asked = new AbortController();
    const query = new URLSearchParams({ field: field.dataset.suggest, q: field.value });
    try {
      const answer = await fetch(`/jobs/suggestions?${query}`, { headers: { "X-Live": "1" }, signal: asked.signal });
      if (!answer.ok || answer.redirected) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (asked.signal.aborted || !field.list) return;
      field.list.replaceChildren(...page.querySelectorAll("datalist > option"));
      field.list.dataset.asked = field.value; // a refresh of the page leaves it as it is
    } catch { /* without it the field is as good as before */ }
  },
};

document.addEventListener("input", (event) => {
  const field = event.target;
  if (!field.matches?.("[data-suggest]")) return;
  clearTimeout(suggesting.timer);
  suggesting.timer = setTimeout(() => suggesting.ask(field), SUGGEST_AFTER_MS);
});
