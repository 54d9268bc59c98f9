"use strict";

// Nodes of a document without a page: nothing in them loads or runs.
const parsed = (html) => new DOMParser().parseFromString(html, "text/html").body.childNodes;

// A part of a page that is asked for anew until it says, in data-open, that nothing will change any more.
for (const place of document.querySelectorAll("[data-live]")) {
    let shown = "";
    let wait = 1500;

    const ask = async () => {
        if (!document.hidden) {
            try {
                const answer = await fetch(place.dataset.live, {credentials: "same-origin", headers: {"X-Taifish-Live": "1"}, redirect: "error"});
                if (answer.status === 403 || answer.status === 404) return;
                if (!answer.ok) throw new Error(answer.status);
                const html = await answer.text();
                // Left alone while nothing is new: a person may be selecting text in it.
                if (html !== shown) {
                    place.replaceChildren(...parsed(shown = html));
                    document.dispatchEvent(new Event("taifish:new"));
                }
                wait = 1500;
            } catch {
                // The server restarts, or the network is away: ask on, less often.
                wait = Math.min(wait * 2, 30000);
            }
        }
        again();
    };
    const again = () => {
        if (place.firstElementChild?.dataset.open === "1") setTimeout(ask, wait);
    };
    again();
}
