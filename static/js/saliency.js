// The key h: where the model looks, laid over the picture with its test; again, and it is gone. Nothing is fetched
// before. Where the run has no maps yet they are asked for, and the picture waits for its own, which is made first.
"use strict";

(() => {
  const POLL_MS = 500;
  const MOST_POLLS = 600;
  const own = document.currentScript.src;

  // The sheet is needed by those who press the key only.
  const sheet = document.createElement("link");
  sheet.rel = "stylesheet";
  sheet.href = own.replace("/js/", "/css/").replace("saliency.js", "saliency.css");
  const dressed = new Promise((resolve) => { sheet.onload = resolve; sheet.onerror = resolve; });

  const stageOf = (link) => (link.closest("#card") || document).querySelector(".stage:has(> .picture), .ground:has(> img)");
  const pictureOf = (stage) => stage.querySelector(":scope > .picture, :scope > img");
  const parse = (html) => {
    const frame = document.createElement("template");
    frame.innerHTML = html.trim();
    return document.importNode(frame.content.querySelector(".saliency"), true);
  };

  // The map lies exactly on its picture, whatever the room around it.
  const place = (stage) => {
    const map = stage.querySelector(".saliency_map");
    const picture = pictureOf(stage);
    if (!map || !picture) return;
    const box = picture.getBoundingClientRect();
    const room = stage.getBoundingClientRect();
    const sides = { left: box.left - room.left - stage.clientLeft, top: box.top - room.top - stage.clientTop, width: box.width, height: box.height };
    for (const [side, length] of Object.entries(sides)) map.style[side] = `${length}px`;
  };

  const request = async (href, method = "GET") => {
    const headers = { "HX-Request": "true" };
    if (method === "POST") Object.assign(headers, JSON.parse(document.body.getAttribute("hx-headers") || "{}"));
    const reply = await fetch(href, { method, headers });
    const words = await reply.text();
    if (!reply.ok || !words.includes("saliency")) throw new Error(words.length < 300 ? words : "");
    return parse(words);
  };

  // The map goes onto the picture; its words to the side, where they hide nothing of it.
  const clear = (stage) => {
    stage.querySelector(".saliency_map")?.remove();
    (stage.closest("#card") || document).querySelectorAll(".saliency_words").forEach((words) => words.remove());
  };
  const show = (stage, found, link) => {
    clear(stage);
    stage.classList.add("mapped");
    stage.append(...found.querySelectorAll(".saliency_map"));
    const words = found.querySelector(".saliency_words");
    const card = stage.closest("#card");
    if (card) card.append(words); else link.closest("p").after(words);
    place(stage);
  };

  const follow = async (stage, link) => {
    let found = await request(link.href);
    const asking = found.querySelector("form[data-ask]");
    if (found.dataset.state === "missing" && asking) found = await request(asking.action, "POST");
    for (let polls = 0; ; polls += 1) {
      if (stage.dataset.saliency !== "on" || !stage.isConnected) return;
      await dressed;
      show(stage, found, link);
      if (found.dataset.state !== "waiting" || polls >= MOST_POLLS) return;
      await new Promise((resolve) => { setTimeout(resolve, POLL_MS); });
      found = await request(link.href);
    }
  };

  const toggle = (link) => {
    const stage = stageOf(link);
    if (!stage) return;
    const wanted = stage.dataset.saliency === "on" ? "off" : "on";
    stage.dataset.saliency = wanted;
    link.classList.toggle("showing", wanted === "on");
    if (wanted === "off") { clear(stage); return; }
    follow(stage, link).catch((error) => {
      stage.dataset.saliency = "off";
      window.workbench.say(error.message || "The server does not answer; the heat map was not fetched.", "problem");
    });
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-saliency]");
    if (!link?.href || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (!sheet.isConnected) document.head.append(sheet);
    toggle(link);
  });
  document.addEventListener("submit", (event) => {
    const stage = document.querySelector(".mapped");
    const link = document.querySelector("a[data-saliency]");
    if (!event.target.matches("[data-ask]") || !stage || !link) return;
    event.preventDefault();
    request(event.target.action, "POST").then(() => follow(stage, link));
  });
  window.addEventListener("resize", () => document.querySelectorAll(".mapped").forEach(place));
})();
