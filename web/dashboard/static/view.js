"use strict";

// PDFs beside each other. This page fetches the bytes, as far as they are bounded, and hands them to a frame that has no
// origin: what is in a document has nothing to reach from there.

const fetchBounded = async (address, most) => {
  const response = await fetch(address);
  if (!response.ok) throw new Error(response.status === 404 ? "It is not in the store." : "The store did not give it out.");
  const reader = response.body.getReader(), parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > most) { await reader.cancel(); throw new Error("It is too large to be shown here."); }
    parts.push(value);
  }
  return new Blob(parts).arrayBuffer();
};

const showPdf = (holder) => {
  const { pdf, frame: address, title, most } = holder.dataset;
  const frame = document.createElement("iframe");
  frame.className = "preview";
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = title;
  frame.src = address;
  const say = (text) => {
    const said = document.createElement("p");
    said.className = "empty";
    said.textContent = text;
    holder.replaceChildren(said);
  };
  let asked = false; // what is drawn there may be made to ask again and again
  addEventListener("message", async (event) => {
    if (event.source !== frame.contentWindow || event.data !== "ready" || asked) return;
    asked = true;
    try {
      const bytes = await fetchBounded(pdf, Number(most));
      frame.contentWindow?.postMessage(bytes, "*", [bytes]); // it has no origin that could be named
    } catch (error) {
      say(error instanceof TypeError
        ? "The object store did not let this page fetch it: blobforge doctor says what to set. Download it to see it."
        : `${error.message} Download it to see it.`);
    }
  });
  holder.replaceChildren(frame);
};

for (const holder of document.querySelectorAll("[data-pdf]")) showPdf(holder);
